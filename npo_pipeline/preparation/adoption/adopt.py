"""The work of the stage `adopt`: the folder of a probe, from a run that was made elsewhere."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.compute as pc
from transformers import AutoTokenizer

from npo_pipeline.configuration.stages import AdoptStage
from npo_pipeline.context import Context
from npo_pipeline.preparation.adoption.completions import Logged, Prompts, imported
from npo_pipeline.preparation.adoption.link import link_checkpoints
from npo_pipeline.preparation.adoption.sampled import sample_steps
from npo_pipeline.preparation.adoption.sources import Source
from npo_pipeline.rollout.sample import sampling_facts
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.checkpoints import RECORD, read_records
from npo_pipeline.storage.guides import read_outcomes
from npo_pipeline.storage.layout import rollouts
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import NAME, write_manifest
from npo_pipeline.storage.parquet import ROLLOUT, read_problems, read_table, write_table
from npo_pipeline.storage.run_files import INTERVENTIONS, METRICS, TIMINGS
from npo_pipeline.tasks.judging.verify import Verifier

Row = dict[str, Any]


def adopt(context: Context[AdoptStage], found: Sequence[Source], metrics: list[Row], logged: Sequence[Logged] | None) -> None:
    """Link, read or sample, and write the manifest. `metrics` are what the log tells of each step; `logged` None: sample.

    Raises DataError where the completions are another task's, before anything is linked.
    """
    layout, probe = context.layout, context.layout.probe
    with only_writer(probe):
        (probe / NAME).unlink(missing_ok=True)
        matched = None
        if logged is not None:
            problems = read_problems(layout.problems, "train")
            tokenizer = AutoTokenizer.from_pretrained(layout.initial_policy, trust_remote_code=False)
            matched = Prompts(problems, tokenizer).match(logged)
            said_reach(context, [problem.problem_id for _, problem in matched], len(logged))
        link_checkpoints(context, found)
        if matched is None:
            assert context.config.sampled is not None, "composed where there are no completions"
            sample_steps(context, context.config.sampled, lambda step, rows, facts: _write(context, step, rows, facts))
        else:
            policies = {step: record.weights_sha256 for step, record in read_records(probe).items()}
            with Verifier(context.config.verifier, context.options.workers) as verifier:
                rows, judged = imported(matched, verifier, policies)
            print(f"adopt: {judged}", file=sys.stderr)
            for step in range(context.config.steps):
                _write(context, step, rows.get(step, []), {})
        _finish(context, metrics, matched is not None)


def said_reach(context: Context[AdoptStage], problem_ids: Sequence[str], logged: int) -> None:
    """Which share of the log is of this task, and of how many training problems."""
    train = len(read_problems(context.layout.problems, "train"))
    print(
        f"adopt: {len(problem_ids)} of {logged} logged completions answer {len(set(problem_ids))} of the {train} training problems; "
        "guides are for these alone: leave probe.completions out to have all prompts of the guided run sampled",
        file=sys.stderr,
    )


def _write(context: Context[AdoptStage], step: int, rows: list[Row], facts: Row) -> None:
    write_table(rollouts(context.layout.probe, step), rows, ROLLOUT, context.config_sha256, sampling_facts(context.config.sampling) | facts)


def _finish(context: Context[AdoptStage], metrics: list[Row], has_completions: bool) -> None:
    config, probe = context.config, context.layout.probe
    for step in range(config.sampled.start if config.sampled else 0):
        _write(context, step, [], {})
    for stale in sorted((probe / "rollouts").glob("step-*.parquet"))[config.steps :]:
        stale.unlink()
    (probe / TIMINGS).unlink(missing_ok=True)
    write_text(probe / METRICS, "".join(json.dumps(row) + "\n" for row in with_outcomes(probe, metrics)))
    tokens = 0 if has_completions else sum(_tokens(rollouts(probe, step)) for step in range(config.steps))
    facts = {"steps": config.steps, "seed": context.layout.seed, "adopted": True, "sampled_tokens": tokens}
    write_manifest(probe, "adopt", context.config_sha256, _files(probe), facts)


def with_outcomes(probe: Path, metrics: Sequence[Row]) -> Iterator[Row]:
    """What the roll-outs tell beside the log: accuracy and all-wrong groups; and, of a step without a logged reward, that."""
    for row in metrics:
        accuracies = [outcome.accuracy for outcome in read_outcomes(probe, row["step"], row["step"] + 1)]
        known = {"accuracy": fmean(accuracies), "groups/all_wrong": fmean(a == 0.0 for a in accuracies)} if accuracies else {}
        reward = known.get("accuracy") if row["reward/mean"] is None else row["reward/mean"]
        yield row | known | {"reward/mean": reward}


def _tokens(file: Path) -> int:
    counts = pc.sum(pc.list_value_length(read_table(file, ROLLOUT)["response_token_ids"])).as_py()
    return counts or 0


def _files(probe: Path) -> list[Path]:
    """Not the policies themselves: a record names each, and who loads it compares."""
    folders = ((probe / "checkpoints").glob(f"step-*/{RECORD}"), (probe / "rollouts").glob("step-*.parquet"))
    return [probe / METRICS, *(file for files in folders for file in files), *(f for f in [probe / INTERVENTIONS] if f.exists())]
