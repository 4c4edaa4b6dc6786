"""The comparison as CSV: a row per policy with everything in it, and the values of each seed that it was made from."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from npo_pipeline.analysis.benchmarks import benchmark_cells
from npo_pipeline.analysis.comparison.load import Comparison
from npo_pipeline.analysis.comparison.summary import Difference, Row, Speed
from npo_pipeline.analysis.comparison.uncertainty import Spread
from npo_pipeline.analysis.statistics import Interval
from npo_pipeline.analysis.summary import headline

DIGITS = 6  # beyond them sums depend on how many threads added up


def csv_table(comparison: Comparison, rows: Sequence[Row]) -> str:
    """A row per policy, everything in it; a cell is empty where a figure does not apply or is unknown."""
    return to_csv([_csv_row(comparison, row) for row in rows])


def seeds_table(comparison: Comparison, rows: Sequence[Row]) -> str:
    """A row per policy and seed: what the means, intervals and p-values were made from."""
    found = []
    for row in rows:
        for i, seed in enumerate(comparison.results.seeds):
            cost = comparison.costs[i][row.policy]
            found.append(
                {
                    "method": row.label,
                    "seed": seed.seed,
                    **({"cold start": comparison.starts_S[i]} if comparison.has_starts else {}),
                    headline(comparison.results): row.seed_means[i],
                    "steps to GRPO's final reward": row.speed.steps_S[i] if row.speed else None,
                    "own sampled tokens": cost.own.tokens,
                    "all sampled tokens": cost.total.tokens,
                    "own seconds": cost.own.seconds,
                    "all seconds": cost.total.seconds,
                    "all GPU-hours": cost.total.gpu_hours,
                    "all CPU-hours": cost.total.cpu_hours,
                }
            )
    return to_csv(found)


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _number(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    return "" if value is None else value


def _csv_row(comparison: Comparison, row: Row) -> dict[str, Any]:
    metric = headline(comparison.results)
    cells: dict[str, Any] = {"method": row.label, "seeds": len(row.seed_means), "n_problems": len(comparison.problem_ids)}
    for name, found in row.groups.items():
        cells |= _interval_cells(f"{metric} {name}", found)
    cells |= _interval_cells(f"{metric} average", row.average) | _difference_cells(metric, row.to_grpo) | _speed_cells(row.speed)
    cells |= {f"{name}, smoothed further": value for name, value in _speed_cells(row.slow_speed).items()}
    if comparison.averages:
        cells |= _interval_cells(f"{metric} minus GRPO averaged", row.to_average.crossed if row.to_average else None)
    if comparison.has_starts:
        cells |= _spread_cells(f"{metric} average", row.spread) | _spread_cells(f"{metric} minus GRPO", row.spread_to_grpo)
    for name, interval in benchmark_cells(metric, row.benchmarks).items():
        cells |= _interval_cells(name, interval)
    cells |= {"training steps": row.steps, "final reward": row.reward, "final entropy": row.entropy, "injected slots": row.injected}
    cells |= {
        "own sampled tokens": row.own_tokens,
        "all sampled tokens": row.total_tokens,
        "all sampled tokens over GRPO": row.compute_ratio,
    }
    cells |= {"own seconds": row.own_seconds, "all seconds": row.total_seconds}
    cells |= {"own GPU-hours": row.own_gpu_hours, "all GPU-hours": row.total_gpu_hours}
    return cells | {"own CPU-hours": row.own_cpu_hours, "all CPU-hours": row.total_cpu_hours}


def _interval_cells(name: str, found: Interval | None) -> dict[str, Any]:
    cells = (found.value, found.low, found.high) if found else (None, None, None)
    return dict(zip((name, f"{name} low", f"{name} high"), cells, strict=True))


def _difference_cells(metric: str, found: Difference | None) -> dict[str, Any]:
    name = f"{metric} minus GRPO"
    over_seeds = _interval_cells(name, found.seeds if found else None)
    renamed = {f"{name}, seeds only, {key.rsplit(' ', 1)[1]}": value for key, value in over_seeds.items() if key != name}
    return _interval_cells(name, found.crossed if found else None) | renamed | {f"{name}, sign-flip p": found.p if found else None}


def _spread_cells(name: str, found: Spread | None) -> dict[str, Any]:
    parts = {"cold starts": found.starts if found else None, "seeds": found.seeds if found else None}
    return {f"{name}, SD between {part}": value for part, value in parts.items()}


def _speed_cells(found: Speed | None) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "steps to GRPO's final reward": found.steps if found else None,
        "seeds that reached it": found.reached if found else None,
    }
    interval = found.interval if found else None
    bounds = {"speed-up low": interval.low if interval else None, "speed-up high": interval.high if interval else None}
    return cells | {"speed-up": found.ratio if found else None} | bounds
