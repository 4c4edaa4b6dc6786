"""Held-out scores of a run along its way: of its checkpoints on a grid, and of the average that a run that ended there would have.

What a method is worth at a number of sampled tokens that no run ends at is read from these curves (analysis/comparison/equal.py).
"""

from npo_pipeline.configuration.grid import averaged_steps
from npo_pipeline.configuration.stages import CurveStage, EvaluateStage
from npo_pipeline.context import Context
from npo_pipeline.evaluation.evaluate import count_correct, draw_with, engine_of
from npo_pipeline.policy.average import acting, mean_of
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.device import pick_device
from npo_pipeline.storage.curves import Point, write_curve
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import read_manifest
from npo_pipeline.storage.parquet import read_problems
from npo_pipeline.storage.run_files import METRICS, read_jsonl


def evaluate_curve(context: Context[EvaluateStage], curve: CurveStage, run: str) -> None:
    """Write curve.json of a run; one policy and one engine walk over its checkpoints. Raises ArtifactError for one that is damaged."""
    layout, settings = context.layout, context.config.evaluate
    folder = layout.run(run)
    first = read_jsonl(folder / METRICS)[0]["step"]
    steps = curve_steps(curve.every, read_manifest(folder)["steps"], first)
    problems = read_problems(layout.problems, "eval")
    with only_writer(folder, ".curve.lock"):
        walk = Walk(folder, steps[0], pick_device(context.options.device))
        engine = engine_of(context, walk.policy, problems)

        def correct(step: int, what: str) -> dict[str, int]:
            return dict(count_correct(problems, draw_with(context, f"{run} at {step}{what}", engine, walk.policy, problems)))

        points = []
        for step in steps:
            averaged = None
            if curve.average_every is not None and curve.average_last is not None:
                with acting(walk.policy.model, mean_of(walk, averaged_steps(curve.average_every, curve.average_last, step, first))):
                    averaged = correct(step, ", averaged")
            walk.to(step)
            points.append(Point(step, correct(step, ""), averaged))
        facts = {"samples": settings.samples, "temperature": settings.temperature, "evaluation_seed": settings.seed}
        write_curve(layout, run, points, facts | {"policy_sha256": walk.sha256(), "config_sha256": context.config_sha256})


def curve_steps(every: int, steps: int, first: int = 0) -> list[int]:
    """Where a run is evaluated: every `every` steps, and at its end; one that began at a later step (`first`) there, too.

    Examples: 30 and 100 give 30, 60, 90, 100; with first 50 it is 50, 60, 90, 100.
    """
    own = {step for step in range(every, steps + 1, every) if step > first}
    return sorted(own | {steps} | ({first} if first else set()))
