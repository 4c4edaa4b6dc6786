"""`guidance`: the guide checkpoints, what they try, and how the variance they cost is estimated."""

from dataclasses import dataclass

from npo_pipeline.configuration.settings.steps import StepLike


@dataclass
class VarianceConfig:
    """How V is estimated from the log-probs of guide and current policy (npo_pipeline.guidance.signal)."""

    estimator: str  # "exp_kl": exp(beta * kl_token), "chi2": 1 + chi2_token, "ess": 1 / ess
    beta: float  # of "exp_kl"


REPLACED = ("last", "wrong")


@dataclass
class GuidanceConfig:
    """What the guide stage makes, for all methods that learn from its shards."""

    every: StepLike  # distance between guide checkpoints; the probe's last one is always among them
    lookback: StepLike  # how far before a guide checkpoint its prompts are collected
    gate: float  # prompts with group accuracy <= gate are collected
    samples: int  # tries per prompt, in rounds of 1, 1, 2, 4, ... until one is verified
    shard_rows: int  # trajectories per Parquet file, at most
    variance: VarianceConfig
    replace: str = "last"  # the slot of a group that a guide takes: the "last", whatever stands there, or the last "wrong" one
    average: int | None = None  # a guide checkpoint stands for the mean of so many kept ones, up to and with it; null: for itself
