"""guided: a second GRPO run from the same start over the same problems, that mixes guide trajectories in: by a schedule, or live."""

from collections.abc import Iterable
from pathlib import Path

from npo_pipeline.config import GuidedStage
from npo_pipeline.stages.cli import Context, add_training, parser, run_stage
from npo_pipeline.stages.mixers import mixer_maker
from npo_pipeline.storage.guides import verify_guide
from npo_pipeline.storage.manifest import NAME, sha256_file, verify


def run(context: Context[GuidedStage]) -> None:
    """Everything that the run depends on is read and checked before a model is loaded."""
    verify(context.layout.prepare)
    inputs = list(input_files(context))
    if context.layout.guide / NAME in inputs:
        verify_guide(context.layout.guide, context.layout.guide)

    make_mixer = mixer_maker(context)

    from npo_pipeline.stages.training import run_training

    run_training(context, context.config.name, make_mixer, " ".join(sha256_file(file) for file in inputs))


def input_files(context: Context[GuidedStage]) -> Iterable[Path]:
    """What a run of this method depends on beside its configuration, the problems and the initial policy."""
    method, layout, name = context.config.method, context.layout, context.config.name
    if method is None or method.kind == "online":
        yield layout.guide / NAME
    if method is None:
        yield layout.schedule(name)
    elif method.kind == "demonstrations":
        yield layout.demonstrations(name) / NAME


if __name__ == "__main__":
    run_stage(add_training(parser("guided", __doc__)), GuidedStage, run)
