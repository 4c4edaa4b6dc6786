"""Completions that an adopted run has logged: read, matched to this task's prompts, judged, and what of them is refused and how."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from npo_pipeline.errors import DataError, NpoError
from npo_pipeline.preparation.adoption.completions import Logged, Prompts, agreement, of_the_run, read_completions
from npo_pipeline.records import Problem


class Words:
    """A tokenizer whose tokens are words; <s> is a special one."""

    chat_template = None

    def decode(self, ids: tuple[int, ...], skip_special_tokens: bool) -> str:
        return " ".join(("<s>", "Sort:", "2", "1")[i] for i in ids if i or not skip_special_tokens)


PROBLEM = Problem("p", "train", "2 1", "1 2", "all", "<s> Sort: 2 1\n", (0, 1, 2, 3))


def logged(prompt: object) -> list[Logged]:
    return [Logged(0, prompt, "1 2", 1.0)]


@pytest.mark.parametrize("prompt", ["<s> Sort: 2 1\n", "Sort: 2 1", ("id", "p")])
def test_prompts_match_as_rendered_or_without_special_tokens(prompt: object) -> None:
    assert [problem for _, problem in Prompts([PROBLEM], Words()).match(logged(prompt))] == [PROBLEM]


def test_completions_of_another_task_or_rendering() -> None:
    prompts = Prompts([PROBLEM], Words())
    with pytest.raises(
        DataError, match=r"none of its 1 prompts is a training prompt of this task: completions of another task, the first asks 'Add"
    ):
        prompts.match(logged("Add: 3 4"))
    with pytest.raises(DataError, match=r"though the questions are: that run read 'Please sort 2 1', here it is"):
        prompts.match(logged("Please sort 2 1"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("1.jsonl", '{"input": "a"}', r"line 1 \(KeyError: 'output'\); expected input, output, score and step"),
        ("1.jsonl", '{"input": "a", "output": null}', r"line 1 \(output is None, expected text"),
        ("1.jsonl", '{"input": "a", "output": "\\ud800"}', r"line 1 \(output holds half a surrogate pair"),
        ("1.jsonl", '{"input": {"a": 1}, "output": "b"}', r"line 1 \(input is \{'a': 1\}, expected text or a conversation"),
        ("1.jsonl", "\n[1]", r"line 2 \(found a list, expected an object\)"),
        ("x.jsonl", '{"input": "a", "output": "b"}', r"line 1 \(step is 'x', expected a whole number\)"),
        ("1.jsonl", f'{{"input": "a", "output": "b", "score": 1{"0" * 400}}}', r"line 1 \(OverflowError: int too large"),
        ("1.jsonl", "\n", r"1\.jsonl is empty"),
        ("1.parquet", "x", "not a readable Parquet file"),
        ("1.txt", "x", r"no \.parquet or \.jsonl file"),
    ],
)
def test_completions_that_cannot_be_read(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(NpoError, match=said):
        read_completions(str(tmp_path))


def parquet(folder: Path, **values: object) -> str:
    pq.write_table(pa.Table.from_pylist([{"step": 1, "prompt": "a", "completion": "b", "reward": 1.0} | values]), folder / "1.parquet")
    return str(folder)


@pytest.mark.parametrize("step", [3, "3", 3.0])
def test_a_step_may_be_written_as_text(tmp_path: Path, step: object) -> None:
    assert read_completions(parquet(tmp_path, step=step)) == [Logged(2, "a", "b", 1.0)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"step": None}, "step is None, expected a whole number"),
        ({"prompt": {"a": 1}}, "prompt is {'a': 1}, expected text or a conversation"),
        ({"prompt": [1, 2]}, r"prompt is \[1, 2\], expected text or a conversation"),
        ({"completion": ["b"]}, r"completion is \['b'\], expected text"),
        ({"completion": None}, "completion is None, expected text"),
    ],
)
def test_a_row_of_another_kind_is_named(tmp_path: Path, values: dict, said: str) -> None:
    with pytest.raises(DataError, match=rf"1\.parquet: row 1: {said}"):
        read_completions(parquet(tmp_path, **values))


@pytest.mark.parametrize("sign", ["\u2028", "\x85"])
def test_only_a_new_line_ends_a_line(tmp_path: Path, sign: str) -> None:
    (tmp_path / "1.jsonl").write_text(json.dumps({"input": "a", "output": f"b{sign}c"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_completions(str(tmp_path))[0].response == f"b{sign}c"


def of_steps(*steps: int) -> list[Logged]:
    return [Logged(step, "a", "b", None) for step in steps]


def test_completions_of_steps_outside_of_the_run_are_counted() -> None:
    assert of_the_run(of_steps(0, 3), 4) == (of_steps(0, 3), None)
    kept, said = of_the_run(of_steps(-1, 0, 1, 5), 4)
    assert kept == of_steps(0, 1)
    assert said is not None
    assert "2 of 4 logged completions are of steps outside of the run (found 0 to 6, expected 1 to 4) and left out" in said
    assert "if that log counts from 0, write each step one higher" in said
    with pytest.raises(DataError, match=r"all are of steps outside of the run \(found 101 to 102, expected 1 to 4\)"):
        of_the_run(of_steps(100, 101), 4)


def test_how_the_verifier_agrees_with_the_run() -> None:
    assert agreement([(1.0, 1.0), (0.0, 0.0)]) == "task.verifier judges 2 of 2 as that run did"
    assert agreement([(1.0, 0.0)]).startswith("task.verifier judges 0 of 1 as that run did; set task.verifier")
    assert "of several functions" in agreement([])
