"""The schedule of interventions: a YAML file that a person can read and edit.

    schema: 1
    method: npo
    windows:
    - {from_step: 0, to_step: 40, guide_step: 40, gate: 0.6, correction: false, reason: early bootstrapping}
    decisions: []

In the steps [from_step, to_step) a group whose own accuracy is <= gate gets the trajectory of `guide_step` in its last slot.
`decisions` is AutoNPO's account of what it saw; only `windows` is acted on.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from npo_pipeline.config import WindowConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.timeline import check_windows

SCHEMA = 1


@dataclass(frozen=True)
class Window:
    from_step: int
    to_step: int
    guide_step: int
    gate: float
    correction: bool
    reason: str = ""


@dataclass(frozen=True)
class Schedule:
    method: str
    windows: list[Window]
    decisions: list[dict[str, Any]] = field(default_factory=list)

    def window_at(self, step: int) -> Window | None:
        return next((window for window in self.windows if window.from_step <= step < window.to_step), None)


def write_schedule(path: Path, schedule: Schedule) -> None:
    text = yaml.safe_dump({"schema": SCHEMA, **asdict(schedule)}, sort_keys=False, allow_unicode=True, width=140)
    write_text(path, text)


def read_schedule(path: Path, steps: int, guides: list[int], lookback: int) -> Schedule:
    """Read and check a schedule, perhaps edited by hand. Raises DataError naming the file, the window and the key."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not readable as YAML: {reason}. Mend it, or delete it to have the plan made again.") from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA or not isinstance(values.get("windows"), list):
        raise DataError(
            f"{path}: expected a mapping with schema: {SCHEMA} and a list of windows. Mend it, or delete it to have the plan made again."
        )
    windows = [_window(path, i, entry) for i, entry in enumerate(values["windows"])]
    try:
        check_windows(str(path), [WindowConfig(w.from_step, w.to_step, w.guide_step) for w in windows], steps, guides, lookback)
    except ConfigError as error:
        raise DataError(str(error)) from None
    return Schedule(str(values.get("method", "")), windows, list(values.get("decisions") or []))


def _window(path: Path, index: int, entry: Any) -> Window:
    where = f"{path}: windows[{index}]"
    if not isinstance(entry, dict):
        raise DataError(f"{where}: {entry!r} is not a mapping; expected from_step, to_step, guide_step, gate, correction")
    if unknown := sorted(set(entry) - set(Window.__dataclass_fields__)):
        raise DataError(f"{where}.{unknown[0]}: no such key; there are {', '.join(Window.__dataclass_fields__)}")
    for key in ("from_step", "to_step", "guide_step"):
        if not isinstance(entry.get(key), int) or isinstance(entry.get(key), bool):
            raise DataError(f"{where}.{key}: found {entry.get(key)!r}, expected a whole number of steps")
    gate, correction = entry.get("gate"), entry.get("correction")
    if not isinstance(gate, int | float) or isinstance(gate, bool) or not 0.0 <= gate < 1.0:
        raise DataError(f"{where}.gate: found {gate!r}, expected a number in [0, 1)")
    if not isinstance(correction, bool):
        raise DataError(f"{where}.correction: found {correction!r}, expected true or false")
    return Window(entry["from_step"], entry["to_step"], entry["guide_step"], float(gate), correction, str(entry.get("reason", "")))
