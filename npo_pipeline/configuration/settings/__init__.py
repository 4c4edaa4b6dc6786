"""What `conf/` holds: the settings that Hydra composes, their types and meaning, a file per group of keys.

    root.py        all of it, as conf/config.yaml composes it
    task.py        task: problems, prompts, verifier
    policy.py      policy: the model, its cold start, images, LoRA, a teacher
    engine.py      engine, sampling
    training.py    grpo, trainer, probe, guided
    guidance.py    guidance: guide checkpoints and the estimate of V
    method.py      method: what all kinds share; npo_pipeline/guidance/methods/ has the rest, a file per kind
    results.py     evaluate, report, comparison, measure

Steps that scale with the run (`StepLike`) are whole numbers of steps, or a fraction of the run as a float: 40, or 0.5
(../timeline.py). Workers, devices and logging are no part of it: they are options of a stage's command line. So is what
`trainer` says; it stands here since an experiment may need it, but no stage's resolved configuration holds it.
"""

from npo_pipeline.configuration.settings.engine import EngineConfig, SamplingConfig, VllmConfig
from npo_pipeline.configuration.settings.guidance import REPLACED, GuidanceConfig, VarianceConfig
from npo_pipeline.configuration.settings.method import (
    AUTO,
    CHOICES,
    FAMILIES,
    MANUAL,
    AutoNpoConfig,
    DemonstrationsConfig,
    Foreseen,
    Further,
    MethodConfig,
    Need,
    Place,
    RowConfig,
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
    "AUTO",
    "CHOICES",
    "EXTRACTORS",
    "FAMILIES",
    "MANUAL",
    "REPLACED",
    "RULES",
    "SINKS",
    "AutoNpoConfig",
    "BenchmarkConfig",
    "ColdStartConfig",
    "ComparisonConfig",
    "DemonstrationsConfig",
    "EngineConfig",
    "EvaluateConfig",
    "Foreseen",
    "Further",
    "GrpoConfig",
    "GuidanceConfig",
    "GuidedConfig",
    "LoraConfig",
    "MeasureConfig",
    "MethodConfig",
    "Need",
    "Place",
    "PolicyConfig",
    "ProbeConfig",
    "PromptConfig",
    "ReportConfig",
    "RootConfig",
    "RowConfig",
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
