"""Problems from files: real GSM8K rows, and every way in which a user's file can be wrong."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from npo_pipeline.configuration.compose import PROJECT, load_root
from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.records import Problem
from npo_pipeline.tasks.checks import check_source
from npo_pipeline.tasks.judging.verify import Verifier
from npo_pipeline.tasks.rows.files import resolve_path
from npo_pipeline.tasks.sources import load_cold_start, load_problems

ROWS = [{"question": f"What is {i} + {i}?", "answer": str(2 * i), "level": ["a"] * (1 + i % 3)} for i in range(20)]


def file_task(train: Path | str, **changes: Any) -> TaskConfig:
    return dataclasses.replace(
        load_root(overrides=["task=dataset", "task.train=x.jsonl", "task.eval_size=4"]).task, train=str(train), **changes
    )


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def gsm8k() -> TaskConfig:
    return dataclasses.replace(load_root(overrides=["task=gsm8k"]).task, train_size=None, eval_size=None)


def test_gsm8k_loads_whole_with_its_answers() -> None:
    train, evaluation = load_problems(gsm8k())
    lines = (PROJECT / "data/gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(train) == len(lines)
    assert [p.answer for p in train[:3]] == ["72", "10", "5"]
    assert evaluation[0].answer == "18"
    assert (train[0].difficulty, train[0].metadata, train[0].problem_id) == ("3", {}, "train-000000")
    assert not {p.question for p in train} & {p.question for p in evaluation}


def test_gsm8k_solutions_verify_as_responses() -> None:
    task = gsm8k()
    train, _ = load_problems(task)
    solutions = [p.answer for p in load_cold_start(task, len(train))]
    problems = [Problem(p.problem_id, p.split, p.question, p.answer, p.difficulty, p.question, (1,), p.metadata) for p in train]
    with Verifier(task.verifier) as verifier:
        assert all(verdict.verified for verdict in verifier.judge(list(zip(problems, solutions, strict=True))))
        others = [*solutions[1:], solutions[0]]
        right = [p.answer == q.answer for p, q in zip(problems, [*problems[1:], problems[0]], strict=True)]
        assert [v.verified for v in verifier.judge(list(zip(problems, others, strict=True)))] == right


def test_sizes_and_seed_choose_rows_in_their_order() -> None:
    task = dataclasses.replace(gsm8k(), train_size=50, eval_size=20)
    train, evaluation = load_problems(task)
    assert (len(train), len(evaluation)) == (50, 20)
    assert load_problems(task) == (train, evaluation)
    assert load_problems(dataclasses.replace(task, seed=1))[0] != train
    rows = [p.question for p in load_problems(gsm8k())[0]]
    positions = [rows.index(p.question) for p in train]
    assert positions == sorted(positions)


def test_cold_start_repeats_the_rows_and_shows_the_form_that_is_read(tmp_path: Path) -> None:
    task = file_task(jsonl(tmp_path / "rows.jsonl", ROWS))
    cold = load_cold_start(task, 40)
    assert (len(cold), cold[0].problem_id, cold[39].problem_id) == (40, "cold-000000", "cold-000039")
    assert {p.question for p in cold} == {p.question for p in load_problems(task)[0]}
    task.verifier.extract = "boxed"
    assert load_cold_start(task, 1)[0].answer == f"\\boxed{{{cold[0].answer}}}"


def test_eval_is_split_off_before_the_sizes_cut(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [*ROWS, *ROWS])
    train, evaluation = load_problems(file_task(path, difficulty_key="level"))
    assert (len(train), len(evaluation)) == (16, 4)
    assert {p.question for p in train + evaluation} == {row["question"] for row in ROWS}
    assert {p.difficulty for p in train} == {"1", "2", "3"}
    assert load_problems(file_task(path, train_size=5))[1] == load_problems(file_task(path))[1]


def test_question_of_the_evaluation_file_never_trains(tmp_path: Path) -> None:
    train, evaluation = jsonl(tmp_path / "train.jsonl", ROWS), jsonl(tmp_path / "eval.jsonl", [*ROWS[:3], ROWS[0]])
    found = load_problems(file_task(train, eval=str(evaluation)))
    assert [len(problems) for problems in found] == [17, 3]
    with pytest.raises(DataError, match=r"every question is an evaluation question too"):
        load_problems(file_task(train, eval=str(train), eval_size=None))


def test_fewer_rows_than_asked_for_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        train, evaluation = load_problems(file_task(jsonl(tmp_path / "rows.jsonl", ROWS), train_size=100, eval_size=9))
    assert (len(train), len(evaluation)) == (16, 4)
    assert "task.train_size=100: only 16" in caplog.text
    assert "task.eval_size=9: only 4" in caplog.text


def test_parquet_and_saved_folders_hold_the_same_problems(tmp_path: Path) -> None:
    expected = load_problems(file_task(jsonl(tmp_path / "rows.jsonl", ROWS)))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    table = datasets.Dataset.from_list(ROWS)
    table.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": table, "other": table}).save_to_disk(tmp_path / "splits")
    for name in ("rows.parquet", "saved", "splits"):
        assert load_problems(file_task(tmp_path / name)) == expected, name
    with pytest.raises(DataError, match=r"task.train=.*has no split 'valid', it has other, train; set task.train_split"):
        load_problems(file_task(tmp_path / "splits", train_split="valid"))


def test_numbers_other_columns_and_a_byte_order_mark(tmp_path: Path) -> None:
    rows = [{"problem": f"{i} + 0.5", "solution": i + 0.5} for i in range(5)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\n\n".join(map(json.dumps, rows)).encode())
    train, evaluation = load_problems(file_task(path, question_column="problem", answer_column="solution"))
    assert sorted(p.answer for p in train + evaluation) == ["0.5", "1.5", "2.5", "3.5", "4.5"]


GOOD = json.dumps(ROWS[0]).encode() + b"\n"
WRONG = [
    (b'{"question": "q"}\n', r"line 2: no column 'answer', the row has 'question'; set task.answer_column"),
    (b'{"answer": "a"}\n', r"line 2: no column 'question', the row has 'answer'; set task.question_column"),
    (b'{"question": "q", "answer": null}\n', r"line 2: column 'answer' is empty"),
    (b'{"question": "q", "answer": NaN}\n', r"line 2: column 'answer' is empty"),
    (b'{"question": " ", "answer": "a"}\n', r"line 2: column 'question' is empty"),
    (b'{"question": "q", "answer": "thinking ####"}\n', r"line 2: column 'answer' holds nothing after the last ####"),
    (b'{"question": "q", "answer": ["a"]}\n', r"line 2: column 'answer' holds a list, expected text or a number; set task.answer_column"),
    (b'{"question": "q", "answer": "\\ud800"}\n', r"line 2: column 'answer' holds half a surrogate pair"),
    (b'{"question": "caf\xe9", "answer": "a"}\n', r"line 2: byte \d+ of the file \(0xe9\) is not UTF-8; convert the file"),
    (b'{"question": "q", "answer": \n', r"line 2: not valid JSON \(.*\); expected one whole object per line"),
    (b'{"question": "q", "answer": "1", "answer": "2"}\n', r"line 2: the key 'answer' stands twice in one object, expected once; remove"),
    (b'{"question": "q", "answer": "1", "extra": {"a": 1, "a": 2}}\n', r"line 2: the key 'a' stands twice in one object"),
    (b'["q", "a"]\n', r"line 2: found a JSON list, expected one object per line"),
    (b"[" * 100_000 + b"\n", r"line 2: not valid JSON"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_wrong_row_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + line + GOOD)
    with pytest.raises(DataError, match=rf"{path}, {message}") as caught:
        load_problems(file_task(path))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 65


def test_offset_of_a_bad_byte_counts_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\xff\n")
    with pytest.raises(DataError, match=rf"line 2: byte {len(GOOD)} of the file \(0xff\)"):
        load_problems(file_task(path))


def test_missing_difficulty_column_lists_the_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: no column 'depth', the row has 'question', 'answer', 'level'; set task.difficulty_key"):
        load_problems(file_task(jsonl(tmp_path / "rows.jsonl", ROWS), difficulty_key="depth"))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_empty_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"task.train=.*rows.jsonl: holds no row"):
        load_problems(file_task(tmp_path / "rows.jsonl"))


def test_one_row_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found 1 question, expected at least 2 .*add rows, or set task.eval"):
        load_problems(file_task(jsonl(tmp_path / "rows.jsonl", ROWS[:1])))


@pytest.mark.parametrize("keep", [0, 4, 300])
def test_damaged_parquet_is_named(tmp_path: Path, keep: int) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"rows.parquet: damaged, or not a Parquet file"):
        load_problems(file_task(tmp_path / "rows.parquet"))


def test_other_kinds_of_files_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("question,answer\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"a file of kind '.csv', expected .jsonl or .parquet"):
        load_problems(file_task(tmp_path / "rows.csv"))
    with pytest.raises(DataError, match=r"a folder from which split 'train' could not be read .*; expected Parquet or JSONL files"):
        load_problems(file_task(tmp_path / "folder"))


def test_hub_name_that_cannot_be_loaded_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match=r"task.train=nobody/nothing:main: no such local file, and not loaded from the hub as split 'train'"
    ) as caught:
        load_problems(file_task("nobody/nothing:main"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.jsonl", "./missing", "/missing", "~/missing", "data/missing.parquet"])
def test_check_source_names_a_missing_file(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"task.train={name}: no such file or folder"):
        check_source(file_task(name))
    with pytest.raises(ConfigError, match=rf"task.eval={name}: no such file or folder"):
        check_source(file_task("data/gsm8k/train.jsonl", eval=name))


def test_paths_resolve_from_here_then_from_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_path("data/gsm8k/train.jsonl") == PROJECT / "data/gsm8k/train.jsonl"
    jsonl(tmp_path / "rows.jsonl", ROWS)
    assert resolve_path("rows.jsonl") == Path("rows.jsonl")
    assert resolve_path("openai/gsm8k") is None
    assert len(load_problems(file_task("rows.jsonl"))[0]) == 16
    check_source(file_task("openai/gsm8k"))
