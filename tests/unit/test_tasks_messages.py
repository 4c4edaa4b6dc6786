"""A conversation as the question: how its turns are read, asked and refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_tasks_prompts import CHAT, tokenizer

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import PromptConfig, TaskConfig
from npo_pipeline.errors import DataError
from npo_pipeline.tasks.prompts import render_prompt
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.rows.messages import as_question, turns_of
from npo_pipeline.tasks.sources import load_cold_start, load_problems

SYSTEM, ASKED = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1 ="}
ANSWERED = {"role": "assistant", "content": "2"}


def task_of(folder: Path, *rows: dict[str, Any], kind: str = "math") -> TaskConfig:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_root(overrides=["task=dataset", f"task.train={file}", f"task.eval={file}", "task.question_column=messages"]).task
    return replace(task, verifier=replace(task.verifier, kind=kind), eval=None)


def problems(task: TaskConfig) -> list[RawProblem]:
    train, held_out = load_problems(task)
    return [*train, *held_out]


def rows(*conversations: Any) -> list[dict[str, Any]]:
    return [{"messages": turns, "answer": "2", "source": f"row {i}", "when": None} for i, turns in enumerate(conversations)]


def test_turns_become_the_question_and_stay_turns(tmp_path: Path) -> None:
    found = problems(task_of(tmp_path, *rows([ASKED], [SYSTEM, ASKED], [ASKED, ANSWERED, ASKED])))
    assert {raw.question for raw in found} == {
        "1 + 1 =",
        "system: Be brief.\nuser: 1 + 1 =",
        "user: 1 + 1 =\nassistant: 2\nuser: 1 + 1 =",
    }
    assert all(as_question(turns_of(raw.metadata)) == raw.question for raw in found)
    assert all(set(raw.metadata) == {"prompt_messages"} for raw in found)


def test_the_cold_start_has_them_too(tmp_path: Path) -> None:
    task = task_of(tmp_path, *rows([SYSTEM, ASKED], [ASKED]))
    assert all(turns_of(raw.metadata) for raw in load_cold_start(task, 3))


def test_a_function_of_ones_own_gets_the_other_columns(tmp_path: Path) -> None:
    found = problems(task_of(tmp_path, *rows([ASKED], [SYSTEM, ASKED]), kind="python"))
    assert all({"source", "when", "prompt_messages"} == set(raw.metadata) for raw in found)


def test_text_in_parts_is_joined(tmp_path: Path) -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "1 + "}, {"type": "text", "text": "1 ="}]}
    assert {raw.question for raw in problems(task_of(tmp_path, *rows([parts], [SYSTEM, ASKED])))} >= {"1 + 1 ="}


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "is an empty list"),
        ([ASKED, ANSWERED], "ends with a turn of assistant, expected the user's"),
        ([SYSTEM], "ends with a turn of system"),
        ([{"from": "human", "value": "x"}], r"turn 1 is .* expected \{role, content\}"),
        (["x"], r"turn 1 is 'x', expected \{role, content\}"),
        ([SYSTEM, {"role": "tool", "content": "x"}, ASKED], "turn 2 has the role 'tool', expected one of system, user, assistant"),
        ([{"role": "user", "content": None}], "turn 1 has as content None, expected text"),
        ([{"role": "user", "content": [{"type": "image"}]}], "expected text; mend it .*task.image_column"),
        ([{"role": "user", "content": "  "}], "turn 1 has a content that is empty"),
        ([{"role": "user", "content": "\ud800"}], "turn 1 has a content that is empty, or no text"),
    ],
)
def test_what_is_no_conversation_names_row_and_turn(tmp_path: Path, turns: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"rows.jsonl, line 2: column 'messages'.*{message}"):
        problems(task_of(tmp_path, *rows([ASKED], turns)))


def test_a_pattern_is_not_for_turns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"set task.question_pattern to null"):
        problems(replace(task_of(tmp_path, *rows([ASKED], [SYSTEM, ASKED])), question_pattern="(.*)"))


def test_a_chat_template_reads_the_turns_as_they_are() -> None:
    prompt, turns = PromptConfig("auto", "Q: {question}\n", "Never said."), [SYSTEM, ASKED, ANSWERED, {"role": "user", "content": " So? "}]
    text, _ = render_prompt(as_question(turns), prompt, tokenizer(CHAT), turns=turns)
    assert text == "<s>[system]Be brief.[user]1 + 1 =[assistant]2[user] So? [assistant]"


def test_the_systems_text_is_for_turns_without_one() -> None:
    text, _ = render_prompt("1 + 1 =", PromptConfig("chat", "{question}", "Be brief."), tokenizer(CHAT), turns=[ASKED])
    assert text == "<s>[system]Be brief.[user]1 + 1 =[assistant]"


def test_without_a_chat_template_they_are_one_text() -> None:
    turns = [SYSTEM, ASKED]
    text, _ = render_prompt(as_question(turns), PromptConfig("auto", "Q: {question}\n", None), tokenizer(), turns=turns)
    assert text == "Q: system: Be brief.\nuser: 1 + 1 =\n"


def test_turns_that_a_text_spells_are_turns(tmp_path: Path) -> None:
    found = problems(task_of(tmp_path, *rows(json.dumps([SYSTEM, ASKED]), json.dumps([ASKED]), '[{"role": "user"}]', "[{is this?}]")))
    assert {raw.question for raw in found} == {"1 + 1 =", "system: Be brief.\nuser: 1 + 1 =", '[{"role": "user"}]', "[{is this?}]"}
    assert sum(bool(turns_of(raw.metadata)) for raw in found) == 2
    with pytest.raises(DataError, match=r"line 2: column 'messages' ends with a turn of assistant"):
        problems(task_of(tmp_path, *rows([ASKED], json.dumps([ASKED, ANSWERED]))))


def test_a_pattern_finds_the_question_in_such_a_text(tmp_path: Path) -> None:
    task = replace(task_of(tmp_path, *rows(json.dumps([ASKED]), json.dumps([SYSTEM, ASKED]))), question_pattern='("role".*)')
    assert all(raw.question.startswith('"role"') for raw in problems(task))
