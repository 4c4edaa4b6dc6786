"""demonstrate: verified trajectories of another policy for every problem that a run will see: what LUFFY and RLEP learn from.

The policy is the probe's last checkpoint, the teacher, or any model directory or hub name; or there is a file of trajectories.
"""

from pathlib import Path

from npo_pipeline.configuration.stages import DemonstrateStage
from npo_pipeline.context import Context
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.manifest import NAME, verify
from npo_pipeline.tasks.rows.files import SUFFIXES


def run(context: Context[DemonstrateStage]) -> None:
    layout, policy = context.layout, context.config.policy
    verify(layout.prepare)
    if policy == "probe":
        verify(layout.probe)
    if policy == "teacher":
        verify(layout.teacher)
    (layout.demonstrations(context.config.name) / NAME).unlink(missing_ok=True)

    from npo_pipeline.guidance.shards import demonstrate as demonstrating

    if Path(policy).suffix in SUFFIXES:
        demonstrating.from_file(context)
    else:
        demonstrating.from_policy(context)


if __name__ == "__main__":
    run_stage(parser("demonstrate", __doc__), DemonstrateStage, run)
