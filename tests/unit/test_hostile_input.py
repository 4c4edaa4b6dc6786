"""What somebody else's dataset, model directory or names may try: nothing of it runs, reads other files, or hides in a line."""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from npo_pipeline.configuration.checks.require import plain_name
from npo_pipeline.configuration.compose import PROJECT, load_root
from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import ConfigError, DataError, NpoError
from npo_pipeline.shown import one_line, short_repr, spelt
from npo_pipeline.tasks.fields import difficulty_label
from npo_pipeline.tasks.sources import load_problems

SOURCES = sorted((PROJECT / "npo_pipeline").rglob("*.py"))
ROWS = [{"question": f"{i} + 1 =", "answer": str(i + 1)} for i in range(4)]


def task(name: Path, **changes: Any) -> TaskConfig:
    whole = load_root(overrides=["task=gsm8k"]).task
    return dataclasses.replace(whole, **{"train": str(name), "eval": None, "train_size": None, "eval_size": None} | changes)


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def repository(folder: Path, files: str) -> Path:
    """A dataset repository whose README.md says which files to read."""
    jsonl(folder / "own.jsonl", ROWS)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {files!r}\n---\n")
    return folder


def test_a_repository_says_which_of_its_own_files_are_read(tmp_path: Path) -> None:
    assert len(load_problems(task(repository(tmp_path / "data", "own.jsonl")))[0]) == 3


@pytest.mark.parametrize("files", ["../private.jsonl", "{folder}/private.jsonl", "sub/../../private.jsonl"])
def test_a_repository_cannot_have_other_files_read(tmp_path: Path, files: str) -> None:
    jsonl(tmp_path / "private.jsonl", ROWS)
    (tmp_path / "data/sub").mkdir(parents=True)
    with pytest.raises(DataError, match=r"could not be read \(its README.md names '.*private.jsonl', which is no file of this dataset\)"):
        load_problems(task(repository(tmp_path / "data", files.replace("{folder}", str(tmp_path)))))


def test_a_repository_is_read_as_a_table_and_as_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "train.xml").write_text("<a/>")
    with pytest.raises(DataError, match=r"its files are to be read as xml, expected one of parquet, json"):
        load_problems(task(tmp_path))


ODD = [
    {"question": "q", "answer": "\ud800"}, {"question": "\ud800", "answer": "1"}, {"question": {"a": 1}, "answer": "1"},
    {"question": "q", "answer": [1]}, {"question": "\x00" * 3, "answer": " "}, {"question": "q", "answer": "#### "}, {},
]  # fmt: skip
FINE = [
    {"question": "../../etc/passwd\x00", "answer": "__import__('os').system('true')"}, {"question": "<script>" * 9999, "answer": 10**400},
    {"question": "{question} {image} {{7*7}} {% for %}", "answer": 1e300}, {"question": "%s %n \x1b[2J \u202e", "answer": "{wildcard}"},
]  # fmt: skip


@pytest.mark.parametrize("row", ODD)
def test_a_row_that_is_no_problem_is_named_in_one_line(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"rows.jsonl, line 5: column|rows.jsonl, line 5: no column") as caught:
        load_problems(task(jsonl(tmp_path / "rows.jsonl", [*ROWS, row])))
    assert "\n" not in str(caught.value)


def test_a_hostile_text_is_a_text(tmp_path: Path) -> None:
    train, held_out = load_problems(task(jsonl(tmp_path / "rows.jsonl", [*ROWS, *FINE])))
    found = {raw.question: raw.answer for raw in [*train, *held_out]}
    assert found == {str(row["question"]): str(row["answer"]) for row in [*ROWS, *FINE]}


