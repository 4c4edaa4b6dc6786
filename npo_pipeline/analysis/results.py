"""What a report is made of, as typed records: read by `load`, never changed afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from npo_pipeline.guidance.schedule import Schedule
from npo_pipeline.records import Problem
from npo_pipeline.storage.layout import AVERAGED, averaged

GRPO = "probe"  # the probe, run to its end, is the GRPO baseline


@dataclass(frozen=True)
class Run:
    """One training run. `metrics` and `timings` hold one mapping per step, in the order of the steps; timings may be empty."""

    metrics: tuple[Mapping[str, Any], ...]
    timings: tuple[Mapping[str, Any], ...] = ()
    schedule: Schedule | None = None  # None: the probe


@dataclass(frozen=True)
class Evaluation:
    """One policy's held-out results. `correct` counts the verified responses of each problem, out of `samples`."""

    samples: int
    ks: tuple[int, ...]
    temperature: float
    resamples: int
    confidence: float
    bootstrap_seed: int
    correct: Mapping[str, int]
    benchmarks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # as `correct`, of each benchmark
    trajectories: tuple[Mapping[str, Any], ...] = ()  # problem_id, sample_index, response_text, verified, finish_reason


@dataclass(frozen=True)
class SeedResults:
    """Everything of one training seed. `signal` holds the rows of signal.parquet."""

    seed: int
    runs: Mapping[str, Run]  # "probe" and each method
    evaluations: Mapping[str, Evaluation]  # "initial", "probe" and each method; with averages also "probe-averaged" and so on
    signal: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Results:
    """Everything of one experiment. `configs` maps a file name below config/ to its text."""

    name: str
    methods: tuple[str, ...]
    seeds: tuple[SeedResults, ...]
    problems: Mapping[str, Problem]
    configs: Mapping[str, str] = field(default_factory=dict)
    with_averages: bool = False  # whether the averaged policy of each run was evaluated, too
    initial_policies: int = 1  # from which the seeds started

    @property
    def policies(self) -> tuple[str, ...]:
        return ("initial", GRPO, *self.methods)

    @property
    def runs(self) -> tuple[str, ...]:
        return (GRPO, *self.methods)

    @property
    def averages(self) -> tuple[str, ...]:
        """The averaged policies of `runs`, in their order."""
        return tuple(map(averaged, self.runs)) if self.with_averages else ()

    @property
    def start(self) -> int:
        """The step of GRPO's that the guided runs began at; 0 where they began with the initial policy."""
        return max((int(seed.runs[name].metrics[0]["step"]) for seed in self.seeds for name in self.methods), default=0)

    @property
    def settings(self) -> Evaluation:
        """The evaluation settings, which all policies share."""
        return self.seeds[0].evaluations[GRPO]


def policy_label(policy: str) -> str:
    """How a policy is called in the report."""
    run, average = policy.removesuffix(AVERAGED), ", averaged" if policy.endswith(AVERAGED) else ""
    return ("GRPO" if run == GRPO else run) + average
