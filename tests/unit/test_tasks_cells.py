"""What a table's cells say, whatever type stores them; and which rows are one question."""

import datetime
import logging
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_tasks_dataset import file_task, jsonl

from npo_pipeline.errors import DataError
from npo_pipeline.tasks.sources import load_problems


def answers(path: Path, **changes: Any) -> list[str]:
    problems = [problem for split in load_problems(file_task(path, eval_size=1, **changes)) for problem in split]
    return [problem.answer for problem in sorted(problems, key=lambda problem: problem.question)]


def table(folder: Path, values: pa.Array) -> Path:
    pq.write_table(pa.table({"question": [f"q{i}" for i in range(len(values))], "answer": values}), folder / "rows.parquet")
    return folder / "rows.parquet"


@pytest.mark.parametrize(("kind", "value"), [(pa.float32(), 134217728.0), (pa.float16(), 65504.0)])
def test_a_whole_number_that_its_type_does_not_spell_is_refused(tmp_path: Path, kind: pa.DataType, value: float) -> None:
    """The shortest text of a float32 134217728 is 134217730."""
    with pytest.raises(DataError, match=rf"row 2: column 'answer' holds a whole number of more digits than .* \({value:.0f}; write it as"):
        answers(table(tmp_path, pa.array([1024.0, value], kind)))


def test_a_reward_function_gets_the_whole_number_that_is_stored(tmp_path: Path) -> None:
    kept = pa.table({"question": ["q0", "q1"], "answer": ["1", "2"], "size": pa.array([134217728.0, 0.1], pa.float32())})
    pq.write_table(kept, tmp_path / "rows.parquet")
    task = file_task(tmp_path / "rows.parquet", eval_size=1)
    task.verifier.kind = "python"
    assert {p.question: p.metadata["size"] for split in load_problems(task) for p in split} == {"q0": 134217728, "q1": 0.1}


def test_floats_are_written_without_an_exponent(tmp_path: Path) -> None:
    values = [0.00001, 1e16, -1.5e-7, 123456789012345680.0, 2.5, 1e-13, 1e21]
    texts = ["0.00001", "10000000000000000", "-0.00000015", "123456789012345680", "2.5", "1e-13", "1e+21"]
    assert answers(table(tmp_path, pa.array(values))) == texts
    assert answers(jsonl(tmp_path / "rows.jsonl", [{"question": f"q{i}", "answer": value} for i, value in enumerate(values)])) == texts


def test_questions_that_differ_in_line_ends_alone_are_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = ["a\r\nb", " a\nb", "a  \nb\n", "a\n b", "a\nb c", "a\nb  c"]
    rows = [{"question": question, "answer": str(i)} for i, question in enumerate(asked)]
    with caplog.at_level(logging.WARNING):
        assert sorted(answers(jsonl(tmp_path / "rows.jsonl", rows))) == ["0", "3", "4", "5"]
    assert "2 of 6 rows repeat a question of an earlier row, whose answer is kept, with another answer" in caplog.text


def test_rows_that_differ_in_what_a_reward_function_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = jsonl(
        tmp_path / "rows.jsonl",
        [{"question": question, "answer": "-", "x": float("nan"), "n": n} for question, n in (("a", 5), ("a", 9), ("b", 5))],
    )
    task = file_task(path, eval_size=1)
    load_problems(task)
    assert not caplog.text
    task.verifier.kind = "python"
    with caplog.at_level(logging.WARNING):
        load_problems(task)
    assert "1 of 3 rows repeat a question of an earlier row" in caplog.text
    assert "('a': 'n' 5, then 9); only the kept row's counts: say the difference in the question" in caplog.text


def test_what_fills_up_a_text_of_fixed_size_is_not_read(tmp_path: Path) -> None:
    assert answers(table(tmp_path, pa.array([b"42\0\0", b"7\0\0\0"], pa.binary(4)))) == ["42", "7"]


@pytest.mark.parametrize("text", ["\ufeff", "\u200b \u2060", "#### \u200d"])
def test_a_text_of_which_nothing_is_seen_is_empty(tmp_path: Path, text: str) -> None:
    rows = [{"question": "q", "answer": "1"}, {"question": "p", "answer": text}]
    with pytest.raises(DataError, match=r"line 2: column 'answer' (is empty|holds nothing after)"):
        answers(jsonl(tmp_path / "rows.jsonl", rows))


def test_a_column_of_dates_at_midnight(tmp_path: Path) -> None:
    moments = [datetime.datetime(2026, 1, 31), datetime.datetime(2026, 1, 31, 10), datetime.datetime(2026, 1, 31)]
    for unit in ("us", "ns"):
        assert answers(table(tmp_path, pa.array(moments, pa.timestamp(unit)))) == ["2026-01-31", "2026-01-31 10:00:00", "2026-01-31"]
    zoned = pa.array(moments, pa.timestamp("us", "UTC"))
    assert answers(table(tmp_path, zoned))[0] == "2026-01-31 00:00:00+00:00"


LABELS = datasets.Features({
    "question": datasets.Value("string"),
    "answer": datasets.ClassLabel(names=["no", "yes"]),
    "tags": datasets.List(datasets.ClassLabel(names=["x", "y"])),
})  # fmt: skip


def test_class_labels_are_their_names(tmp_path: Path) -> None:
    rows = {"question": ["q0", "q1", "q2"], "answer": [1, 0, 1], "tags": [[1], [0, 1], [1]]}
    labelled = datasets.Dataset.from_dict(rows, features=LABELS)
    labelled.save_to_disk(tmp_path / "saved")
    labelled.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "repository").mkdir()
    labelled.to_parquet(tmp_path / "repository/train.parquet")
    for name in ("saved", "rows.parquet", "repository"):
        assert answers(tmp_path / name) == ["yes", "no", "yes"], name
        assert answers(tmp_path / name, answer_column="tags.0") == ["y", "x", "y"], name


def test_a_row_without_a_class_label_is_empty(tmp_path: Path) -> None:
    rows = {"question": ["q0", "q1"], "answer": [1, -1], "tags": [[1], [0]]}
    datasets.Dataset.from_dict(rows, features=LABELS).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"row 2: column 'answer' is empty"):
        answers(tmp_path / "rows.parquet")


@pytest.mark.parametrize("words", [b"no JSON", b'{"info": {"features": {"answer": {"_type": "Unheard"}}}}'])
def test_words_of_another_release_about_the_columns_are_passed_over(tmp_path: Path, words: bytes) -> None:
    plain = pa.table({"question": ["q0", "q1"], "answer": [1, 0]}).replace_schema_metadata({"huggingface": words})
    pq.write_table(plain, tmp_path / "rows.parquet")
    assert answers(tmp_path / "rows.parquet") == ["1", "0"]