@pytest.mark.parametrize("digits", ["1" * 5000, "-" + "9" * 1_000_000])
def test_a_number_of_a_million_digits_is_refused(tmp_path: Path, digits: str) -> None:
    path = jsonl(tmp_path / "rows.jsonl", ROWS)
    path.write_text(path.read_text() + f'{{"question": "q", "answer": {digits}}}\n')
    with pytest.raises(DataError, match=r"line 5: not valid JSON .*digits"):
        load_problems(task(path))


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    """It would be waited for."""
    os.mkfifo(tmp_path / "image.png")
    path = jsonl(tmp_path / "rows.jsonl", [row | {"image": "image.png"} for row in ROWS])
    with pytest.raises(DataError, match=r"line 1: the image 'image.png' is not a file"):
        load_problems(task(path, image_column="image"))


@pytest.mark.parametrize(
    ("value", "label"),
    [("\x1b[2J", "\\u001b[2J"), ("a\u202eb", "a\\u202eb"), ("\ud800", "\\ud800"), ({"a": "b\nc"}, "{'a': 'b\\nc'}"), (3, "3")],
)
def test_labels_hold_nothing_that_hides(value: Any, label: str) -> None:
    assert difficulty_label(value) == label


NAMES = [
    "a b",
    "a/b",
    "..",
    ".x",
    "-x",
    "",
    "{seed}",
    "a*",
    "a;rm",
    "$(x)",
    "`x`",
    "a'b",
    "a\nb",
    "a\x00b",
    "\u202ea",
    "x" * 101,
    "round-2",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_become_folders_wildcards_and_words_of_a_shell(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^name=.*: expected (a plain|another) name") as caught:
        plain_name("name", name)
    assert "\n" not in str(caught.value)


METHOD = "{kind:none,gate:0.5,correction:false}"


@pytest.mark.parametrize("word", ["name='a*b'", f"+method={{a*b:{METHOD}}}", "++evaluate.benchmarks={a*b:{data:x.jsonl}}"])
def test_every_name_of_the_configuration_is_asked_for(word: str) -> None:
    with pytest.raises(ConfigError, match=r"='a\*b': expected a plain name"):
        load_root(overrides=["task=gsm8k", word])


MODEL_CODE = "open({proof!r}, 'w')\nfrom transformers import PretrainedConfig\nclass C(PretrainedConfig): model_type = 'evil'\n"


def test_code_in_a_model_directory_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would ask on the terminal whether it may; whoever sits there answers y to much."""
    from npo_pipeline.policy.policy import load_policy

    proof = tmp_path / "proof"
    (tmp_path / "code.py").write_text(MODEL_CODE.format(proof=str(proof)))
    classes = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M", "AutoTokenizer": ["code.T", None]}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": classes}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T", "auto_map": classes}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(NpoError) as caught:
        load_policy(tmp_path, "float32")
    assert "\n" not in str(caught.value)
    assert not proof.exists()


def test_every_loader_says_that_foreign_code_is_off() -> None:
    """Of peft's configuration, which has no such option, only JSON is read; a command that a message advises loads nothing here."""
    loaders = re.compile(r"(?<!peft\.LoraConfig)(?<!; M)\.from_pretrained\((?!source, revision\)|base)(.*)|return LLM\((.*)")
    calls = {f"{file.name}: {m[0]}": file.read_text() for file in SOURCES for m in loaders.finditer(file.read_text())}
    assert len(calls) >= 6
    assert [call for call, text in calls.items() if not re.search(r'trust_remote_code(": |=)False', text)] == []


def test_words_of_others_are_short_and_plain() -> None:
    assert spelt("a\tb\x1b[2J\u202e") == "a\tb\\u001b[2J\\u202e"
    assert one_line("a\n  b\x07") == "a b\\u0007"
    assert len(one_line("x" * 10**6)) < 1100
    laughs: Any = ["x"]
    for _ in range(50):
        laughs = [laughs] * 9
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    assert all(len(short_repr(value)) < 10_000 for value in (laughs, cyclic, {"a": "b" * 10**6}))
    assert short_repr(10**5000) == "a int too large to show"
