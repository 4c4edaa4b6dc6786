"""Schedules that a person edits: what fits is read back, whatever else the text holds is a DataError that names it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npo_pipeline.errors import ArtifactError, DataError
from npo_pipeline.guidance.schedule import Schedule, Window, check_owner, read_schedule, write_schedule

STEPS, GUIDES, LOOKBACK = 40, [20, 40], 20
SCHEDULE = Schedule(
    "npo",
    [Window(0, 20, 20, 0.6, False, "early: \u00e4, # and 'quotes'\nin lines"), Window(20, 40, 40, 0.0, True)],
    [{"step": 20, "warning": True, "s": 0.1}],
    seed=3,
)


def read(path: Path) -> Schedule:
    return read_schedule(path, STEPS, GUIDES, LOOKBACK)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "schedule.yaml"
    write_schedule(path, SCHEDULE)
    assert read(path) == SCHEDULE
    path.write_text("# a comment\n" + path.read_text())
    assert read(path) == SCHEDULE


def test_a_window_holds_from_its_first_step_to_before_its_last() -> None:
    found = [SCHEDULE.window_at(step) for step in (0, 19, 20, 39, 40)]
    assert [window and window.guide_step for window in found] == [20, 20, 40, 40, None]


@pytest.mark.parametrize("text", ["schema: 1\nmethod: npo\nwindows: []\n", "schema: 1\nmethod: npo\nwindows: []\ndecisions:\n"])
def test_no_window_is_a_schedule_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "schedule.yaml").write_text(text)
    assert read(tmp_path / "schedule.yaml") == Schedule("npo", [])


WRONG_KEYS: list[tuple[str, Any, str]] = [
    ("schema", 2, "schema 2, this code reads schema 1"),
    ("schema", None, "schema None, this code reads schema 1"),
    ("method", None, "method: found None, expected the method's name"),
    ("windows", None, "windows: found None, expected a list of windows"),
    ("windows", {"from_step": 0}, r"windows: found \{'from_step': 0\}, expected a list"),
    ("windows", ["0-20"], r"windows\[0\]: '0-20' is not a mapping"),
    ("windows", [{1: 2, "a": 3}], r"windows\[0\].1: no such key; there are from_step"),
    ("window", [], "window: no such key; there are schema, method, windows, decisions"),
    ("decisions", 3, "decisions: expected a list of mappings"),
    ("seed", "0", "seed: found '0', expected a whole number"),
    ("seed", True, "seed: found True, expected a whole number"),
    ("decisions", [3], "decisions: expected a list of mappings"),
]
WRONG_WINDOWS: list[tuple[str, Any, str]] = [
    ("from_step", None, r"windows\[1\].from_step: found None, expected a whole number"),
    ("from_step", 20.0, r"windows\[1\].from_step: found 20.0, expected a whole number"),
    ("to_step", "40", r"windows\[1\].to_step: found '40', expected a whole number"),
    ("guide_step", True, r"windows\[1\].guide_step: found True, expected a whole number"),
    ("gate", 1, r"windows\[1\].gate: found 1, expected a number in \[0, 1\)"),
    ("gate", float("nan"), r"windows\[1\].gate: found nan"),
    ("correction", "yes", r"windows\[1\].correction: found 'yes', expected true or false"),
    ("reason", 5, r"windows\[1\].reason: found 5, expected a text"),
    ("to_stp", 40, r"windows\[1\].to_stp: no such key"),
    ("to_step", 41, r"windows\[1\].to_step=41: past the last checkpoint of the probe, 40; lower it or raise probe.steps"),
    ("to_step", 20, r"windows\[1\]: \[20, 20\) is empty"),
    ("from_step", -1, r"windows\[1\]: \[-1, 40\) is empty or starts before step 0"),
    ("from_step", 19, r"windows\[1\].from_step=19: guide checkpoint 40 has trajectories from step 20 on"),
    ("guide_step", 30, r"windows\[1\].guide_step=30: no such guide checkpoint; there are 20, 40"),
    ("guide_step", 20, r"windows\[1\].to_step=40: guide checkpoint 20 has trajectories for earlier steps only"),
]


def refused(path: Path, values: Any, message: str) -> None:
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(DataError, match=rf"^{path}: {message}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def as_written(path: Path) -> dict[str, Any]:
    write_schedule(path, SCHEDULE)
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    return values


@pytest.mark.parametrize(("key", "value", "message"), WRONG_KEYS)
def test_a_wrong_key_of_the_file_is_named(tmp_path: Path, key: str, value: Any, message: str) -> None:
    refused(tmp_path / "schedule.yaml", as_written(tmp_path / "schedule.yaml") | {key: value}, message)


@pytest.mark.parametrize(("key", "value", "message"), WRONG_WINDOWS)
def test_a_wrong_key_of_a_window_is_named(tmp_path: Path, key: str, value: Any, message: str) -> None:
    values = as_written(tmp_path / "schedule.yaml")
    values["windows"][1][key] = value
    refused(tmp_path / "schedule.yaml", values, message)


def test_overlapping_windows_are_named(tmp_path: Path) -> None:
    values = as_written(tmp_path / "schedule.yaml")
    values["windows"][1] |= {"from_step": 10, "to_step": 20, "guide_step": 20}
    refused(tmp_path / "schedule.yaml", values, r"windows: \[0, 20\) and \[10, 20\) overlap")


NOT_YAML = (b"windows: [", b"a:\n\tb: 1", b"\xe9", b"\x00", b"a: " + b"[" * 5000, b"!!python/object/apply:os.system ['true']")
NOT_VALUES = (b"a: !!timestamp x", b"a: !!int ''", b"a: !!bool x", b"a: 2001-99-99")  # each an error of another kind in PyYAML
NOT_MAPPINGS = (b"", b"text", b"- 1")


@pytest.mark.parametrize("content", [*NOT_YAML, *NOT_VALUES, *NOT_MAPPINGS])
def test_a_text_that_is_no_schedule_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{path}: (not readable as YAML|expected a mapping).*delete it") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_schedule_of_another_run_is_refused_and_one_without_a_seed_is_anyones(tmp_path: Path) -> None:
    check_owner(tmp_path / "x", SCHEDULE, "npo", 3)
    check_owner(tmp_path / "x", Schedule("npo", []), "npo", 5)
    with pytest.raises(DataError, match="x: method: found 'npo', expected 'autonpo', whose folder it lies in"):
        check_owner(tmp_path / "x", SCHEDULE, "autonpo", 3)
    with pytest.raises(DataError, match="x: seed: found 3, expected 0: the plan of another seed's run"):
        check_owner(tmp_path / "x", SCHEDULE, "npo", 0)


def test_a_missing_schedule_is_the_plan_stages_matter(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not found, expected from the stage `plan`"):
        read(tmp_path / "schedule.yaml")


TEXT = yaml.safe_dump(
    {"schema": 1, "method": "npo", "windows": [{"from_step": 0, "to_step": 20, "guide_step": 20, "gate": 0.6, "correction": False}]}
)
SNIPPETS = st.sampled_from(
    ["[", "]", "{", "}", ": ", "- ", "&a ", "*a", "!!int ", "!!timestamp ", "~", "\n", "'", '"', "1e400", ".nan", "true"]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, len(TEXT)), length=st.integers(0, 12), new=st.one_of(SNIPPETS, st.integers().map(str), st.text(max_size=8)))
def test_any_edit_gives_a_schedule_or_a_data_error(tmp_path: Path, start: int, length: int, new: str) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(TEXT[:start] + new + TEXT[start + length :], encoding="utf-8", newline="", errors="replace")
    found = read_or_refuse(path)
    if isinstance(found, DataError):
        assert str(found).startswith(f"{path}: ")
        assert "\n" not in str(found)
    else:
        assert all(0 <= w.from_step < w.to_step <= w.guide_step <= STEPS and w.guide_step in GUIDES for w in found.windows)


def read_or_refuse(path: Path) -> Schedule | DataError:
    try:
        return read(path)
    except DataError as error:
        return error


@pytest.mark.parametrize("kept", range(1, 20))
def test_a_schedule_that_was_cut_short_is_not_followed(tmp_path, kept):
    """Whatever number of its lines is left: the first window alone would be another schedule."""
    path = tmp_path / "schedule.yaml"
    windows = [Window(0, 10, 20, 0.6, False, "early"), Window(30, 40, 40, 0.6, False, "late")]
    write_schedule(path, Schedule("npo", windows, seed=0))
    lines = path.read_text().splitlines(keepends=True)
    assert read_schedule(path, 40, [20, 40], 40).windows == windows
    if kept < len(lines):
        path.write_text("".join(lines[:kept]))
        with pytest.raises(DataError, match=r"schedule\.yaml"):
            read_schedule(path, 40, [20, 40], 40)
