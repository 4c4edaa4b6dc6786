"""Demonstrations: sampled from a policy, or read from a file; judged like every other response."""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from npo_pipeline.configuration.stages import DemonstrateStage
from npo_pipeline.context import Context
from npo_pipeline.errors import DataError
from npo_pipeline.guidance.generate import sample_until_verified
from npo_pipeline.policy.checkpoints import open_policy, policy_sha256
from npo_pipeline.policy.device import pick_device
from npo_pipeline.policy.policy import Policy, load_policy
from npo_pipeline.progress import Progress
from npo_pipeline.records import Draw, Problem, Trajectory
from npo_pipeline.rollout.engines import make_engine
from npo_pipeline.rollout.order import problem_batch
from npo_pipeline.rollout.sample import sample, sampling_facts
from npo_pipeline.shown import is_text
from npo_pipeline.storage.guides import write_shards
from npo_pipeline.storage.layout import checkpoint
from npo_pipeline.storage.manifest import read_manifest, write_manifest
from npo_pipeline.storage.parquet import read_problems, trajectory_row
from npo_pipeline.tasks.judging.verify import Verifier
from npo_pipeline.tasks.prompts import render_prompt
from npo_pipeline.tasks.rows.files import read_rows
from npo_pipeline.tasks.rows.messages import turns_of

SHARD_ROWS, BLOCK = 10_000, 256  # rows of a file; problems sampled between two signs of life


def problems_of_run(context: Context[DemonstrateStage]) -> list[Problem]:
    """The training problems of the run's steps, each once, in the order of their first step."""
    config = context.config
    train = read_problems(context.layout.problems, "train")
    seen = (problem_batch(train, context.layout.seed, step, config.prompts_per_step) for step in range(config.start or 0, config.steps))
    return list({problem.problem_id: problem for batch in seen for problem in batch}.values())


def from_policy(context: Context[DemonstrateStage]) -> None:
    """Sample each problem until `wanted` tries are verified, at most `samples` times."""
    config, device = context.config, pick_device(context.options.device)
    student = load_policy(context.layout.initial_policy, config.dtype)
    source = _source(context)
    policy = open_policy(source.folder, config.dtype, device, source.key)
    problems = problems_of_run(context)
    # A teacher with a tokenizer of its own has prompts of its own, and its answers are then put into the student's tokens.
    same_tokens = policy.tokenizer.get_vocab() == student.tokenizer.get_vocab()
    asked = problems if same_tokens else [_asked(problem, context, policy) for problem in problems]
    found = _sampled(context, policy, asked)
    if not same_tokens:
        by_id = {problem.problem_id: problem for problem in problems}
        found = [_tokenised(t, by_id[t.problem_id], student) for t in found]
    _write(context, found, source.step, policy_sha256(source.folder, policy))


