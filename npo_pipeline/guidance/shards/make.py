"""One job of the guide stage: walk one loaded policy and engine over its guide checkpoints."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from npo_pipeline.configuration.stages import GuideStage
from npo_pipeline.context import Context
from npo_pipeline.guidance.generate import first_verified, sample_until_verified
from npo_pipeline.guidance.pool import mistake_pool, segments
from npo_pipeline.guidance.shards.gather import finished, made_as, probe_sha256, reaches_back_to
from npo_pipeline.policy.average import acting, mean_of
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.device import pick_device
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.logprobs import score
from npo_pipeline.progress import Progress
from npo_pipeline.records import Draw, Outcome, Problem, Trajectory
from npo_pipeline.rollout.engine import Engine
from npo_pipeline.rollout.engines import make_engine
from npo_pipeline.rollout.sample import sample, sampling_facts
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.guides import read_outcomes, write_scores, write_shards
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import write_manifest
from npo_pipeline.storage.parquet import read_problems, trajectory_row
from npo_pipeline.storage.parts import Parts
from npo_pipeline.tasks.judging.verify import Verifier

PART_BATCHES = 4  # batches of the engine between two files of what was sampled
SCORE_TOKENS = 8192  # padded tokens per forward when re-scoring


@dataclass
class Maker:
    """The loaded parts that all guide checkpoints of a job share."""

    context: Context[GuideStage]
    walk: Walk
    engine: Engine
    verifier: Verifier
    problems: dict[str, Problem]
    progress: Progress


def make_share(context: Context[GuideStage], job: int, jobs: int) -> None:
    """One job's share of the guide checkpoints, and a note that it is done."""
    mine = context.config.guide_steps[job::jobs]
    make_guides(context, mine)
    write_text(context.layout.guide / "jobs" / f"{job}-of-{jobs}.json", json.dumps({"guide_steps": mine}) + "\n")


def make_guides(context: Context[GuideStage], guide_steps: Sequence[int]) -> None:
    """Make the guide checkpoints that are not finished yet, and say of the others how to have them made again."""
    todo = [step for step in guide_steps if not finished(context, step)]
    if kept := [step for step in guide_steps if step not in todo]:
        again = f"delete {context.layout.guide}/step-* to sample them anew"
        print(f"guide: checkpoints {', '.join(map(str, kept))} are whole and were kept; {again}", file=sys.stderr)
    if todo:
        _make(context, todo)


def _make(context: Context[GuideStage], todo: Sequence[int]) -> None:
    config, layout = context.config, context.layout
    walk = Walk(layout.probe, todo[0], pick_device(context.options.device))
    problems = {problem.problem_id: problem for problem in read_problems(layout.problems)}
    with Verifier(config.verifier, context.options.workers) as verifier:
        progress = Progress("guide", len(todo))
        maker = Maker(context, walk, make_engine(config.engine, config.sampling, walk.policy), verifier, problems, progress)
        for i in progress:
            with only_writer(layout.guide_parts(todo[i])):  # goes with the parts: nothing of it is left in a finished guide
                covered, tried = make_guide(maker, todo[i])
            progress.note(f"checkpoint {todo[i]}: {covered} of {tried} prompts covered")


def make_guide(maker: Maker, guide_step: int) -> tuple[int, int]:
    """Sample, re-score, write; returns how many prompts were covered, and of how many."""
    config, layout = maker.context.config, maker.context.layout
    shutil.rmtree(layout.guide_step(guide_step), ignore_errors=True)  # what an interrupted job or another configuration left
    outcomes = read_outcomes(layout.probe, reaches_back_to(config, guide_step), guide_step)
    pool = [maker.problems[i] for i in mistake_pool(outcomes, 0, guide_step, config.gate)]
    with guide_policy(maker, guide_step) as digest:
        parts = parts_of(maker.context, guide_step, digest)
        trajectories = sample_until_verified(pool, config.samples, lambda draws: sample_batches(maker, guide_step, parts, draws))
    maker.engine.rest()
    if parts.found:
        print(f"guide: checkpoint {guide_step}: {parts.found} of {len(trajectories)} trajectories were on disk already", file=sys.stderr)
    rows = [trajectory_row(t, guide_step, maker.problems[t.problem_id].prompt, digest) for t in trajectories]
    verified = first_verified(trajectories)
    made: dict[str, Any] = {"n_pool": len(pool), "n_covered": len(verified), "n_samples": len(trajectories)}
    if config.average:
        made["average_of"] = mean_steps(maker, guide_step)
    write_guide(maker.context, guide_step, rows, list(rescore(maker, guide_step, outcomes, verified)), made)
    parts.remove()
    return len(verified), len(pool)


