"""`evaluate`, `report`, `comparison` and `measure`: what is made of finished runs."""

from dataclasses import dataclass, field

from npo_pipeline.configuration.settings.steps import StepLike


@dataclass
class BenchmarkConfig:
    """A held-out dataset that policies are evaluated on beside the task's own problems, and never trained on."""

    data: str | None  # as task.eval; None: not given, so left out
    split: str = "test"  # this and what follows: as for `task`
    revision: str | None = None
    question_column: str = "question"
    answer_column: str = "answer"
    image_column: str | None = None
    difficulty_key: str | None = None
    size: int | None = None  # problems to take; None: all


@dataclass
class EvaluateConfig:
    """Held-out scores of every policy, all sampled with the same random numbers."""

    samples: int  # responses per problem
    ks: list[int]  # the k of pass@k
    temperature: float  # top-p, top-k and length are those of `sampling`
    bootstrap: int  # resamples behind each confidence interval
    confidence: float  # of each interval, such as 0.95
    seed: int  # of sampling and of resampling
    benchmarks: dict[str, BenchmarkConfig] = field(default_factory=dict)  # by name; prompt and verifier are the task's


@dataclass
class ReportConfig:
    """The page that a run ends with."""

    title: str
    samples: int  # trajectories shown per policy


@dataclass
class ComparisonConfig:
    """The target `comparison`: every method over several seeds, in one table."""

    seeds: list[int]  # none of those that settings were chosen on
    methods: list[str]  # files of conf/method
    resamples: int  # behind each bootstrap interval
    confidence: float
    seed: int  # of the resampling
    # Runs are also evaluated every so many steps along their way, for scores at equal tokens; null: at their ends only.
    every: StepLike | None = field(default=None, kw_only=True)


@dataclass
class MeasureConfig:
    """The stage `measure`: Q, V and S measured on the probe's checkpoints, beside the estimates of V."""

    current_steps: list[StepLike]  # on the grid of the probe's checkpoints
    distances: list[StepLike]  # from a current step to its guides; 0: the policy itself
    problems: int  # of the mistake pool, per current step
    tries: int  # samples of each guide checkpoint per problem
    repeats: int  # independent on-policy groups per problem, and most guide trajectories per problem
    resamples: int  # behind each bootstrap interval
    confidence: float
