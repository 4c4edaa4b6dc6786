"""Reads what a comparison needs from `results/<experiment>`, seed by seed: nothing of it is changed, so that a seed more only adds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from npo_pipeline.analysis.comparison.uncertainty import Floats
from npo_pipeline.analysis.costs import Cost, load_method, seed_costs
from npo_pipeline.analysis.load import existing, load_counts, load_steps
from npo_pipeline.analysis.methods import INITIAL, ordered
from npo_pipeline.analysis.results import GRPO, Results, SeedResults
from npo_pipeline.analysis.summary import check_settings
from npo_pipeline.configuration.stages import ComparisonStage
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.parquet import read_problems


@dataclass(frozen=True)
class Comparison:
    """What a comparison is made of. `costs` holds one mapping per seed, by policy, in the order of `results.seeds`."""

    stage: ComparisonStage
    results: Results
    costs: tuple[Mapping[str, Cost], ...]

    @property
    def policies(self) -> list[str]:
        """In the order of the table's rows."""
        return ordered(self.results.policies)

    @cached_property
    def problem_ids(self) -> list[str]:
        return sorted(self.results.settings.correct)

    @cached_property
    def scores(self) -> dict[str, Floats]:
        """The share of right samples of every policy: values_SP, seed by problem (in the order of `problem_ids`)."""
        return {policy: np.array([self._shares(seed, policy) for seed in self.results.seeds]) for policy in self.policies}

    def _shares(self, seed: SeedResults, policy: str) -> list[float]:
        evaluation = seed.evaluations[policy]
        return [evaluation.correct[problem_id] / evaluation.samples for problem_id in self.problem_ids]


def load_comparison(stage: ComparisonStage, layout: Layout) -> Comparison:
    """Read every seed and method. Raises ArtifactError naming the first file that is missing or damaged, and the fix."""
    methods = tuple(ordered([name for name in dict.fromkeys(stage.methods) if name not in (INITIAL, GRPO, "grpo")]))
    problems = read_problems(existing(layout.problems, "prepare"))
    layouts = [replace(layout, seed=seed) for seed in stage.seeds]
    seeds = tuple(_load_seed(layout, methods) for layout in layouts)
    results = Results(stage.name, methods, seeds, {problem.problem_id: problem for problem in problems})
    for seed in seeds:
        for policy, evaluation in seed.evaluations.items():
            check_settings(results, evaluation, str(replace(layout, seed=seed.seed).evaluation(policy)))
    configs = {name: load_method(layout.root / "config" / f"guided-{name}.yaml") for name in methods}
    costs = tuple(seed_costs(layout, seed.runs, configs) for layout, seed in zip(layouts, seeds, strict=True))
    return Comparison(stage, results, costs)


def _load_seed(layout: Layout, methods: tuple[str, ...]) -> SeedResults:
    runs = {name: load_steps(layout, name) for name in (GRPO, *methods)}
    evaluations = {name: load_counts(layout, name) for name in (INITIAL, GRPO, *methods)}
    return SeedResults(layout.seed, runs, evaluations, ())
