"""guide: trajectories of the guide checkpoints for the prompts that the probe failed; re-scored; Q, V, S per (current, guide).

`--job I --jobs N` makes every N-th guide checkpoint with one loaded engine; `--gather` writes signal.parquet from what all jobs
left; without either, the stage does all of it. A guide checkpoint that is finished is not sampled again.
"""

from npo_pipeline.configuration.grid import check_guide_steps
from npo_pipeline.configuration.stages import GuideStage
from npo_pipeline.context import Context
from npo_pipeline.errors import ConfigError
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.manifest import verify


def run(context: Context[GuideStage]) -> None:
    config, options = context.config, context.options
    job = options.job or 0
    verify(context.layout.prepare)
    verify(context.layout.probe)
    check_guide_steps(str(options.config), config.guide_steps, list(read_records(context.layout.probe)))
    if not 0 <= job < options.jobs:
        raise ConfigError(f"--job {job} --jobs {options.jobs}: expected 0 <= job < jobs")
    if not options.gather:
        from npo_pipeline.guidance.shards.make import make_share

        make_share(context, job, options.jobs)
    if options.gather or options.job is None:
        from npo_pipeline.guidance.shards.gather import gather

        gather(context)


if __name__ == "__main__":
    arguments = parser("guide", __doc__)
    arguments.add_argument("--job", type=int, help="which of the scattered jobs this is, from 0; it does not gather")
    arguments.add_argument("--jobs", type=int, default=1, help="over how many jobs the guide checkpoints are spread")
    arguments.add_argument("--gather", action="store_true", help="only collect signal.parquet from finished guide checkpoints")
    run_stage(arguments, GuideStage, run)
