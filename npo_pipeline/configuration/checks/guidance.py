"""Value checks of the guide stage."""

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import one_of, require


def check_guidance(guidance: s.GuidanceConfig) -> None:
    require(0 <= guidance.gate < 1, "guidance.gate", guidance.gate, "in [0, 1)")
    require(guidance.samples >= 1, "guidance.samples", guidance.samples, "at least 1")
    require(guidance.shard_rows >= 1, "guidance.shard_rows", guidance.shard_rows, "at least 1")
    one_of("guidance.replace", guidance.replace, s.REPLACED)
    check_average("guidance.average", guidance.average)
    check_variance(guidance.variance, "guidance.variance")


def check_average(key: str, found: int | None) -> None:
    require(found is None or found >= 2, key, found, "at least 2 checkpoints, or null: each guide checkpoint stands for itself")


def check_variance(variance: s.VarianceConfig, key: str = "variance") -> None:
    one_of(f"{key}.estimator", variance.estimator, ("exp_kl", "chi2", "ess"))
    require(variance.beta > 0, f"{key}.beta", variance.beta, "more than 0")
