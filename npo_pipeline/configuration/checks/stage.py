"""The checks of a stage's own file: those of the configuration that it was resolved from, for who edits the file by hand."""

from collections.abc import Callable
from typing import Any

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration import stages as c
from npo_pipeline.configuration.checks.engine import check_chosen, check_coldest, check_sampling
from npo_pipeline.configuration.checks.guidance import check_average, check_variance
from npo_pipeline.configuration.checks.method import check_method
from npo_pipeline.configuration.checks.policy import check_lora, check_policy
from npo_pipeline.configuration.checks.require import is_run_name, one_of, plain_name, require
from npo_pipeline.configuration.checks.results import check_evaluate, check_measure
from npo_pipeline.configuration.checks.task import check_task, check_verifier
from npo_pipeline.configuration.checks.training import check_grpo

# What a stage's own file holds whole, and its plain numbers: the same checks as for the configuration it was resolved from.
PARTS: dict[type, Callable[[Any], None]] = {
    s.TaskConfig: check_task,
    s.PolicyConfig: check_policy,
    s.EngineConfig: check_chosen,
    s.SamplingConfig: check_sampling,
    s.GrpoConfig: check_grpo,
    s.LoraConfig: check_lora,
    s.VerifierConfig: check_verifier,
    s.VarianceConfig: check_variance,
    s.EvaluateConfig: check_evaluate,
    s.MeasureConfig: check_measure,
}


NULLABLE = ("start", "start_warmup", "checkpoints", "keep_states", "every")  # null where they are not set
COUNTS = ("steps", "checkpoint_every", "key_every", "lookback", "samples", "shard_rows", "every", "last")


def check_stage(stage: Any) -> None:
    """Check a stage's resolved configuration, which a person may have edited. Raises ConfigError."""
    for key, value in vars(stage).items():
        if check := PARTS.get(type(value)):
            check(value)
        elif key in NULLABLE and value is None:
            continue
        elif key in ("start", "start_warmup", "checkpoints"):
            require(min(value, default=0) >= 0 if isinstance(value, list) else value >= 0, key, value, "0 or more")
        elif key in (*COUNTS, "keep_states"):
            require(value >= 1, key, value, "at least 1")
        elif key == "dtype":
            one_of(key, value, ("float32", "bfloat16"))
        elif key in ("seeds", "methods", "guide_steps"):
            require(bool(value), key, value, "at least one")
            require(key != "methods" or all(map(is_run_name, value)), key, value, "names of methods, such as npo or round-2/npo")
        elif key == "cold_starts":
            require(value is None or value >= 1, key, value, "at least 1, or left out: all training seeds start from one policy")
        elif key == "name":
            plain_name(key, value)
        elif key in ("round", "probe_run"):
            require(value == "" or is_run_name(value), key, value, "a name, such as round-2 or npo")
    check_coldest(stage)
    if isinstance(stage, c.GuideStage | c.MeasureStage):
        require(0 <= stage.gate < 1, "gate", stage.gate, "in [0, 1)")
    if isinstance(stage, c.GuideStage):
        check_average("average", stage.average)
    if isinstance(stage, c.GuidedStage):
        one_of("replace", stage.replace, s.REPLACED)
        live = stage.method is None or not stage.method.scheduled
        require(live, f"method.{stage.name}.kind", stage.method and stage.method.kind, "a kind that decides as it trains")
    if isinstance(stage, c.PlanStage):
        check_method(stage.name, stage.method)
        require(stage.method.scheduled, f"method.{stage.name}.kind", stage.method.kind, "a kind that has a schedule")
        for i, window in enumerate(stage.method.windows):
            for key, step in vars(window).items():
                require(type(step) is int, f"method.windows[{i}].{key}", step, "a whole number of steps")
