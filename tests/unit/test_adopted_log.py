"""The log of an adopted run: how it is read, and where a guided run is told to begin."""

import json
from pathlib import Path

import pytest

from npo_pipeline.cli.propose import proposed_start
from npo_pipeline.configuration.adoption import log_file
from npo_pipeline.configuration.settings import AutoNpoConfig
from npo_pipeline.errors import DataError
from npo_pipeline.preparation.adoption.log import read_log


def test_a_log_of_means_over_ten_steps_gives_each_the_mean(tmp_path: Path) -> None:
    log = [{"step": 10, "reward": 0.1, "entropy": 2.0}, {"step": 10, "eval_loss": 1.0}, {"step": 20, "reward": 0.3, "entropy": 1.0}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    rows = read_log(tmp_path / "trainer_state.json", 25)
    assert [row["step"] for row in rows] == list(range(25))
    assert [rows[step]["reward/mean"] for step in (0, 9, 10, 19, 20)] == [0.1, 0.1, 0.3, 0.3, None]
    assert rows[19]["entropy"] == 1.0
    assert log_file(None, {20: str(tmp_path)}) == tmp_path / "trainer_state.json"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not readable as JSONL"),
        ('{"step": 1, "loss": 2}', "holds no reward of the steps up to 5"),
        ('{"step": 1, "reward": NaN}', "holds no reward of the steps up to 5"),
        (f'{{"step": 1, "reward": 1{"0" * 400}}}', "step 1 holds a number of too many digits"),
    ],
)
def test_a_log_that_tells_nothing_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "log.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        read_log(tmp_path / "log.jsonl", 5)


def test_a_log_that_is_not_there_or_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"probe\.log=.*nope\.json: no such file"):
        read_log(tmp_path / "nope.json", 5)
    (tmp_path / "log.json").write_text('{"log_history": 5}')
    with pytest.raises(DataError, match=r"log\.json: log_history is 5, expected a list of entries"):
        read_log(tmp_path / "log.json", 5)


def test_a_log_that_counts_from_0_keeps_its_first_step(tmp_path: Path) -> None:
    """An evaluation before the first update, which logs no reward, does not make it one."""
    for name, first, rewards in (("a", {"reward": 0.1}, [0.1, 0.2, 0.3]), ("b", {"eval_reward": 0.1}, [0.2, 0.3, None])):
        log = [
            {"step": 0, **first},
            {"step": 1, "reward": 0.2, "text": "a\u2028b"},
            {"step": 2, "reward": 0.3},
            {"step": -2, "reward": 9.0},
        ]
        lines = [json.dumps(entry, ensure_ascii=False) for entry in log]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        assert [row["reward/mean"] for row in read_log(tmp_path / f"{name}.jsonl", 3)] == rewards


def settings(patience: int) -> AutoNpoConfig:
    return AutoNpoConfig(1.0, patience, 0.02, 0.02, 0.05, 0)


def test_the_start_is_the_checkpoint_at_the_plateaus_onset() -> None:
    """The reward rises to step 60 and stops; the entropy falls all along."""
    metrics = [{"reward/mean": min(step, 60) / 100, "entropy": 2.0 - step / 100} for step in range(120)]
    start, said = proposed_start(metrics, [25, 50, 75, 120], settings(10))
    assert start == 50
    assert "AutoNPO's warning after step 70: over 10 steps the reward's average gained +0.0100" in said
    assert "The plateau began about step 60" in said


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ([], "No log, no proposal"),
        ([{"reward/mean": step / 100, "entropy": 1.0} for step in range(100)], "No plateau"),
        ([{"reward/mean": 0.5, "entropy": None} for _ in range(100)], "The log tells no entropy"),
    ],
)
def test_without_a_warning_nothing_is_proposed(metrics: list[dict], said: str) -> None:
    start, found = proposed_start(metrics, [50, 100], settings(10))
    assert start is None
    assert said in found
