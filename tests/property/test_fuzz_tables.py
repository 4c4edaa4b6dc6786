"""Tables of every Arrow type of text, number and list: read as what they say, or refused in one line that names column and type."""

import datetime
import decimal
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import DataError
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.rows.cells import as_text
from npo_pipeline.tasks.rows.dataset import load_problems

DATA = Path(__file__).parents[1] / "data"
GSM8K = Path(__file__).parents[2] / "data/gsm8k/train.jsonl"


def task(train: Path, **changes: Any) -> TaskConfig:
    values = {"train": train, "eval_size": 1} | changes
    return load_root("default", ["task=dataset", *[f"task.{key}={value}" for key, value in values.items()]]).task


def found(train: Path, **changes: Any) -> list[RawProblem]:
    problems = [problem for split in load_problems(task(train, **changes)) for problem in split]
    return sorted(problems, key=lambda problem: problem.question)


def parquet(folder: Path, answers: pa.Array, questions: pa.Array | None = None) -> Path:
    asked = questions if questions is not None else pa.array([f"q{i}" for i in range(len(answers))])
    pq.write_table(pa.table({"question": asked, "answer": answers}), folder / "rows.parquet")
    return folder / "rows.parquet"


TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2),
         pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string())]  # fmt: skip
WHOLE = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(), pa.float32(),
         pa.float64(), pa.decimal128(5, 2), pa.decimal256(60, 2), pa.decimal128(5), pa.dictionary(pa.int8(), pa.int64())]  # fmt: skip
FRACTIONS = [pa.float16(), pa.float32(), pa.float64(), pa.decimal128(5, 2), pa.decimal256(60, 5)]


@pytest.mark.parametrize("kind", TEXTS, ids=str)
def test_every_type_of_text(tmp_path: Path, kind: pa.DataType):
    raw = pa.array([b"a1", b"a2", "ä".encode()]) if "binary" in str(kind) else pa.array(["a1", "a2", "ä"])
    texts = raw.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else raw.cast(kind)
    problems = found(parquet(tmp_path, texts, texts))
    assert [(problem.question, problem.answer) for problem in problems] == [("a1", "a1"), ("a2", "a2"), ("ä", "ä")]


@pytest.mark.parametrize("kind", WHOLE, ids=str)
def test_every_type_of_whole_number(tmp_path: Path, kind: pa.DataType):
    values = pa.array([0, 1, 100])
    answers = values.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else values.cast(pa.float32()).cast(kind)
    assert [problem.answer for problem in found(parquet(tmp_path, answers))] == ["0", "1", "100"]


@pytest.mark.parametrize("kind", FRACTIONS, ids=str)
@pytest.mark.parametrize("saved", [False, True])
def test_every_type_of_fraction(tmp_path: Path, kind: pa.DataType, saved: bool):
    texts = ["0.1", "2.5", "-3.3"]
    answers = (
        pa.array([decimal.Decimal(text) for text in texts]).cast(kind) if "decimal" in str(kind) else pa.array(map(float, texts), kind)
    )
    path = parquet(tmp_path, answers)
    if saved:
        datasets.Dataset(pq.read_table(path)).save_to_disk(tmp_path / "saved")
        path = tmp_path / "saved"
    assert [problem.answer for problem in found(path)] == texts


LISTS = [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.string(), 1), pa.list_(pa.large_string())]


@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_every_type_of_list_is_reached_into_or_named(tmp_path: Path, kind: pa.DataType):
    path = parquet(tmp_path, pa.array([["1"], ["2"], ["3"]], kind))
    assert [problem.answer for problem in found(path, answer_column="answer.0")] == ["1", "2", "3"]
    with pytest.raises(DataError, match=r"rows.parquet, row 1: column 'answer' holds a list, expected text or a number"):
        found(path)


def test_short_floats_deep_in_a_column(tmp_path: Path):
    kind = pa.struct([("a", pa.list_(pa.float32())), ("b", pa.string())])
    path = parquet(tmp_path, pa.array([{"a": [0.1, 2.0], "b": "x"}, {"a": [0.7, None], "b": None}], kind))
    assert [problem.answer for problem in found(path, answer_column="answer.a.0")] == ["0.1", "0.7"]
    with pytest.raises(DataError, match=r"row 1: column 'answer' holds a dict"):
        found(path)