def _sampled(context: Context[DemonstrateStage], policy: Policy, problems: Sequence[Problem]) -> list[Trajectory]:
    """All tries, in the order of the problems."""
    config, found = context.config, list[Trajectory]()
    with Verifier(config.verifier, context.options.workers) as verifier:
        engine = make_engine(config.engine, config.sampling, policy)

        def sample_draws(draws: Sequence[Draw]) -> list[Trajectory]:
            return sample(engine, policy, verifier, draws, "demonstrate", context.layout.seed, config.steps)

        progress = Progress(f"demonstrate {config.name}", -(-len(problems) // BLOCK))
        for i in progress:
            found += sample_until_verified(problems[i * BLOCK : (i + 1) * BLOCK], config.samples, sample_draws, config.wanted)
            progress.note(f"{len({t.problem_id for t in found if t.verified})} of {min(len(problems), (i + 1) * BLOCK)} problems solved")
    return found


class Source(NamedTuple):
    """Where the policy lies, the probe step that it stands for, and the setting that names it, if a person did."""

    folder: str | Path
    step: int | None
    key: str | None


def _source(context: Context[DemonstrateStage]) -> Source:
    layout, policy = context.layout, context.config.policy
    if policy == "probe":
        step = read_manifest(layout.probe)["steps"]
        return Source(checkpoint(layout.probe, step), step, None)
    if policy == "teacher":
        return Source(layout.teacher_policy, None, None)
    return Source(policy, None, f"method.{context.config.name}.demonstrations.policy")


def _asked(problem: Problem, context: Context[DemonstrateStage], policy: Policy) -> Problem:
    """The problem as this policy reads it."""
    placeholder = policy.vision.placeholder if policy.vision else ""
    read_by, turns = (policy.tokenizer, len(problem.images), placeholder, policy.stop_ids), turns_of(problem.metadata)
    prompt, ids = render_prompt(problem.question, context.config.prompt, *read_by, turns)
    return replace(problem, prompt=prompt, prompt_token_ids=ids)


def _tokenised(trajectory: Trajectory, problem: Problem, student: Policy) -> Trajectory:
    """The trajectory in the student's tokens. Log-probs of other tokens mean nothing here, so they are 0: LUFFY needs none."""
    ids = student.response(trajectory.response_text)
    return replace(trajectory, prompt_token_ids=problem.prompt_token_ids, response_token_ids=ids, behaviour_logprobs=(0.0,) * len(ids))


def from_file(context: Context[DemonstrateStage]) -> None:
    """Rows with `response` and with `problem_id` or `question`; judged here, so a wrong one is not used. Raises DataError.

    A question that is asked of several images does not say which problem is meant: such a row needs `problem_id`.
    """
    config = context.config
    student = load_policy(context.layout.initial_policy, config.dtype)
    problems = problems_of_run(context)
    by_key: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_key[problem.problem_id].append(problem)
        by_key[problem.question].append(problem)
    matched: list[tuple[Problem, str]] = []
    for place, row in read_rows(config.policy, "train", None, f"method.{config.name}.demonstrations.policy"):
        if not isinstance(row.get("response"), str) or not ({"problem_id", "question"} & row.keys()):
            raise DataError(f"{place}: found the columns {', '.join(row)}; expected `response`, and `problem_id` or `question`")
        if not is_text(row["response"]):
            raise DataError(f"{place}: `response` holds half a surrogate pair, which is no text; mend or remove the row")
        meant = by_key.get(str(row.get("problem_id") or row.get("question")), [])
        if len(meant) > 1:
            raise DataError(f"{place}: its question is asked in {len(meant)} problems, about different images; name one by problem_id")
        matched += [(problem, row["response"]) for problem in meant]
    if not matched:
        raise DataError(f"{config.policy}: no row answers one of the {len(problems)} problems of this run; compare problem_id or question")
    _write(context, _judged(context, matched, student), None, None)


def _judged(context: Context[DemonstrateStage], matched: Sequence[tuple[Problem, str]], student: Policy) -> list[Trajectory]:
    with Verifier(context.config.verifier, context.options.workers) as verifier:
        verdicts = verifier.judge(list(matched))
    found = []
    for i, ((problem, text), verdict) in enumerate(zip(matched, verdicts, strict=True)):
        read = Trajectory(problem.problem_id, i, (), (), (), verdict.reward, verdict.verified, "stop", text, problem.images)
        found.append(_tokenised(read, problem, student))
    return found


def _write(context: Context[DemonstrateStage], found: Sequence[Trajectory], step: int | None, sha256: str | None) -> None:
    config = context.config
    folder = context.layout.demonstrations(config.name)
    shutil.rmtree(folder, ignore_errors=True)
    prompts = {problem.problem_id: problem.prompt for problem in read_problems(context.layout.problems)}
    rows = [trajectory_row(t, step, prompts[t.problem_id], sha256) for t in found]
    files = write_shards(folder, rows, SHARD_ROWS, context.config_sha256, sampling_facts(config.sampling))
    solved = len({t.problem_id for t in found if t.verified})
    write_manifest(folder, "demonstrate", context.config_sha256, files, {"guide_step": step, "n_samples": len(found), "n_solved": solved})
