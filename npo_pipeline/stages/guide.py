"""guide: trajectories of the guide checkpoints for the prompts that the probe failed; re-scored; Q, V, S per (current, guide).

`--job I --jobs N` makes every N-th guide checkpoint with one loaded engine; `--gather` writes signal.parquet from what all jobs
left; without either, the stage does all of it. A guide checkpoint that is finished is not sampled again.
"""

import json

from npo_pipeline.config import GuideStage
from npo_pipeline.errors import ConfigError
from npo_pipeline.stages.cli import Context, parser, run_stage
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.manifest import verify
from npo_pipeline.timeline import checkpoint_steps


def run(context: Context[GuideStage]) -> None:
    options = context.options
    verify(context.layout.prepare)
    check_guide_steps(context, verify(context.layout.probe)["steps"])
    if not options.gather:
        make_share(context, options.job or 0, options.jobs)
    if options.gather or options.job is None:
        from npo_pipeline.stages.guide_signal import gather

        gather(context)


def check_guide_steps(context: Context[GuideStage], steps: int) -> None:
    """Raises ConfigError for a guide checkpoint that a probe of `steps` steps does not have."""
    there = checkpoint_steps(context.config.checkpoint_every, steps)
    if missing := [step for step in context.config.guide_steps if step not in there]:
        raise ConfigError(
            f"{context.options.config}: guide_steps={context.config.guide_steps}: the probe has no checkpoint {missing[0]}; "
            f"there are {', '.join(map(str, there))}. Take from these, or run the probe again"
        )


def make_share(context: Context[GuideStage], job: int, jobs: int) -> None:
    """One job's share of the guide checkpoints, and a note that it is done."""
    if not 0 <= job < jobs:
        raise ConfigError(f"--job {job} --jobs {jobs}: expected 0 <= job < jobs")
    from npo_pipeline.stages.guide_maker import make_guides

    mine = context.config.guide_steps[job::jobs]
    make_guides(context, mine)
    write_text(context.layout.guide / "jobs" / f"{job}-of-{jobs}.json", json.dumps({"guide_steps": mine}) + "\n")


if __name__ == "__main__":
    arguments = parser("guide", __doc__)
    arguments.add_argument("--job", type=int, help="which of the scattered jobs this is, from 0; it does not gather")
    arguments.add_argument("--jobs", type=int, default=1, help="over how many jobs the guide checkpoints are spread")
    arguments.add_argument("--gather", action="store_true", help="only collect signal.parquet from finished guide checkpoints")
    run_stage(arguments, GuideStage, run)
