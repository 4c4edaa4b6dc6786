"""The table of a sweep: what GRPO came to at every point of a grid, mean over seeds, best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.comparison.table import to_csv
from npo_pipeline.analysis.costs import run_spend
from npo_pipeline.analysis.load import load_counts, load_steps
from npo_pipeline.analysis.results import GRPO
from npo_pipeline.analysis.statistics import t_interval
from npo_pipeline.storage.layout import Layout

CONFIDENCE = 0.95
LAST = 0.2  # of a run's steps: those whose mean is its final training reward


@dataclass(frozen=True)
class Point:
    """A point of the grid. Lists run over seeds: held-out mean@k, reward of the last steps, sampled tokens, seconds of training."""

    values: tuple[str, ...]  # "grpo.learning_rate=1e-4" and so on
    accuracy_S: list[float]
    reward_S: list[float]
    tokens_S: list[float | None]
    seconds_S: list[float | None]

    @property
    def label(self) -> str:
        return ", ".join(self.values)


def load_point(values: Sequence[str], root: Path, seeds: Sequence[int]) -> Point:
    """Of the finished probes of an experiment. Raises ArtifactError for a file that is missing or damaged."""
    layouts = [Layout(root, seed) for seed in seeds]
    counts, runs = [load_counts(layout, GRPO) for layout in layouts], [load_steps(layout, GRPO) for layout in layouts]
    spends = [run_spend(run) for run in runs]
    return Point(
        tuple(values),
        [fmean(found.correct.values()) / found.samples for found in counts],
        [final_reward([row["reward/mean"] for row in run.metrics]) for run in runs],
        [spend.tokens for spend in spends],
        [spend.seconds for spend in spends],
    )


def final_reward(rewards: Sequence[float]) -> float:
    """Mean over the last fifth of the steps, one at least. Example: of [0, 0, 0, 1, 3] it is 3."""
    return fmean(rewards[-max(1, round(LAST * len(rewards))) :])


def ordered(points: Sequence[Point]) -> list[Point]:
    """By held-out accuracy, the best first."""
    return sorted(points, key=lambda point: -fmean(point.accuracy_S))


def csv_table(points: Sequence[Point]) -> str:
    """A row per point, best first; a cell is empty where a figure is not known."""
    return to_csv([_row(point) for point in ordered(points)])


def _row(point: Point) -> dict[str, str | float | None]:
    found = t_interval(point.accuracy_S, CONFIDENCE)
    return {
        **dict(value.split("=", 1) for value in point.values),
        "seeds": len(point.accuracy_S),
        "held-out": fmean(point.accuracy_S),
        "held-out low": found.low if found else None,
        "held-out high": found.high if found else None,
        "final training reward": fmean(point.reward_S),
        "sampled tokens": _mean(point.tokens_S),
        "seconds": _mean(point.seconds_S),
    }


def markdown_table(points: Sequence[Point]) -> str:
    """The same for a reader, with what it rests on."""
    best, *others = ordered(points)
    head = "| point | held-out accuracy | final training reward | sampled tokens | seconds |\n|---|---|---|---|---|"
    rows = [_line(point, mark) for point, mark in [(best, "**"), *((other, "") for other in others)]]
    return "\n".join([head, *rows, "", conclusion(points), ""])


def _line(point: Point, mark: str) -> str:
    found = t_interval(point.accuracy_S, CONFIDENCE)
    score = numbers.interval(found) if found else numbers.score(fmean(point.accuracy_S))
    tokens, seconds = numbers.count(_whole(_mean(point.tokens_S))), numbers.count(_whole(_mean(point.seconds_S)))
    return f"| {mark}{point.label}{mark} | {score} | {fmean(point.reward_S):.3f} | {tokens} | {seconds} |"


def conclusion(points: Sequence[Point]) -> str:
    """Which point is best, on how many seeds, and whether the next one can be told from it (differences paired by seed)."""
    best, *others = ordered(points)
    seeds = len(best.accuracy_S)
    said = f"Best: {best.label}, of {len(points)} points, mean of {seeds} seed{'s' if seeds > 1 else ''}."
    if not others:
        return said
    gains = [a - b for a, b in zip(best.accuracy_S, others[0].accuracy_S, strict=True)]
    found = t_interval(gains, CONFIDENCE)
    if found is None:
        return f"{said} A single seed cannot tell points apart."
    told = "It is told from" if found.low > 0 else "It is not told from"
    return f"{said} {told} the next, {others[0].label}: {numbers.difference(found)}, {CONFIDENCE:.0%} t-interval over seeds."


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _whole(value: float | None) -> float | None:
    return None if value is None else round(value)
