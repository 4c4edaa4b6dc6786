"""guided: a second GRPO run from the same start over the same problems, that mixes guide trajectories in as scheduled."""

from npo_pipeline.config import GuidedStage
from npo_pipeline.errors import ArtifactError
from npo_pipeline.guidance.schedule import Schedule, read_schedule
from npo_pipeline.guidance.supply import ScheduledMixer, Supply
from npo_pipeline.records import GuideTrajectory, Problem
from npo_pipeline.stages.cli import Context, add_save_every, parser, run_stage
from npo_pipeline.storage.guides import first_verified, read_shards, verify_guide
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import NAME, sha256_file, sha256_text, verify
from npo_pipeline.storage.parquet import read_problems


def run(context: Context[GuidedStage]) -> None:
    config, layout = context.config, context.layout
    verify(layout.prepare)
    guide = verify_guide(layout.guide, layout.guide)
    path = layout.schedule(config.name)
    schedule = read_schedule(path, config.steps, guide["guide_steps"], guide["lookback"])
    supply = load_supply(layout, schedule)

    from npo_pipeline.stages.training import run_training

    inputs = f"{sha256_file(path)} {sha256_file(layout.guide / NAME)}"
    run_training(context, config.name, ScheduledMixer(schedule, supply), inputs)


def load_supply(layout: Layout, schedule: Schedule) -> Supply:
    """Verified guide trajectories of the schedule's guide checkpoints. Raises ArtifactError if they answer other prompts."""
    problems = {problem.problem_id: problem for problem in read_problems(layout.problems)}
    supply: dict[tuple[int, str], GuideTrajectory] = {}
    for guide_step in sorted({window.guide_step for window in schedule.windows}):
        shards = read_shards(layout.guide_step(guide_step))
        for trajectory, prompt_sha256 in shards:
            check_prompt(layout, guide_step, problems.get(trajectory.problem_id), prompt_sha256)
        for problem_id, trajectory in first_verified([trajectory for trajectory, _ in shards]).items():
            supply[guide_step, problem_id] = GuideTrajectory(trajectory, guide_step)
    return supply


def check_prompt(layout: Layout, guide_step: int, problem: Problem | None, prompt_sha256: str) -> None:
    if problem is None or sha256_text(problem.prompt) != prompt_sha256:
        raise ArtifactError(
            f"{layout.guide_step(guide_step)}: its trajectories answer other prompts than {layout.problems} holds; "
            f"delete {layout.guide} and run the guide stage again"
        )


if __name__ == "__main__":
    run_stage(add_save_every(parser("guided", __doc__)), GuidedStage, run)
