"""evaluate: held-out mean@k and pass@k of one policy, with intervals, per difficulty and benchmark; and the samples behind them.

`--curve config/curve.yaml --policy npo` evaluates checkpoints of the run npo along its way instead, for comparisons at equal tokens.
`--average config/average.yaml --policy npo-averaged` first makes that policy, the mean of the last checkpoints of the run npo.
"""

from pathlib import Path

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.compose import load_stage
from npo_pipeline.configuration.options import plain_name
from npo_pipeline.configuration.stages import CurveStage, EvaluateStage
from npo_pipeline.context import Context
from npo_pipeline.evaluation.policies import make_averaged, policies, verify_policy
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.layout import AVERAGED
from npo_pipeline.storage.manifest import verify


def run(context: Context[EvaluateStage]) -> None:
    layout = context.layout
    verify(layout.prepare)
    if context.options.average:
        make_averaged(context.options.average, layout, context.options.policy or "")
    if context.options.curve:
        return along_the_way(context)
    for name in [context.options.policy] if context.options.policy else policies(layout):
        verify_policy(layout, name)
        if context.config.evaluate.benchmarks:
            verify(layout.benchmarks)

        from npo_pipeline.evaluation.evaluate import evaluate

        evaluate(context, name)


def along_the_way(context: Context[EvaluateStage]) -> None:
    """Raises ConfigError where no run is named."""
    run = context.options.policy
    require(run not in (None, "initial") and not run.endswith(AVERAGED), "--policy", run, "the name of a run, beside --curve")
    curve, _ = load_stage(context.options.curve, CurveStage)
    verify_policy(context.layout, run)

    from npo_pipeline.evaluation.curve import evaluate_curve

    evaluate_curve(context, curve, run)


if __name__ == "__main__":
    arguments = parser("evaluate", __doc__)
    arguments.add_argument("--policy", type=plain_name, help="initial, probe, a method, or a run's name with -averaged (default: all)")
    arguments.add_argument("--average", type=Path, help="config/average.yaml: make the averaged policy that --policy names first")
    arguments.add_argument(
        "--curve", type=Path, help="config/curve.yaml: only the checkpoints of the run that --policy names, along its way"
    )
    run_stage(arguments, EvaluateStage, run)
