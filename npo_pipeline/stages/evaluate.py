"""evaluate: held-out mean@k and pass@k of one policy, with intervals, per difficulty and benchmark; and the samples behind them.

`--average config/average.yaml --policy npo-averaged` first makes that policy, the mean of the last checkpoints of the run npo.
"""

from pathlib import Path

from npo_pipeline.configuration.options import plain_name
from npo_pipeline.configuration.stages import EvaluateStage
from npo_pipeline.context import Context
from npo_pipeline.evaluation.policies import make_averaged, policies, verify_policy
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.manifest import verify


def run(context: Context[EvaluateStage]) -> None:
    layout = context.layout
    verify(layout.prepare)
    if context.options.average:
        make_averaged(context.options.average, layout, context.options.policy or "")
    for name in [context.options.policy] if context.options.policy else policies(layout):
        verify_policy(layout, name)
        if context.config.evaluate.benchmarks:
            verify(layout.benchmarks)

        from npo_pipeline.evaluation.evaluate import evaluate

        evaluate(context, name)


if __name__ == "__main__":
    arguments = parser("evaluate", __doc__)
    arguments.add_argument("--policy", type=plain_name, help="initial, probe, a method, or a run's name with -averaged (default: all)")
    arguments.add_argument("--average", type=Path, help="config/average.yaml: make the averaged policy that --policy names first")
    run_stage(arguments, EvaluateStage, run)
