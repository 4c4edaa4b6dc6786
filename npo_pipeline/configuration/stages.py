"""One typed dataclass per stage: its resolved configuration, which holds just what changes that stage's output.

compose.py makes them from the settings in `conf/` (settings/), with every StepLike in whole steps.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from npo_pipeline.configuration.settings import (
    BenchmarkConfig,
    ComparisonConfig,
    EngineConfig,
    EvaluateConfig,
    GrpoConfig,
    LoraConfig,
    MeasureConfig,
    MethodConfig,
    PolicyConfig,
    PromptConfig,
    ReportConfig,
    SamplingConfig,
    ScratchConfig,
    TaskConfig,
    TeacherConfig,
    VarianceConfig,
    VerifierConfig,
)
from npo_pipeline.configuration.versions import LATER, METHOD, OF_ALL_KINDS


@dataclass
class Started:
    """A stage of one training seed, which says from which initial policy that starts (npo_pipeline.storage.layout.Layout)."""

    cold_starts: int | None = field(default=None, kw_only=True)


@dataclass
class PrepareStage(Started):
    version: int
    task: TaskConfig
    policy: PolicyConfig


@dataclass
class RunStage(Started):
    """What the probe and a guided run share."""

    version: int
    steps: int
    checkpoint_every: int
    key_every: int
    grpo: GrpoConfig
    sampling: SamplingConfig
    engine: EngineConfig
    verifier: VerifierConfig
    dtype: str
    lora: LoraConfig | None


@dataclass
class ProbeStage(RunStage):
    keep_states: int | None = None


@dataclass
class SampledPrompts:
    """Those of the steps from `start` to the end of the adopted run, as a guided run from there sees them."""

    start: int
    prompts_per_step: int
    group_size: int  # samples of each


@dataclass
class AdoptStage(Started):
    """A run that was made elsewhere, in place of the probe (npo_pipeline.configuration.adoption)."""

    version: int
    adopted: dict[int, str]  # by step: a folder, or NAME@COMMIT of the hub
    copy: bool
    completions: str | None
    log: str | None
    steps: int  # the last of them
    sampled: SampledPrompts | None  # None: there are completions
    sampling: SamplingConfig
    engine: EngineConfig
    verifier: VerifierConfig
    dtype: str
    lora: LoraConfig | None
    prompt: PromptConfig


@dataclass
class GuidedStage(RunStage):
    """A run by a schedule has that file; one that decides live has its method here, and if it scores its guides the variance of its S."""

    round: str  # as in RoundStage
    probe_run: str
    name: str  # the method's
    method: MethodConfig | None = None
    variance: VarianceConfig | None = None
    start: int | None = None  # the step of the probe's checkpoint that it begins from
    start_warmup: int | None = None
    checkpoints: list[int] | None = None  # in place of every `checkpoint_every` steps
    replace: str = "last"  # as in settings.GuidanceConfig
    task: TaskConfig | None = None  # of a method that shows solutions, which it reads from the task's rows


@dataclass
class RoundStage(Started):
    """What says which round a stage belongs to (npo_pipeline.storage.layout.Layout)."""

    version: int
    round: str  # "", or "round-2" and so on
    probe_run: str  # the run whose checkpoints guide this round: "probe", or a method's of the round before


@dataclass
class GuideStage(RoundStage):
    guide_steps: list[int]
    checkpoint_every: int
    lookback: int
    gate: float
    samples: int
    shard_rows: int
    variance: VarianceConfig
    sampling: SamplingConfig
    engine: EngineConfig
    verifier: VerifierConfig
    dtype: str
    average: int | None = None
    start: int | None = None  # no prompt of an earlier step is tried: guided runs begin there


@dataclass
class PlanStage(RoundStage):
    name: str
    method: MethodConfig  # windows and autonpo in whole steps
    steps: int
    guide_steps: list[int]
    lookback: int
    start: int | None = None


@dataclass
class TeacherStage:
    version: int
    task: TaskConfig
    scratch: ScratchConfig
    teacher: TeacherConfig


@dataclass
class DemonstrateStage(Started):
    version: int
    name: str  # the method's
    policy: str
    prompt: PromptConfig  # how a policy with another tokenizer is asked
    samples: int
    wanted: int
    steps: int  # the problems of the steps before this one are tried
    prompts_per_step: int
    sampling: SamplingConfig
    engine: EngineConfig
    verifier: VerifierConfig
    dtype: str
    start: int | None = None  # and not those of the steps before this one


@dataclass
class BenchmarksStage:
    version: int
    task: TaskConfig  # its prompt and verifier
    benchmarks: dict[str, BenchmarkConfig]
    dtype: str


@dataclass
class AverageStage:
    """Of every run: the mean of its checkpoints on the grid of `every` steps, which all runs keep, in its last `last` steps."""

    version: int
    every: int
    last: int
    checkpoints: list[int] | None = None  # of an adopted run, in place of the grid


@dataclass
class CurveStage:
    """Where the runs of a comparison are evaluated along their way; averages as in AverageStage, None where none are made."""

    version: int
    every: int
    average_every: int | None
    average_last: int | None


@dataclass
class EvaluateStage(Started):
    version: int
    evaluate: EvaluateConfig
    sampling: SamplingConfig
    engine: EngineConfig
    verifier: VerifierConfig
    dtype: str


@dataclass
class ReportStage(Started):
    version: int
    name: str
    seeds: list[int]
    methods: list[str]
    report: ReportConfig
    averaged: bool | None = None  # whether averaged policies are among what is compared


@dataclass
class ComparisonStage(ComparisonConfig, Started):
    """The methods over all seeds, in the layout of the paper's table. GRPO is the probe, so `methods` does not name it."""

    version: int
    name: str  # the experiment's
    averaged: bool | None = None  # as in ReportStage


@dataclass
class MeasureStage(Started):
    version: int
    checkpoint_every: int
    gate: float
    measure: MeasureConfig  # in whole steps
    variance: VarianceConfig  # its beta
    grpo: GrpoConfig
    sampling: SamplingConfig
    engine: EngineConfig
    verifier: VerifierConfig
    dtype: str


def as_values(stage: Any) -> dict[str, Any]:
    """A stage's configuration as plain values, as its file holds it."""
    values = asdict(stage, dict_factory=lambda pairs: {key: value for key, value in pairs if key not in LATER or value != LATER[key]})
    if method := values.get("method"):
        held = OF_ALL_KINDS | method
        values["method"] = {key: held[key] for key in (*METHOD, *held) if key in held}
    return values


def what_counts(stage: Any) -> dict[str, Any]:
    """A stage's settings without those that say how much memory it may take: these change its results by rounding at most.

    So a run that went out of memory goes on from its last saved state with smaller batches.
    """
    values = as_values(stage)
    for grpo in (values.get("grpo", {}), (values.get("method") or {}).get("grpo", {})):
        grpo.pop("micro_batch_tokens", None)
    engine = values.get("engine", {})
    engine.pop("max_batch", None)
    for key in ("gpu_memory_utilization", "cpu_cache_gib"):
        (engine.get("vllm") or {}).pop(key, None)
    return values