@contextmanager
def guide_policy(maker: Maker, guide_step: int) -> Iterator[str]:
    """The walk's policy is the guide within the block, the checkpoint or the average that stands for it; yields the guide's name."""
    walk = maker.walk
    if maker.context.config.average is None:
        walk.to(guide_step)
        yield walk.sha256()
        return
    with acting(walk.policy.model, mean_of(walk, mean_steps(maker, guide_step))):
        yield identity(walk.policy)


def mean_steps(maker: Maker, guide_step: int) -> list[int]:
    """The kept checkpoints whose mean stands for the guide checkpoint, in their order; fewer than asked for where the run is young."""
    assert maker.context.config.average is not None
    return [step for step in maker.walk.records if step <= guide_step][-maker.context.config.average :]


def parts_of(context: Context[GuideStage], guide_step: int, policy_sha256: str) -> Parts:
    """What an interrupted job of this very configuration, probe and policy has sampled already."""
    sampled_by = f"{made_as(context.config)} {probe_sha256(context)} {policy_sha256} {context.layout.seed} {guide_step}"
    return Parts(context.layout.guide_parts(guide_step), sampled_by, context.config_sha256, context.layout.prepare)


def write_guide(
    context: Context[GuideStage], guide_step: int, rows: list[dict[str, Any]], scores: list[dict[str, Any]], made: dict[str, Any]
) -> None:
    """The shards of a guide checkpoint, its scores, and last its manifest, which says of what and how it was `made`."""
    folder = context.layout.guide_step(guide_step)
    facts = {"guide_step": guide_step, **sampling_facts(context.config.sampling)}
    files = write_shards(folder, rows, context.config.shard_rows, context.config_sha256, facts)
    files.append(write_scores(folder, scores, context.config_sha256))
    made_of = {"guide_step": guide_step, "made_as": made_as(context.config), "probe_sha256": probe_sha256(context), **made}
    write_manifest(folder, "guide", context.config_sha256, files, made_of)


def sample_batches(maker: Maker, guide_step: int, parts: Parts, draws: Sequence[Draw]) -> list[Trajectory]:
    """One trajectory per draw, in their order; kept batch by batch.

    The batches are cut as an engine cuts them, prompts of like length together, so that cutting here changes no bit.
    """
    seed, size = maker.context.layout.seed, PART_BATCHES * maker.context.config.engine.max_batch
    order = sorted(range(len(draws)), key=lambda i: (len(draws[i][0].prompt_token_ids), draws[i][0].prompt_token_ids))
    found: dict[int, Trajectory] = {}
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        sampled = parts.sampled(
            [draws[i] for i in batch],
            lambda mine: sample(maker.engine, maker.walk.policy, maker.verifier, mine, "guide", seed, guide_step),
        )
        found |= dict(zip(batch, sampled, strict=True))
        maker.progress.alive(f"checkpoint {guide_step}: {len(found)} of {len(order)} samples of a round")
    return [found[i] for i in range(len(draws))]


def rescore(maker: Maker, guide_step: int, outcomes: Sequence[Outcome], verified: dict[str, Trajectory]) -> Iterator[dict[str, Any]]:
    """Log-probs of each verified trajectory under the current policies whose prompts it answers; loads those policies in turn."""
    config, policy = maker.context.config, maker.walk.policy
    for segment in segments(maker.walk.records, guide_step, reaches_back_to(config, guide_step)):
        usable = [verified[i] for i in mistake_pool(outcomes, segment.start, segment.end, config.gate) if i in verified]
        if not usable:
            continue
        maker.progress.alive(f"checkpoint {guide_step}: scoring under {segment.current_step}")
        maker.walk.to(segment.current_step)
        logprobs = score(policy.model, policy.rows(usable), policy.pad_id, config.sampling.temperature, SCORE_TOKENS)
        for trajectory, values in zip(usable, logprobs, strict=True):
            yield {
                "problem_id": trajectory.problem_id,
                "current_step": segment.current_step,
                "guide_step": guide_step,
                "sample_index": trajectory.sample_index,
                "current_logprobs": values,
            }