FAR = 10**13  # seconds
REFUSED = [
    (pa.array([b"1", b"\xff"]), r"row 2: column 'answer' holds binary that is not UTF-8 \(byte 0 is 0xff\)"),
    (pa.array(["1", None]), r"row 2: column 'answer' is empty"),
    (pa.array([1.0, float("nan")]), r"row 2: column 'answer' is empty"),
    (pa.array([1.0, float("inf")]), r"row 2: column 'answer' holds the number inf"),
    (pa.array([None, None], pa.null()), r"row 1: column 'answer' is empty"),
    (pa.array([b"1", b" "]), r"row 2: column 'answer' is empty"),
    (pa.array([{"a": 1}, {"a": 2}]), r"row 1: column 'answer' holds a dict"),
    (pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())), r"row 1: column 'answer' holds a list"),
    (pa.array([1, FAR], pa.timestamp("s")), r"row 2: column 'answer' holds a timestamp\[ms\] that cannot be read|damaged"),
    (
        pa.Array.from_buffers(pa.string(), 2, pa.array([b"1", b"\xff"]).buffers()),
        r"row 2: column 'answer' holds a string that cannot be read",
    ),
]


@pytest.mark.parametrize(("answers", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_no_answer_is_named(tmp_path: Path, answers: pa.Array, message: str):
    with pytest.raises(DataError, match=message) as caught:
        found(parquet(tmp_path, answers))
    assert "\n" not in str(caught.value)


def test_a_column_that_nobody_asks_for_may_hold_anything(tmp_path: Path):
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"1", b"\xff"]).buffers())
    table = pa.table([pa.array(["q0", "q1"]), pa.array(["1", "2"]), broken, broken], ["question", "answer", "extra", "extra"])
    pq.write_table(table, tmp_path / "rows.parquet")
    assert [problem.answer for problem in found(tmp_path / "rows.parquet")] == ["1", "2"]
    with pytest.raises(DataError, match=r"column 'extra' holds a value of one of two columns of this name"):
        found(tmp_path / "rows.parquet", answer_column="extra")


@pytest.mark.parametrize("answers", [pa.array([True, False]), pa.array([datetime.date(2026, 1, 31)] * 2)])
def test_a_kind_whose_text_is_a_matter_of_taste_is_said(tmp_path: Path, answers: pa.Array, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert found(parquet(tmp_path, answers))[0].answer in ("True", "2026-01-31")
    assert caplog.text.count("column 'answer' holds a ") == 1


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_value_is_a_text_or_a_value_error(value: Any):
    try:
        text = as_text(value)
    except (ValueError, decimal.InvalidOperation):
        return
    assert isinstance(text, str)
    if isinstance(value, float):
        assert float(text or "nan") == value or value != value


def test_the_cases(caplog: pytest.LogCaptureFixture):
    assert [(p.question, p.answer) for p in found(DATA / "binary.parquet")[:2]] == [("0+1=", "1"), ("1+1=", "2")]
    assert [p.answer for p in found(DATA / "float_answer.parquet")] == list("123456")
    images = [len(p.images) for p in found(DATA / "image_nulls.parquet", image_column="image")]
    assert images == [1, 1, 1, 0, 0, 0]
    with caplog.at_level(logging.WARNING):
        assert [p.answer for p in found(DATA / "conflict.jsonl")] == ["0", "2", "4", "6"]
        load_problems(task(DATA / "conflict.jsonl"))
    assert (
        caplog.text.count(
            "4 of 8 rows repeat a question of an earlier row, whose answer is kept, with another answer ('q0': '0', then '1')"
        )
        == 1
    )


def test_json_lines_say_the_same(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    for value, text in ((1.0, "1"), (0.1, "0.1"), (-0.0, "0"), (3, "3"), ("1.0", "1.0"), (1e300, "1e+300")):
        path.write_text("".join(json.dumps({"question": f"q{i}", "answer": value}) + "\n" for i in range(2)))
        assert found(path)[0].answer == text
    path.write_text('{"question": "q", "answer": Infinity}\n')
    with pytest.raises(DataError, match=r"line 1: column 'answer' holds the number inf"):
        found(path)


def test_a_training_question_with_another_answer_than_the_evaluation_s(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for name, answers in (("train", "123"), ("eval", "19")):
        rows = [json.dumps({"question": f"q{i}", "answer": answer}) + "\n" for i, answer in enumerate(answers)]
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    with caplog.at_level(logging.WARNING):
        load_problems(task(tmp_path / "train.jsonl", eval=tmp_path / "eval.jsonl", eval_size="null"))
    assert "1 of 3 rows repeat an evaluation question" in caplog.text


@pytest.mark.parametrize("way", ["{0}/sub/../data", "{0}/data/../data", "{0}/link", "{0}/link/../data"])
def test_a_folder_by_any_of_its_names(tmp_path: Path, way: str):
    (tmp_path / "data").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "data/train.jsonl").write_text("".join(GSM8K.read_text().splitlines(keepends=True)[:20]))
    (tmp_path / "data/README.md").write_text("# Rows\n")
    assert len(found(Path(way.format(tmp_path)))) == 20
