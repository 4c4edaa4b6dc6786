"""guided: a second GRPO run from the same start over the same problems, that mixes guide trajectories in: by a schedule, or live."""

from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.guidance.methods import guided
from npo_pipeline.stages.cli import add_training, parser, run_stage
from npo_pipeline.storage.guides import verify_guide
from npo_pipeline.storage.manifest import NAME, sha256_file, verify


def run(context: Context[GuidedStage]) -> None:
    """Everything that the run depends on is read and checked before a model is loaded."""
    layout, method = context.layout, guided(context.config)
    verify(layout.prepare)
    if context.config.start:
        verify(layout.probe, "checkpoints")
    inputs = method.inputs(context)
    if layout.guide / NAME in inputs:
        verify_guide(layout.guide, layout.guide)
    make_mixer = method.make(context)

    from npo_pipeline.grpo.run import run_training

    run_training(context, context.config.name, make_mixer, " ".join(sha256_file(file) for file in inputs))


if __name__ == "__main__":
    run_stage(add_training(parser("guided", __doc__)), GuidedStage, run)
