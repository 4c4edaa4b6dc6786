"""Reads what a comparison needs from `results/<experiment>`, seed by seed: nothing of it is changed, so that a seed more only adds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from npo_pipeline.analysis.comparison.uncertainty import Floats, by_start
from npo_pipeline.analysis.costs import Cost, load_method, seed_costs
from npo_pipeline.analysis.load import existing, load_counts, load_steps
from npo_pipeline.analysis.methods import INITIAL, ordered
from npo_pipeline.analysis.results import GRPO, Results, SeedResults
from npo_pipeline.analysis.statistics import for_all
from npo_pipeline.analysis.summary import check_settings
from npo_pipeline.configuration.stages import ComparisonStage
from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.curves import Point, read_curve
from npo_pipeline.storage.layout import Layout, averaged
from npo_pipeline.storage.parquet import read_problems


@dataclass(frozen=True)
class Comparison:
    """What a comparison is made of. `costs` holds one mapping per seed, by policy, in the order of `results.seeds`."""

    stage: ComparisonStage
    results: Results
    costs: tuple[Mapping[str, Cost], ...]
    curves: tuple[Mapping[str, Sequence[Point]], ...] = ()  # by run, of each seed; () where runs were evaluated at their ends only
    at_once: int = 1  # of how many differences the intervals hold together

    @property
    def policies(self) -> list[str]:
        """In the order of the table's rows; the averages are not among them."""
        return ordered(self.results.policies)

    @property
    def averages(self) -> list[str]:
        """The averaged policies, in the order of their runs."""
        return [averaged(run) for run in self.policies if averaged(run) in self.results.averages]

    @cached_property
    def starts_S(self) -> list[int]:
        """Which initial policy each seed started from; one for all where there is but one."""
        return [seed.seed % (self.stage.cold_starts or 1) for seed in self.results.seeds]

    @property
    def has_starts(self) -> bool:
        """Whether initial policies differ, so that what they bring can be told and is part of every interval."""
        return len(set(self.starts_S)) > 1

    @property
    def units_S(self) -> list[int]:
        """To which of what was drawn at random, on its own, each seed belongs: its initial policy; or itself, where all share one."""
        return self.starts_S if self.has_starts else list(range(len(self.results.seeds)))

    def units(self, values_SX: Floats) -> Floats:
        """The means over the seeds of each unit."""
        return by_start(values_SX, self.units_S)

    def intervals_for_all(self, count: int) -> "Comparison":
        """The same with intervals of which `count` hold at once: what the best of so many is judged by."""
        return replace(self, at_once=count)

    @property
    def confidence(self) -> float:
        """Of each interval."""
        return for_all(self.stage.confidence, self.at_once)

    @cached_property
    def problem_ids(self) -> list[str]:
        return sorted(self.results.settings.correct)

    @cached_property
    def scores(self) -> dict[str, Floats]:
        """The share of right samples of every policy: values_SP, seed by problem (in the order of `problem_ids`)."""
        return {
            policy: np.array([self._shares(seed, policy) for seed in self.results.seeds]) for policy in (*self.policies, *self.averages)
        }

    def _shares(self, seed: SeedResults, policy: str) -> list[float]:
        evaluation = seed.evaluations[policy]
        return [evaluation.correct[problem_id] / evaluation.samples for problem_id in self.problem_ids]


def load_comparison(stage: ComparisonStage, layout: Layout) -> Comparison:
    """Read every seed and method. Raises ArtifactError naming the first file that is missing or damaged, and the fix."""
    methods = tuple(ordered([name for name in dict.fromkeys(stage.methods) if name not in (INITIAL, GRPO, "grpo")]))
    layouts = [replace(layout, seed=seed) for seed in stage.seeds]
    problems = read_problems(existing(layouts[0].problems, "prepare"))  # the same for every initial policy
    seeds = tuple(_load_seed(layout, methods, bool(stage.averaged)) for layout in layouts)
    by_id = {problem.problem_id: problem for problem in problems}
    results = Results(stage.name, methods, seeds, by_id, with_averages=bool(stage.averaged))
    for seed in seeds:
        for policy, evaluation in seed.evaluations.items():
            check_settings(results, evaluation, str(replace(layout, seed=seed.seed).evaluation(policy)))
    configs = {name: load_method(layout.root / "config" / f"guided-{name}.yaml") for name in methods}
    costs = tuple(_with_averages(results, seed_costs(layout, seed.runs, configs)) for layout, seed in zip(layouts, seeds, strict=True))
    curves = tuple(_curves(results, own, seed) for own, seed in zip(layouts, seeds, strict=True)) if stage.every else ()
    return Comparison(stage, results, costs, curves)


def _curves(results: Results, layout: Layout, seed: SeedResults) -> dict[str, Sequence[Point]]:
    """Of every run of a seed. Raises ArtifactError for one that was evaluated otherwise than the runs' ends were."""
    found: dict[str, Sequence[Point]] = {}
    for run in seed.runs:
        points, facts = read_curve(layout, run)
        made, settings = (facts["samples"], facts["temperature"], set(points[-1].correct)), results.settings
        if made != (settings.samples, settings.temperature, set(settings.correct)):
            raise ArtifactError(
                f"{layout.curve(run)}: {made[0]} samples at temperature {made[1]} of {len(made[2])} problems, expected {settings.samples} "
                f"at {settings.temperature} of the {len(settings.correct)} of the evaluations. Delete it and run snakemake again."
            )
        found[run] = points
    return found


def _with_averages(results: Results, costs: Mapping[str, Cost]) -> Mapping[str, Cost]:
    """An averaged policy costs what its run did."""
    return {**costs, **{average: costs[run] for run, average in zip(results.runs, results.averages, strict=False)}}


def _load_seed(layout: Layout, methods: tuple[str, ...], with_averages: bool) -> SeedResults:
    runs = {name: load_steps(layout, name) for name in (GRPO, *methods)}
    averages = map(averaged, runs) if with_averages else ()
    evaluations = {name: load_counts(layout, name) for name in (INITIAL, *runs, *averages)}
    return SeedResults(layout.seed, runs, evaluations, ())
