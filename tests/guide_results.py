"""A finished guide stage, written with the project's own writers: what tests of exported guides read. Two guide steps, 4 and 8."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from npo_pipeline.configuration.compose import load_root, stage_configs, to_yaml
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Image, Problem, Trajectory
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.guides import write_shards
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import NAME, sha256_text, write_manifest
from npo_pipeline.storage.parquet import PROBLEMS, SIGNAL, problem_row, trajectory_row, write_table

STEPS = (4, 8)
ANSWER = "3"  # of every problem


def problems_for(policy: Policy, count: int = 6) -> list[Problem]:
    """Example: "1 + 2 =" with the answer "3", which nothing checks."""
    texts = [f"{i} + {3 - i} =" for i in range(count)]
    ids = [tuple(policy.tokenizer(text)["input_ids"]) for text in texts]
    return [Problem(f"p{i}", "train", text, ANSWER, "all", text, ids[i]) for i, text in enumerate(texts)]


def guide_trajectory(policy: Policy, problem: Problem, index: int, verified: bool, text: str = f" {ANSWER}") -> Trajectory:
    """The response ends with the end of sequence; its log-probs are made up."""
    ids = (*policy.tokenizer(text)["input_ids"], policy.tokenizer.eos_token_id)
    logprobs = tuple(-0.1 * (i + 1) for i in range(len(ids)))
    return Trajectory(
        problem.problem_id, index, problem.prompt_token_ids, ids, logprobs, float(verified), verified, "stop", text, problem.images
    )


def write_guides(root: Path, problems: Sequence[Problem], made: dict[int, list[Trajectory]]) -> Layout:
    """results/NAME at `root`, as `prepare` and `guide` leave it, with these trajectories of each guide step."""
    layout, stages = Layout(root), stage_configs(load_root("default"))
    texts = {stage: to_yaml(stages[stage]) for stage in ("prepare", "guide")}
    for stage, text in texts.items():
        write_text(root / "config" / f"{stage}.yaml", text)
    digests = {stage: sha256_text(text) for stage, text in texts.items()}
    known = {problem.problem_id: problem for problem in problems}
    images = [image.file for problem in problems for image in problem.images]
    files = [write_table(layout.problems, [problem_row(problem) for problem in problems], PROBLEMS, "sha"), *images]
    write_manifest(layout.prepare, "prepare", digests["prepare"], files)
    for step, trajectories in made.items():
        rows = [trajectory_row(t, step, known[t.problem_id].prompt, f"{step:064x}") for t in trajectories]
        solved = len({t.problem_id for t in trajectories if t.verified})
        facts = {"guide_step": step, "probe_sha256": "f" * 64, "n_pool": len(problems), "n_covered": solved, "n_samples": len(rows)}
        write_manifest(layout.guide_step(step), "guide", digests["guide"], write_shards(layout.guide_step(step), rows, 4, "sha", {}), facts)
    signal = [signal_row(0, step, 0.5 + step / 100) for step in made]
    files = [write_table(layout.signal, signal, SIGNAL, "sha"), *(layout.guide_step(step) / NAME for step in made)]
    write_manifest(layout.guide, "guide", digests["guide"], files, {"guide_steps": list(made), "lookback": 8})
    return layout


def signal_row(current: int, guide: int, s: float) -> dict[str, object]:
    counts = {"n_failed": 4, "n_covered": 2, "n_samples": 8, "n_pool": 6, "n_scored": 2}
    place = {"current_step": current, "guide_step": guide, "distance": guide - current}
    return place | counts | {"q": 0.75, "kl_token": 0.1, "chi2_token": 0.1, "ess": 0.5, "v": 1.25, "s": s}


def with_images(problem: Problem, images: Sequence[Image]) -> Problem:
    return replace(problem, images=tuple(images))
