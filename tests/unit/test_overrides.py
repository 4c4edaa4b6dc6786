"""Overrides: text where the settings say text, letter by letter; everything else as Hydra reads it; or one line that names the key."""

import string
from pathlib import Path

import pytest
import yaml

from npo_pipeline.configuration.compose import load_root, load_stage, stage_configs, to_yaml
from npo_pipeline.configuration.places import CONF
from npo_pipeline.configuration.stages import PrepareStage, ReportStage
from npo_pipeline.errors import ConfigError

SIGNS = [*string.printable[:95], *"äöüßÑłπ日本語한가🙂é\u00a0", "é"]
OWN = ["task=dataset", "task.eval=x.jsonl"]


def shell(word: str) -> str:
    """As one types it within overrides="...": a backslash before what a shell would read."""
    return "".join(f"\\{sign}" if sign in " '\"\\" else sign for sign in word)


@pytest.mark.parametrize("sign", SIGNS)
def test_every_sign_in_a_path_stays(sign: str) -> None:
    path = f"{sign}a{sign}{sign}b{sign}"
    for overrides in ([*OWN, f"task.train={path}"], " ".join([*OWN, f"task.train={shell(path)}"])):
        root = load_root(overrides=overrides)
        assert root.task.train == path


def test_all_signs_at_once_stay_up_to_the_stages_file(tmp_path: Path) -> None:
    path = "m/" + "".join(SIGNS).replace("/", "")
    (tmp_path / "prepare.yaml").write_text(to_yaml(stage_configs(load_root(overrides=[*OWN, f"task.train={path}"]))["prepare"]))
    assert load_stage(tmp_path / "prepare.yaml", PrepareStage)[0].task.train == path


# From public bug reports.
CASES = [
    ("task.train=ünï.jsonl", "ünï.jsonl"),
    ("task.train=m/lr=1e-5,seed=0/ckpt", "m/lr=1e-5,seed=0/ckpt"),
    ("task.train='\"ünï.jsonl\"'", "ünï.jsonl"),
    ("task.train=com\\,ma.jsonl", "com,ma.jsonl"),
    ("task.train=com,ma.jsonl", "com,ma.jsonl"),
    ("task.revision=1234e56", "1234e56"),
    ("task.revision=null", None),
    ("task.revision=true", "true"),
    ("name=null", "null"),
    *[(f"name={word}", word) for word in ("1e3", "1_000", "true", "0x10", "010", "2026-01-01", "yes", "nan")],
    ("report.title=1,2", "1,2"),
    ("report.title=range(1,9)", "range(1,9)"),
    ("+evaluate.benchmarks.mine.data=1e3", "1e3"),
    ("report.title=${name}-1", "default-1"),
    ("report.title='a \\${name}'", "a ${name}"),
]


@pytest.mark.parametrize(("override", "value"), CASES)
def test_text_is_text(override: str, value: str | None) -> None:
    found = load_root(overrides="task=dataset task.train=x.jsonl task.verifier.kind=math " + override)
    for name in override.partition("=")[0].lstrip("+").split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert found == value


def test_a_number_like_name_survives_the_stages_file(tmp_path: Path) -> None:
    (tmp_path / "report.yaml").write_text(to_yaml(stage_configs(load_root(overrides="name=1e3"))["report"]))
    assert load_stage(tmp_path / "report.yaml", ReportStage)[0].name == "1e3"
    assert to_yaml({"a": 1e-5, "b": "1e3", "c": "x", "d": "2026-01-01"}) == "a: 1.0e-05\nb: '1e3'\nc: x\nd: '2026-01-01'\n"


