"""Time series of training runs: values per step, smoothed, and brought together over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npo_pipeline.analysis.results import Run

EMA_WEIGHT = 0.2  # weight of the newest step: a memory of about five steps
SLOW_WEIGHT = 0.05  # of about twenty: what hangs on the smoothing shows beside it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One metric of one kind of run over all seeds: `raw_ST` and `smooth_ST` hold seed by step, NaN where a seed has no value."""

    steps: Floats
    raw_ST: Floats
    smooth_ST: Floats


def step_tokens(row: Mapping[str, Any]) -> float | None:
    """Tokens that a run sampled at a step: its roll-outs, and what the method sampled live beside them."""
    rollouts = row.get("completions/tokens")
    return None if rollouts is None else rollouts + (row.get("guide/tokens") or 0)


def values(run: Run, key: str) -> Floats:
    """The metric at each step of the run; NaN where it is null or absent."""
    return np.array([np.nan if (value := row.get(key)) is None else float(value) for row in run.metrics])


def steps(run: Run) -> list[int]:
    return [int(row["step"]) for row in run.metrics]


def first_step(run: Run) -> int:
    return steps(run)[0]


def since(run: Run, step: int) -> Run:
    """The run's steps from this one on: what a run that began there is compared with."""
    return replace(run, metrics=tuple(row for row in run.metrics if row["step"] >= step))


def until(run: Run, step: int) -> Run:
    """The run's steps before this one, with their timings."""
    metrics, timings = (tuple(row for row in rows if row["step"] < step) for rows in (run.metrics, run.timings))
    return replace(run, metrics=metrics, timings=timings)


def ema(raw: Floats, weight: float = EMA_WEIGHT) -> Floats:
    """Exponential moving average, free of a start value: weights of what was seen so far add up to one; NaN is skipped."""
    total = mass = 0.0
    smooth = np.full(len(raw), np.nan)
    for i, value in enumerate(raw):
        if np.isfinite(value):
            total, mass = (1 - weight) * total + weight * value, (1 - weight) * mass + weight
        smooth[i] = total / mass if mass else np.nan
    return smooth


def series(runs: Sequence[Run], key: str) -> Series:
    """Bring one metric of the same run of several seeds together, over the union of their steps."""
    union = sorted({step for run in runs for step in steps(run)})
    column = {step: i for i, step in enumerate(union)}
    raw, smooth = np.full((2, len(runs), len(union)), np.nan)
    for row, run in enumerate(runs):
        at = [column[step] for step in steps(run)]
        raw[row, at] = values(run, key)
        smooth[row, at] = ema(values(run, key))
    return Series(np.array(union, dtype=np.float64), raw, smooth)


def over_seeds(values_ST: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, lowest and highest over the seeds at each step; NaN only where no seed has a value."""
    known = np.isfinite(values_ST)
    count = known.sum(axis=0)
    mean = np.divide(np.where(known, values_ST, 0.0).sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)
    low = np.where(count > 0, np.where(known, values_ST, np.inf).min(axis=0), np.nan)
    high = np.where(count > 0, np.where(known, values_ST, -np.inf).max(axis=0), np.nan)
    return mean, low, high


def last(smooth: Floats) -> float:
    """The last known value; NaN if there is none."""
    known = smooth[np.isfinite(smooth)]
    return float(known[-1]) if len(known) else float("nan")


def first_reaching(run: Run, key: str, target: float, weight: float = EMA_WEIGHT) -> int | None:
    """Updates done when the smoothed metric first reaches `target`; None if it never does."""
    hits = np.flatnonzero(ema(values(run, key), weight) >= target)
    return steps(run)[int(hits[0])] if len(hits) else None
