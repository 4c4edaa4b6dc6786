"""report_to: real event files, read back, say what metrics.jsonl says; and what fails there never stops a run."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npo_pipeline.configuration.compose import load_root, stage_configs
from npo_pipeline.errors import ConfigError
from npo_pipeline.grpo import reporting
from npo_pipeline.grpo.reporting import Reporter, check_sinks, scalars


def metrics(step: int) -> dict[str, Any]:
    return {"reward/mean": step / 3, "completions/tokens": 7 * step, "entropy": None, "guide/problem_ids": ["train-000001"]}


def write(folder: Path, steps: range, names: tuple[str, ...] = ("tensorboard",)) -> None:
    """As the training loop does it: a line of metrics.jsonl, then the report. It ends as a kill ends it: nothing is closed."""
    reporter = Reporter(names, folder, steps.start)
    with open(folder / "metrics.jsonl", "a") as stream:
        for step in steps:
            stream.write(json.dumps({"step": step, **metrics(step)}) + "\n")
            stream.flush()
            reporter.write(step, metrics(step))


def read_back(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    names = events.Tags()["scalars"]
    assert names
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def expected(steps: int) -> dict[str, list[tuple[int, float]]]:
    """Event files keep 32 bits of a number."""
    names = ("reward/mean", "completions/tokens")
    return {name: [(step, float(np.float32(scalars(metrics(step))[name]))) for step in range(steps)] for name in names}


def test_event_files_say_what_metrics_jsonl_says(tmp_path: Path) -> None:
    write(tmp_path, range(5))
    assert read_back(tmp_path) == expected(5)


def test_a_resumed_run_misses_no_step_and_doubles_none(tmp_path: Path) -> None:
    write(tmp_path, range(7))
    cut_back(tmp_path, 4)
    write(tmp_path, range(4, 9))
    assert read_back(tmp_path) == expected(9)


def test_asked_for_in_the_middle_of_a_run_it_has_the_steps_before_too(tmp_path: Path) -> None:
    write(tmp_path, range(4), ())
    write(tmp_path, range(4, 6))
    assert read_back(tmp_path) == expected(6)


def cut_back(folder: Path, step: int) -> None:
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:step]))


def test_a_sink_that_cannot_be_opened_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        write(tmp_path, range(3))
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == ["report_to=tensorboard: given up for this run"]


def test_a_sink_that_fails_later_is_one_warning_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self, folder: Path, start: int) -> None:
            self.written = 0

        def write(self, step: int, values: dict[str, float]) -> None:
            self.written += 1
            if self.written == 2:
                raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise AssertionError("closed although given up")

    monkeypatch.setitem(reporting.SINKS, "wandb", Full)
    with caplog.at_level(logging.WARNING):
        write(tmp_path, range(5), ("wandb", "tensorboard"))
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    assert read_back(tmp_path) == expected(5)


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a folder has its name, as wandb leaves one."""
    monkeypatch.setattr(reporting, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="report_to: the package tensorboard is not installed here; pip install tensorboard"):
        check_sinks(["tensorboard"])
    monkeypatch.undo()
    (tmp_path / "no_such_sink").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="no_such_sink is not installed"):
        check_sinks(["no_such_sink"])


def test_an_unknown_sink_names_the_known() -> None:
    with pytest.raises(ConfigError, match=r"report_to='mlflow': expected one of tensorboard, wandb, trackio"):
        load_root(overrides=["report_to=[mlflow]"])


def test_no_stage_knows_of_it() -> None:
    assert stage_configs(load_root(overrides=["report_to=[tensorboard]"])) == stage_configs(load_root())


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_others_take_the_same_numbers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))  # read when it is imported
    pytest.importorskip(name, reason=f"{name} is not installed")
    with caplog.at_level(logging.WARNING, logger="npo_pipeline"):
        reporter = Reporter([name], tmp_path, 0)
        for step in range(3):
            reporter.write(step, metrics(step))
        reporter.close()
    assert "given up" not in caplog.text
    assert any(file.is_file() and file.stat().st_size > 1000 for file in tmp_path.rglob("*"))
