"""A comparison made in memory, small enough for its figures to be worked out by hand."""

from dataclasses import replace
from typing import Any

from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.costs import Cost, Spend
from npo_pipeline.analysis.results import Evaluation, Results, Run, SeedResults
from npo_pipeline.configuration.stages import ComparisonStage
from npo_pipeline.records import Problem
from npo_pipeline.storage.curves import Point

SAMPLES, PROBLEMS = 10, ("p0", "p1")
STEP_TOKENS = 100
Right = dict[str, list[tuple[int | tuple[int, int], ...]]]  # by run, of each seed, after every two steps: of ten samples, for both problems


def by_hand(right: Right, before: dict[str, int] | None = None, tokens: dict[str, int] | None = None, **metrics: Any) -> Comparison:
    """`right` of "probe" and methods. `before`: tokens that a method needs first. `tokens`: of its steps, else 100.

    `metrics`: by run, a function of the step that gives more of the log's values. The initial policy solves nothing.
    """
    methods, count = tuple(name for name in right if name != "probe"), len(right["probe"])
    seeds = tuple(_seed(seed, right, tokens or {}, metrics) for seed in range(count))
    problems = {name: Problem(name, "eval", name, "", "a", name, (1,)) for name in PROBLEMS}
    stage = ComparisonStage(list(range(count)), list(methods), 100, 0.95, 0, 1, "by hand", every=2)
    costs = tuple(_costs(seed, before or {}) for seed in seeds)
    curves = tuple({run: _points(found[seed]) for run, found in right.items()} for seed in range(count))
    return Comparison(stage, Results("by hand", methods, seeds, problems), costs, curves)


def without_curves(comparison: Comparison) -> Comparison:
    return replace(comparison, stage=replace(comparison.stage, every=None), curves=())


def _seed(seed: int, right: Right, tokens: dict[str, int], metrics: dict[str, Any]) -> SeedResults:
    runs = {name: _run(len(found[seed]) * 2, tokens.get(name, STEP_TOKENS), metrics.get(name)) for name, found in right.items()}
    ends = {name: _evaluation(_counts(found[seed][-1])) for name, found in right.items()}
    return SeedResults(seed, runs, {"initial": _evaluation(_counts(0)), **ends}, ())


def _run(steps: int, tokens: int, more: Any) -> Run:
    empty = {"entropy": 0.1, "groups/all_wrong": 0.0, "guide/injected": 0, "guide/step": None, "completions/tokens": tokens}
    return Run(tuple({"step": i, **empty, "reward/mean": i / 10, **(more(i) if more else {})} for i in range(steps)))


def _counts(right: int | tuple[int, int]) -> dict[str, int]:
    return dict(zip(PROBLEMS, right if isinstance(right, tuple) else (right, right), strict=True))


def _points(found: tuple[int | tuple[int, int], ...]) -> list[Point]:
    return [Point(2 * i, _counts(right), None) for i, right in enumerate(found, 1)]


def _evaluation(correct: dict[str, int]) -> Evaluation:
    return Evaluation(SAMPLES, (1, SAMPLES), 1.0, 100, 0.95, 0, correct)


def _costs(seed: SeedResults, before: dict[str, int]) -> dict[str, Cost]:
    own = {name: sum(row["completions/tokens"] for row in run.metrics) for name, run in seed.runs.items()}
    return {"initial": Cost(Spend(0, 0), Spend(0, 0))} | {
        name: Cost(Spend(count, None), Spend(before.get(name, 0), None)) for name, count in own.items()
    }
