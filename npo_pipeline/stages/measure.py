"""measure: Q, V and S of a finished probe, measured; beside V the cheap estimates of it; figure, and answers to the paper's claims.

Outside the main job: `snakemake --cores 2 signal_study`, or this command. npo_pipeline.measurement.gradient_variance says what V is here.
"""

from npo_pipeline.config import MeasureStage
from npo_pipeline.errors import ConfigError
from npo_pipeline.stages.cli import Context, parser, run_stage
from npo_pipeline.storage.manifest import verify
from npo_pipeline.timeline import checkpoint_steps

Pair = tuple[int, int]  # current step, guide step


def run(context: Context[MeasureStage]) -> None:
    verify(context.layout.prepare)
    pairs = pairs_of(context, verify(context.layout.probe)["steps"])

    from npo_pipeline.stages.measuring import measure

    measure(context, pairs)


def pairs_of(context: Context[MeasureStage], steps: int) -> list[Pair]:
    """The pairs of the grid of which the probe has both checkpoints. Raises ConfigError if there is none."""
    settings, there = context.config.measure, checkpoint_steps(context.config.checkpoint_every, steps)
    wanted = [(current, current + distance) for current in settings.current_steps for distance in settings.distances]
    found = [(current, guide) for current, guide in wanted if current in there and guide in there and current < steps]
    if not found:
        raise ConfigError(
            f"{context.options.config}: measure.current_steps={settings.current_steps} with measure.distances={settings.distances}: the "
            f"probe has both checkpoints of none of these pairs; there are {', '.join(map(str, there))}. Take from these"
        )
    return found


if __name__ == "__main__":
    run_stage(parser("measure", __doc__), MeasureStage, run)
