"""Trajectories of other policies, read from their shards and matched to the prompts of this experiment."""

from collections.abc import Collection, Sequence
from pathlib import Path

from npo_pipeline.errors import ArtifactError
from npo_pipeline.guidance.demonstrated import Demonstrations
from npo_pipeline.guidance.online import Tried
from npo_pipeline.guidance.scheduled import Supply
from npo_pipeline.records import GuideTrajectory, Problem, Trajectory
from npo_pipeline.storage.guides import first_verified, read_shards
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import read_manifest
from npo_pipeline.storage.parquet import prompt_digest, read_problems


def load_guides(layout: Layout, guide_steps: Collection[int]) -> tuple[Supply, Tried]:
    """Verified trajectories of the guide checkpoints, and what each of them tried. Raises ArtifactError if they answer other prompts."""
    supply: dict[tuple[int, str], GuideTrajectory] = {}
    tried: dict[int, set[str]] = {}
    problems = read_problems(layout.problems)
    for step in sorted(guide_steps):
        trajectories = read_checked(layout, layout.guide_step(step), problems)
        tried[step] = {trajectory.problem_id for trajectory in trajectories}
        supply |= {(step, problem_id): GuideTrajectory(t, step) for problem_id, t in first_verified(trajectories).items()}
    return supply, tried


def load_demonstrations(layout: Layout, method: str, wanted: int) -> Demonstrations:
    """The first `wanted` verified trajectories of each problem that has as many. Raises ArtifactError."""
    folder = layout.demonstrations(method)
    step = read_manifest(folder)["guide_step"]
    found: dict[str, list[GuideTrajectory]] = {}
    for trajectory in read_checked(layout, folder, read_problems(layout.problems)):
        if trajectory.verified:
            found.setdefault(trajectory.problem_id, []).append(GuideTrajectory(trajectory, step))
    return {problem_id: guides[:wanted] for problem_id, guides in found.items() if len(guides) >= wanted}


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
