"""What `conf/` holds: the settings that Hydra composes, their types and meaning, a file per group of keys.

    root.py        all of it, as conf/config.yaml composes it
    task.py        task: problems, prompts, verifier
    policy.py      policy: the model, its cold start, images, LoRA, a teacher
    engine.py      engine, sampling
    training.py    grpo, trainer, probe, guided
    guidance.py    guidance: guide checkpoints and the estimate of V
    method.py      method: windows, AutoNPO, and what other kinds of method need
    results.py     evaluate, report, comparison, measure

Steps that scale with the run (`StepLike`) are whole numbers of steps, or a fraction of the run as a float: 40, or 0.5
(../timeline.py). Workers, devices and logging are no part of it: they are options of a stage's command line. So is what
`trainer` says; it stands here since an experiment may need it, but no stage's resolved configuration holds it.
"""

from npo_pipeline.configuration.settings.engine import EngineConfig, SamplingConfig, VllmConfig
from npo_pipeline.configuration.settings.guidance import REPLACED, GuidanceConfig, VarianceConfig
from npo_pipeline.configuration.settings.method import (
    CHOICES,
    GUIDED,
    KINDS,
    SCHEDULED,
    SCORED_LIVE,
    AutoNpoConfig,
    DemonstrationsConfig,
    EmaConfig,
    HintConfig,
    MethodConfig,
    OnlineConfig,
    ReplayConfig,
    ResampleConfig,
    RollbackConfig,
    RollingConfig,
    WindowConfig,
)
from npo_pipeline.configuration.settings.policy import (
    ColdStartConfig,
    LoraConfig,
    PolicyConfig,
    ScratchConfig,
    TeacherConfig,
    VisionConfig,
    VisionScratchConfig,
)
from npo_pipeline.configuration.settings.results import BenchmarkConfig, ComparisonConfig, EvaluateConfig, MeasureConfig, ReportConfig
from npo_pipeline.configuration.settings.root import RootConfig
from npo_pipeline.configuration.settings.steps import StepLike
from npo_pipeline.configuration.settings.task import EXTRACTORS, RULES, PromptConfig, TaskConfig, VerifierConfig
from npo_pipeline.configuration.settings.training import SINKS, GrpoConfig, GuidedConfig, ProbeConfig, TrainerConfig

__all__ = [
    "CHOICES",
    "EXTRACTORS",
    "GUIDED",
    "KINDS",
    "REPLACED",
    "RULES",
    "SCHEDULED",
    "SCORED_LIVE",
    "SINKS",
    "AutoNpoConfig",
    "BenchmarkConfig",
    "ColdStartConfig",
    "ComparisonConfig",
    "DemonstrationsConfig",
    "EmaConfig",
    "EngineConfig",
    "EvaluateConfig",
    "GrpoConfig",
    "GuidanceConfig",
    "GuidedConfig",
    "HintConfig",
    "LoraConfig",
    "MeasureConfig",
    "MethodConfig",
    "OnlineConfig",
    "PolicyConfig",
    "ProbeConfig",
    "PromptConfig",
    "ReplayConfig",
    "ReportConfig",
    "ResampleConfig",
    "RollbackConfig",
    "RollingConfig",
    "RootConfig",
    "SamplingConfig",
    "ScratchConfig",
    "StepLike",
    "TaskConfig",
    "TeacherConfig",
    "TrainerConfig",
    "VarianceConfig",
    "VerifierConfig",
    "VisionConfig",
    "VisionScratchConfig",
    "VllmConfig",
    "WindowConfig",
]
