"""V measured: how much more the policy gradient varies once a guide's trajectory has the last slot of a group.

A gradient estimate is what one group gives: a problem is drawn, n responses are drawn for it. Its variance is the trace of its
covariance over both draws, all parameters. The variance over responses of one problem alone will not do: where a problem has one right
answer, as in sorting, all verified trajectories of it are the same tokens, and a guide slot would have no variance at all.

With x != x' two problems, square_x the mean over draws of |g|^2, and mean_x the mean gradient of a problem,

    variance = mean over x of square_x  -  mean over x != x' of <mean_x, mean_x'>

is unbiased for any number of draws per problem. V is a ratio of two such variances over the same problems, those that the guide
solved at least once (the others would not be mixed):

- `v_measured`, the headline: the mixed group as this pipeline trains it by default, guide slot uncorrected, over the on-policy group;
- `v_importance`: so, with each token of the guide slot weighted by pi_t / pi_g and no clip, the ratio that the paper's V is about;
- `v_clipped`: so, with the clip;
- `v_slot`: the importance-weighted guide slot alone, advantage 1, over slots of pi_t's own verified samples of the same problems.

The headline is what a guided run will meet: S = Q / V is there to choose its guide. Where a problem has one right answer, it depends on
the guide only through the problems that the guide solves: a farther one solves harder ones, whose answers surprise pi_t more. The
importance-weighted ones are a cost of another kind: a verified trajectory is one that the guide finds likelier than pi_t does (that is
why it found it), so its weights lie mostly below 1 and shrink the slot; what variance is left comes from a few tokens with a ratio far
above 1. At distance 0 all three are one number, the cost of a success in the last slot whoever found it; it is above 1. A variance
alone also says nothing of the mean, which a guide raises too: `noise` is variance over |mean|^2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from npo_pipeline.configuration.settings import GrpoConfig
from npo_pipeline.grpo.advantages import group_advantages

Floats = NDArray[np.float64]
Drawn = NDArray[np.floating[Any]]  # gradient estimates of one problem, or their sketches: [draws, K]


@dataclass(frozen=True)
class Moments:
    """Of a gradient estimate, per problem: `square_P`, the mean of |g|^2 over draws, and `mean_PK`, the mean gradient."""

    square_P: Floats
    mean_PK: Floats


def moments(gradients: Sequence[Drawn]) -> Moments:
    """Of estimates [draws, K] per problem."""
    squares = np.array([np.einsum("dk,dk->d", drawn, drawn, dtype=np.float64).mean() for drawn in gradients])
    return Moments(squares, np.stack([drawn.mean(axis=0, dtype=np.float64) for drawn in gradients]))


def mixed(bases: Sequence[Drawn], slots: Sequence[Drawn], scales: Sequence[Drawn]) -> list[Drawn]:
    """The gradients of mixed groups per problem: every group's base [R, K] with every guide slot [D, K] times its advantage there [R].

    All R x D pairs are taken: the slot's draw is independent of the group's.
    """
    pairs = zip(bases, slots, scales, strict=True)
    return [(base[:, None, :] + scale[:, None, None] * slot[None, :, :]).reshape(-1, base.shape[1]) for base, slot, scale in pairs]


def advantages_with(rewards: Sequence[float], guide: float | None, grpo: GrpoConfig) -> list[float]:
    """Advantages of a group whose last reward is replaced by `guide`, if given, as the trainer computes them."""
    members = [*rewards[:-1], guide] if guide is not None else list(rewards)
    return group_advantages(torch.tensor([members], dtype=torch.float32), grpo.advantage, grpo.advantage_eps)[0].tolist()


def variance(found: Moments) -> float:
    """Trace of the covariance over problems and draws; NaN for fewer than two problems."""
    return float(_variances(found, np.ones((1, len(found.square_P))))[0][0])


def noise(found: Moments) -> float:
    """Variance over |mean|^2; NaN where the mean cannot be told from 0."""
    spread, signal = (float(values[0]) for values in _variances(found, np.ones((1, len(found.square_P)))))
    return spread / signal if signal > 0 else math.nan


def growth(numerator: Moments, denominator: Moments, resamples: int, confidence: float) -> tuple[float, float, float]:
    """Ratio of two variances over the same problems, with its bootstrap interval over problems. NaN where it cannot be had."""
    problems = len(numerator.square_P)
    whole = np.ones((1, problems))
    counts = np.random.default_rng(0).multinomial(problems, np.full(problems, 1 / problems), size=resamples) if problems else whole
    value = float(_ratio(numerator, denominator, whole)[0])
    drawn = _ratio(numerator, denominator, counts.astype(np.float64))
    drawn = drawn[np.isfinite(drawn)]
    if math.isnan(value) or len(drawn) == 0:
        return math.nan, math.nan, math.nan
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return value, float(low), float(high)


def _ratio(numerator: Moments, denominator: Moments, counts: Floats) -> Floats:
    above, below = _variances(numerator, counts)[0], _variances(denominator, counts)[0]
    return np.divide(above, below, out=np.full(len(counts), np.nan), where=below > 0)


def _variances(found: Moments, counts_BP: Floats) -> tuple[Floats, Floats]:
    """Variance and |mean|^2 of each resample, which takes problem p `counts_BP[b, p]` times; no problem is paired with itself."""
    gram = found.mean_PK @ found.mean_PK.T
    itself = (counts_BP**2) @ np.diag(gram)
    products = np.einsum("bp,pq,bq->b", counts_BP, gram, counts_BP, optimize=True) - itself
    total = counts_BP.sum(axis=1)
    pairs = total**2 - (counts_BP**2).sum(axis=1)
    signal = np.divide(products, pairs, out=np.full(len(total), np.nan), where=pairs > 0)
    return counts_BP @ found.square_P / np.maximum(total, 1.0) - signal, signal


def wilson(successes: int, tries: int, confidence: float) -> tuple[float, float]:
    """Interval of a share (Wilson 1927); NaN without tries."""
    if tries == 0:
        return math.nan, math.nan
    z = float(torch.special.ndtri(torch.tensor((1 + confidence) / 2, dtype=torch.float64)))
    share, weight = successes / tries, 1 + z * z / tries
    centre = (share + z * z / (2 * tries)) / weight
    half = z / weight * math.sqrt(share * (1 - share) / tries + z * z / (4 * tries * tries))
    return max(0.0, centre - half), min(1.0, centre + half)
