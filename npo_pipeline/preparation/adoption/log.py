"""The log of an adopted run as metrics of its steps. No torch.

Read are TRL's and the transformers Trainer's trainer_state.json (log_history), JSONL as verl's file logger writes it ({"step": 1,
"data": {...}}), and this project's metrics.jsonl. Theirs call the first update step 1, where the step here is 0; one with a reward at
step 0 counts from there. A logger that averages over ten steps gives each of these the mean.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npo_pipeline.errors import DataError
from npo_pipeline.preparation.adoption.sources import read_json
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.run_files import METRICS

# By the name in metrics.jsonl: what others call it, the likelier first.
NAMES = {
    "reward/mean": ("reward/mean", "reward", "critic/rewards/mean", "critic/score/mean", "rewards/mean"),
    "reward/std": ("reward/std", "reward_std"),
    "entropy": ("entropy", "actor/entropy", "actor/entropy_loss"),
    "completions/mean_length": ("completions/mean_length", "response_length/mean"),
}
# What a step has whatever its log says: an adopted run was not guided, and what is not known is null.
UNKNOWN = {"accuracy": None, "groups/all_wrong": None, "guide/injected": 0, "guide/step": None, "completions/tokens": None}

Row = dict[str, Any]


def read_log(path: Path | None, steps: int) -> list[Row]:
    """Metrics of the steps [0, steps). Raises DataError for a log that cannot be read, or holds no reward of these steps."""
    rows: list[Row] = [{"step": step, **dict.fromkeys(NAMES), **UNKNOWN} for step in range(steps)]
    if path is None:
        return rows
    if not path.is_file():
        raise DataError(f"probe.log={path}: no such file; name the run's log there, or leave it out")
    logged = _entries(path)
    done = 0
    for after, values in sorted(logged.items()):
        for row in rows[done:after]:
            row.update(values)
        done = max(done, after)
    if all(row["reward/mean"] is None for row in rows):
        known = ", ".join(NAMES["reward/mean"])
        raise DataError(f"{path}: holds no reward of the steps up to {steps} (looked for {known}); name the run's log in probe.log")
    return rows


def _entries(path: Path) -> dict[int, Row]:
    """What is known, by the updates that were done when it was logged."""
    found: dict[int, Row] = {}
    for entry in _lines(path):
        values = {**entry, **(entry["data"] if isinstance(entry.get("data"), Mapping) else {})}
        known = _known(values, path)
        if known and type(entry.get("step")) is int and entry["step"] >= 0:
            found[entry["step"]] = found.get(entry["step"], {}) | known
    from_zero = path.name == METRICS or "reward/mean" in found.get(0, {})  # an evaluation before the first update logs no such reward
    return {step + 1: known for step, known in found.items()} if from_zero else found


def _known(values: Mapping[str, Any], path: Path) -> Row:
    try:
        return {name: number for name, others in NAMES.items() if (number := _first(values, others)) is not None}
    except OverflowError:
        raise DataError(f"{path}: step {short_repr(values.get('step'))} holds a number of too many digits; mend that entry") from None


def _lines(path: Path) -> Sequence[Mapping[str, Any]]:
    if path.suffix == ".json":
        history = read_json(path).get("log_history", [])
        if not isinstance(history, list):
            raise DataError(f"{path}: log_history is {short_repr(history)}, expected a list of entries, as transformers writes it")
        return [entry for entry in history if isinstance(entry, Mapping)]
    try:
        # by new lines alone: other ends of a line, as U+2028, may stand within a text
        entries = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"probe.log={path}: not readable as JSONL ({one_line(str(error))}); expected an object per line with a step"
        ) from None
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _first(values: Mapping[str, Any], names: Sequence[str]) -> float | None:
    """Raises OverflowError for more digits than a float holds."""
    found = (values[name] for name in names if type(values.get(name)) in (int, float))
    return next((float(value) for value in found if math.isfinite(value)), None)
