"""evaluate: held-out mean@k and pass@k of one policy, with intervals, per difficulty and benchmark; and the samples behind them."""

from npo_pipeline.configuration.options import plain_name
from npo_pipeline.configuration.stages import EvaluateStage
from npo_pipeline.context import Context
from npo_pipeline.evaluation.policies import policies
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.manifest import verify


def run(context: Context[EvaluateStage]) -> None:
    layout = context.layout
    verify(layout.prepare)
    for name in [context.options.policy] if context.options.policy else policies(layout):
        if name != "initial":
            verify(layout.run(name), "checkpoints")
        if context.config.evaluate.benchmarks:
            verify(layout.benchmarks)

        from npo_pipeline.evaluation.evaluate import evaluate

        evaluate(context, name)


if __name__ == "__main__":
    arguments = parser("evaluate", __doc__)
    arguments.add_argument("--policy", type=plain_name, help="initial, probe, or the name of a method (default: all that are there)")
    run_stage(arguments, EvaluateStage, run)
