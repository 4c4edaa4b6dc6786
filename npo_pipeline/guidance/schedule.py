"""The schedule of interventions: a YAML file that a person can read and edit.

    schema: 1
    method: npo
    windows:
    - {from_step: 0, to_step: 40, guide_step: 40, gate: 0.6, correction: false, reason: early bootstrapping}
    decisions: []
    seed: 0

In the steps [from_step, to_step) a group whose own accuracy is <= gate gets the trajectory of `guide_step` in its last slot.
`decisions` is AutoNPO's account of what it saw; only `windows` is acted on. A file that names another method or seed than the run
that is to follow it was mislaid, and is refused; `seed: null` belongs to any. The seed comes last and says that the file is whole: a
run follows none with windows or decisions and without that key, as it may have been cut short.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from npo_pipeline.configuration.settings import MethodConfig, WindowConfig
from npo_pipeline.configuration.windows import check_windows
from npo_pipeline.errors import ArtifactError, ConfigError, DataError
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.atomic import write_text

SCHEMA = 1
KEYS = ("schema", "method", "windows", "decisions", "seed")
MOST_STEPS, MOST_SEED = 10**9, 2**63
FIX = "Mend it, or delete it to have the plan made again."


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
    seed: int | None = None

    def window_at(self, step: int) -> Window | None:
        return next((window for window in self.windows if window.from_step <= step < window.to_step), None)


def of_windows(name: str, method: MethodConfig, reason: str) -> Schedule:
    """One window for each of the method's, which were laid out with the configuration."""
    return Schedule(name, [Window(w.from_step, w.to_step, w.guide_step, method.gate, method.correction, reason) for w in method.windows])


def write_schedule(path: Path, schedule: Schedule) -> None:
    text = yaml.safe_dump({"schema": SCHEMA, **asdict(schedule)}, sort_keys=False, allow_unicode=True, width=140)
    write_text(path, text)


def read_schedule(path: Path, steps: int, guides: list[int], lookback: int) -> Schedule:
    """Read and check a schedule, perhaps edited by hand. Raises DataError naming the file, the window and the key.

    Raises ArtifactError if there is no such file.
    """
    _check_whole(path, _mapping(path))
    schedule = parse_schedule(path)
    windows = [WindowConfig(w.from_step, w.to_step, w.guide_step) for w in schedule.windows]
    try:
        check_windows(f"{path}: windows", windows, steps, guides, lookback)
    except ConfigError as error:
        raise DataError(str(error)) from None
    return schedule


def parse_schedule(path: Path) -> Schedule:
    """Read a schedule without asking whether it fits a run. Raises DataError, or ArtifactError if there is no such file."""
    values = _mapping(path)
    windows = [_window(path, i, entry) for i, entry in enumerate(values["windows"])]
    return Schedule(values["method"], windows, values.get("decisions") or [], values.get("seed"))


def check_owner(path: Path, schedule: Schedule, method: str, seed: int) -> None:
    """Raises DataError for the schedule of another run."""
    if schedule.method != method:
        raise DataError(f"{path}: method: found {short_repr(schedule.method)}, expected {method!r}, whose folder it lies in. {FIX}")
    if schedule.seed not in (None, seed):
        raise DataError(f"{path}: seed: found {schedule.seed}, expected {seed}: the plan of another seed's run. {FIX}")


def _mapping(path: Path) -> dict[str, Any]:
    """The file's keys and the kinds of their values."""
    values = _yaml(path)
    if not isinstance(values, dict):
        raise DataError(f"{path}: expected a mapping with schema: {SCHEMA}. {FIX}")
    if (found := values.get("schema")) != SCHEMA:
        raise DataError(f"{path}: schema {short_repr(found)}, this code reads schema {SCHEMA}. {FIX}")
    if unknown := [key for key in values if key not in KEYS]:
        raise DataError(f"{path}: {_key(unknown[0])}: no such key; there are {', '.join(KEYS)}. {FIX}")
    if not isinstance(values.get("method"), str):
        raise DataError(f"{path}: method: found {short_repr(values.get('method'))}, expected the method's name. {FIX}")
    if not isinstance(seed := values.get("seed"), int | None) or isinstance(seed, bool) or abs(seed or 0) > MOST_SEED:
        raise DataError(f"{path}: seed: found {short_repr(seed)}, expected a whole number. {FIX}")
    if not isinstance(values.get("windows"), list):
        raise DataError(f"{path}: windows: found {short_repr(values.get('windows'))}, expected a list of windows, [] for none. {FIX}")
    decisions = values.get("decisions") or []
    if not isinstance(decisions, list) or not all(isinstance(decision, dict) for decision in decisions):
        raise DataError(f"{path}: decisions: expected a list of mappings, [] for none. {FIX}")
    return values


def _check_whole(path: Path, values: dict[str, Any]) -> None:
    if (values["windows"] or values.get("decisions")) and "seed" not in values:
        reason = "so the file is cut short: more windows may have followed" if "decisions" not in values else "so the file may be cut short"
        whole = "If it is whole, end it with the line `seed: 0`, or with its own seed, or `seed: null` for any."
        raise DataError(f"{path}: seed: missing, {reason}. {whole} {FIX}")


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: not found, expected from the stage `plan`. Run that stage first.") from None
    except Exception as error:  # beside its own errors, PyYAML lets many kinds through: `!!timestamp x` is an AttributeError
        reason = one_line(str(error)) or type(error).__name__
        raise DataError(f"{path}: not readable as YAML: {reason}. {FIX}") from None


def _key(key: Any) -> str:
    return one_line(key) if isinstance(key, str) else short_repr(key)


def _window(path: Path, index: int, entry: Any) -> Window:
    where = f"{path}: windows[{index}]"
    if not isinstance(entry, dict):
        raise DataError(f"{where}: {short_repr(entry)} is not a mapping; expected from_step, to_step, guide_step, gate, correction")
    if unknown := [key for key in entry if key not in Window.__dataclass_fields__]:
        raise DataError(f"{where}.{_key(unknown[0])}: no such key; there are {', '.join(Window.__dataclass_fields__)}")
    for key in ("from_step", "to_step", "guide_step"):
        if not isinstance(entry.get(key), int) or isinstance(entry.get(key), bool) or abs(entry[key]) > MOST_STEPS:
            raise DataError(f"{where}.{key}: found {short_repr(entry.get(key))}, expected a whole number of steps")
    gate, correction = entry.get("gate"), entry.get("correction")
    if not isinstance(gate, int | float) or isinstance(gate, bool) or not 0.0 <= gate < 1.0:
        raise DataError(f"{where}.gate: found {short_repr(gate)}, expected a number in [0, 1)")
    if not isinstance(correction, bool):
        raise DataError(f"{where}.correction: found {short_repr(correction)}, expected true or false")
    if not isinstance(reason := entry.get("reason", ""), str):
        raise DataError(f"{where}.reason: found {short_repr(reason)}, expected a text")
    return Window(entry["from_step"], entry["to_step"], entry["guide_step"], float(gate), correction, reason)
