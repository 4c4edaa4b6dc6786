"""Trajectories of other policies, read from their shards and matched to the prompts of this experiment."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from npo_pipeline.errors import ArtifactError
from npo_pipeline.guidance.generate import first_verified
from npo_pipeline.records import GuideTrajectory, Problem, Trajectory
from npo_pipeline.storage.guides import read_shards
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import read_manifest
from npo_pipeline.storage.parquet import prompt_digest, read_problems

log = logging.getLogger(__name__)

Supply = Mapping[tuple[int, str], GuideTrajectory]  # verified guide trajectories by (guide_step, problem_id)
Tried = Mapping[int, Collection[str]]  # the problems that each guide checkpoint tried
Demonstrations = Mapping[str, Sequence[GuideTrajectory]]  # verified ones by problem, `wanted` of each


def load_guides(layout: Layout, guide_steps: Collection[int], longest: int) -> tuple[Supply, Tried]:
    """Verified trajectories of the guide checkpoints, and what each of them tried. Raises ArtifactError if they answer other prompts.

    One of more than `longest` tokens, which the run itself could not sample, is left out.
    """
    supply: dict[tuple[int, str], GuideTrajectory] = {}
    tried: dict[int, set[str]] = {}
    problems = read_problems(layout.problems)
    for step in sorted(guide_steps):
        trajectories = read_checked(layout, layout.guide_step(step), problems)
        tried[step] = {trajectory.problem_id for trajectory in trajectories}
        found = first_verified(short_enough(layout.guide_step(step), trajectories, longest))
        supply |= {(step, problem_id): GuideTrajectory(t, step) for problem_id, t in found.items()}
    return supply, tried


def load_demonstrations(layout: Layout, method: str, wanted: int, longest: int) -> Demonstrations:
    """The first `wanted` verified trajectories, of at most `longest` tokens, of each problem that has as many. Raises ArtifactError."""
    folder = layout.demonstrations(method)
    step = read_manifest(folder)["guide_step"]
    found: dict[str, list[GuideTrajectory]] = {}
    for trajectory in short_enough(folder, read_checked(layout, folder, read_problems(layout.problems)), longest):
        if trajectory.verified:
            found.setdefault(trajectory.problem_id, []).append(GuideTrajectory(trajectory, step))
    return {problem_id: guides[:wanted] for problem_id, guides in found.items() if len(guides) >= wanted}


def short_enough(folder: Path, trajectories: Sequence[Trajectory], longest: int) -> list[Trajectory]:
    """Those of at most `longest` response tokens; how many are longer is said."""
    kept = [trajectory for trajectory in trajectories if len(trajectory.response_token_ids) <= longest]
    if left_out := len(trajectories) - len(kept):
        counts = f"{left_out} of {len(trajectories)} trajectories are longer than sampling.max_new_tokens={longest}"
        log.warning("%s: %s, which the run itself could not sample: left out", folder, counts)
    return kept


def read_checked(layout: Layout, folder: Path, problems: Sequence[Problem]) -> list[Trajectory]:
    """The trajectories of a folder of shards. Raises ArtifactError if one answers another prompt or image than the problem has."""
    known = {problem.problem_id: problem for problem in problems}
    shards = read_shards(folder, layout.prepare)
    for trajectory, prompt_sha256 in shards:
        check_prompt(layout, folder, known.get(trajectory.problem_id), prompt_sha256)
    return [trajectory for trajectory, _ in shards]


def check_prompt(layout: Layout, folder: Path, problem: Problem | None, prompt_sha256: str) -> None:
    if problem is None or prompt_digest(problem.prompt, problem.images) != prompt_sha256:
        raise ArtifactError(
            f"{folder}: its trajectories answer other prompts than {layout.problems} holds; delete {folder.parent} and run its stage again"
        )
