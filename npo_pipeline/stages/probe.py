"""probe: baseline GRPO that keeps dense policy checkpoints and every roll-out. It is GRPO run to the end, and pass one."""

from npo_pipeline.configuration.stages import ProbeStage
from npo_pipeline.context import Context
from npo_pipeline.stages.cli import add_training, parser, run_stage
from npo_pipeline.storage.manifest import verify


def run(context: Context[ProbeStage]) -> None:
    verify(context.layout.prepare)

    from npo_pipeline.grpo.run import run_training

    run_training(context, "probe")


if __name__ == "__main__":
    run_stage(add_training(parser("probe", __doc__)), ProbeStage, run)