def test_what_is_no_text_stays_hydras() -> None:
    words = ["seeds=[0,1]", "policy.lora={rank:32,alpha:64}", "method=[npo]", "task=gsm8k", "++probe.steps=60", "~report.title=x"][:-1]
    root = load_root(overrides=[*words, "+task.config.min_x=16", "+task.config.odd=ü(1"])
    assert (root.seeds, root.policy.lora and root.policy.lora.alpha, list(root.method)) == ([0, 1], 64, ["npo"])
    assert (root.task.name, root.probe.steps, root.task.config) == ("gsm8k", 60, {"min_x": 16, "odd": "ü(1"})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[99999999999999999999]", r"seeds=\[99999999999999999999\]: expected numbers from 0 up, below 2\*\*63"),
        ("comparison.seeds=[1,99999999999999999999]", r"comparison.seeds=.*below 2\*\*63"),
        ("policy.seed=99999999999999999999", r"policy.seed=99999999999999999999: expected numbers from 0 up"),
        ("evaluate.seed=-1", "evaluate.seed=-1: expected numbers from 0 up"),
        ("+evaluate.benchmarks.mine={data:1e3}", "evaluate.benchmarks.mine.data=1000.0: expected text, .* write it in quotes"),
        ("probe.steps=ü", "probe.steps: Value 'ü'"),
        ("task=ü", "task=ü: no such file in .*; there are chain_sum"),
        ("ünï=1", "overrides: 'ünï=1': not readable; expected key=value"),
        ("seeds=[0,1", r"overrides: 'seeds=\[0,1': not readable"),
        ("task.train=a\0b", "overrides: 'task.train=a.x00b': not readable as text"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{message}") as caught:
        load_root(overrides=[override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["1e3", "0777", "yes", "1_000", "12:30:00"])
def test_a_files_number_where_text_belongs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    own = tmp_path / "conf/experiment/mine.yaml"
    own.write_text(f"# @package _global_\nname: {value}\n")
    with pytest.raises(ConfigError, match=r"^name=.*: expected text, but without quotes this reads as .*; write it in quotes"):
        load_root("mine")
    own.write_text(f"# @package _global_\nname: '{value.replace(':', '.')}'\n")
    assert load_root("mine").name == value.replace(":", ".")


@pytest.mark.parametrize("text", ["name: mine\n", "", "\ufeff# @package _global_\nname: mine\n"])
def test_an_experiments_file_without_its_first_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine.yaml: expected '# @package _global_' as its first line"):
        load_root("mine")


def test_own_files_are_found_beside_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b, ü='1"
    for group, name, text in (
        ("experiment", "mine", "# @package _global_\ndefaults:\n  - override /task: own\n  - override /method: [soon]\nname: mine\n"),
        ("task", "own", "defaults:\n  - chain_sum\nname: chain_sum\n"),
        ("method", "soon", yaml.safe_dump({"soon": yaml.safe_load((CONF / "method/npo.yaml").read_text())["npo"]})),
    ):
        (folder / "conf" / group).mkdir(parents=True)
        (folder / f"conf/{group}/{name}.yaml").write_text(text)
    monkeypatch.chdir(folder)
    root = load_root("mine")
    assert (root.name, root.task.name, list(root.method)) == ("mine", "chain_sum", ["soon"])
    with pytest.raises(ConfigError, match=r"experiment=nope: .*; there are chain_sum, default, .*, mine, "):
        load_root("nope")
    (folder / "conf/experiment/wrong.yaml").write_text("# @package _global_\ndefaults:\n  - override /task: nope\n")
    with pytest.raises(ConfigError, match=r"^task=nope: no such file in .*; there are chain_sum, .*, own, "):
        load_root("wrong")
    for text in ("a: [1\n", "\tx", "[1]", "7"):
        (folder / "conf/experiment/wrong.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"^(?s:.*)wrong") as caught:
            load_root("wrong")
        assert "\n" not in str(caught.value)
    (folder / "conf/experiment/wrong.yaml").unlink()
    (folder / "conf/task/gsm8k.yaml").write_text("name: other\n")
    with pytest.raises(ConfigError, match=r"conf/task/gsm8k.yaml: a shipped file has this name too"):
        load_root("mine")
