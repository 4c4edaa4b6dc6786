"""evaluate: held-out mean@k and pass@k of one policy, with intervals, per difficulty and benchmark; and the samples behind them."""

from pathlib import Path

from npo_pipeline.config import EvaluateStage
from npo_pipeline.stages.cli import Context, parser, plain_name, run_stage
from npo_pipeline.storage.evaluations import write_evaluation
from npo_pipeline.storage.layout import Layout, checkpoint
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import NAME, read_manifest, verify


def run(context: Context[EvaluateStage]) -> None:
    verify(context.layout.prepare)
    for name in [context.options.policy] if context.options.policy else policies(context.layout):
        evaluate(context, name)


def policies(layout: Layout) -> list[str]:
    """The initial policy, and that of every finished training run of the seed."""
    runs = {folder.parent for pattern in ("*", "round-*/*") for folder in layout.seed_folder.glob(f"{pattern}/checkpoints")}
    return ["initial", *sorted(str(run.relative_to(layout.seed_folder)) for run in runs if (run / NAME).is_file())]


def evaluate(context: Context[EvaluateStage], name: str) -> None:
    layout = context.layout
    if name != "initial":
        verify(layout.run(name), "checkpoints")
    if context.config.evaluate.benchmarks:
        verify(layout.benchmarks)

    from npo_pipeline.stages.evaluation import evaluate_policy

    with only_writer(layout.evaluation(name).parent, f".{layout.evaluation(name).stem}.lock"):
        result = evaluate_policy(context, name, policy_folder(layout, name))
        write_evaluation(layout, name, result)


def policy_folder(layout: Layout, name: str) -> Path:
    """The initial policy, or the last checkpoint of the run that `name` stands for."""
    if name == "initial":
        return layout.initial_policy
    return checkpoint(layout.run(name), read_manifest(layout.run(name))["steps"])


if __name__ == "__main__":
    arguments = parser("evaluate", __doc__)
    arguments.add_argument("--policy", type=plain_name, help="initial, probe, or the name of a method (default: all that are there)")
    run_stage(arguments, EvaluateStage, run)
