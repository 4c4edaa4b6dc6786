"""All of it together, as Hydra composes it from `conf/config.yaml` and the files that this names."""

from dataclasses import dataclass, field

from npo_pipeline.configuration.settings.engine import EngineConfig, SamplingConfig
from npo_pipeline.configuration.settings.guidance import GuidanceConfig
from npo_pipeline.configuration.settings.method import MethodConfig
from npo_pipeline.configuration.settings.policy import PolicyConfig
from npo_pipeline.configuration.settings.results import ComparisonConfig, EvaluateConfig, MeasureConfig, ReportConfig
from npo_pipeline.configuration.settings.steps import StepLike
from npo_pipeline.configuration.settings.task import TaskConfig
from npo_pipeline.configuration.settings.training import GrpoConfig, GuidedConfig, ProbeConfig, TrainerConfig


@dataclass
class RootConfig:
    """What Hydra composes from `conf/`. A stage is given just the part that changes what it writes (npo_pipeline.configuration.stages)."""

    name: str  # of the folder below results/
    seeds: list[int]  # training seeds: order of problems and every sampled token
    rounds: int  # from the second on, the first method's run of the round before is the probe
    task: TaskConfig
    policy: PolicyConfig
    engine: EngineConfig
    sampling: SamplingConfig
    grpo: GrpoConfig
    trainer: TrainerConfig
    probe: ProbeConfig
    guidance: GuidanceConfig
    method: dict[str, MethodConfig]  # by name, of which `method=[npo,autonpo]` chooses the files
    guided: GuidedConfig
    average_last: StepLike | None  # every run is also evaluated as the mean of its checkpoints in its last so many steps; null: it is not
    evaluate: EvaluateConfig
    comparison: ComparisonConfig
    measure: MeasureConfig
    report: ReportConfig
    report_to: list[str] = field(default_factory=list)  # of SINKS: where a run's metrics go too. No part of what is computed, as `trainer`
