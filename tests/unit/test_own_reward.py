"""A user's own reward function: real files in real worker processes; what each fault says, and what it costs."""

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from npo_pipeline.configuration.compose import load_root, load_stage, stage_configs, to_yaml
from npo_pipeline.configuration.reward_file import check_unchanged, with_digest
from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.configuration.stages import ProbeStage
from npo_pipeline.errors import ConfigError
from npo_pipeline.records import Problem
from npo_pipeline.tasks.checks import check_function, try_function
from npo_pipeline.tasks.judging.verify import Verdict, Verifier
from npo_pipeline.tasks.raw import RawProblem

NUMPY = "__import__('numpy')"
GOOD = "def score(text, reference, metadata):\n    return text == reference\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verifier(body: str, function: str = "my_rewards.py:score", seconds: float = 1.0) -> VerifierConfig:
    Path("my_rewards.py").write_text(body)
    return with_digest(VerifierConfig("python", "whole", seconds, function))


def returning(expression: str) -> str:
    return f"def score(text, reference, metadata):\n    return {expression}\n"


def problem(answer: str = "7", **metadata: object) -> Problem:
    return Problem("train-000000", "train", "?", answer, "all", "?", (1,), dict(metadata))


def judged(config: VerifierConfig, *texts: str, **metadata: object) -> list[Verdict]:
    with Verifier(config) as verifier:
        return verifier.judge([(problem(**metadata), text) for text in texts])


@pytest.mark.parametrize(
    ("expression", "reward"),
    [
        ("True", 1.0),
        ("False", 0.0),
        ("1", 1.0),
        ("0.25", 0.25),
        (NUMPY + ".float32(0.5)", 0.5),
        (NUMPY + ".True_", 1.0),
    ],
)
def test_a_reward_is_a_number_or_a_bool_and_only_one_is_verified(here: Path, expression: str, reward: float) -> None:
    assert judged(verifier(returning(expression)), "a") == [Verdict(reward, reward == 1.0)]


def test_it_is_given_the_whole_response_the_reference_and_the_metadata(here: Path) -> None:
    config = replace(verifier(returning("text == ' 5\\n' and reference == '7' and metadata == {'steps': 2}")), extract="last_number")
    assert judged(config, " 5\n", "5", steps=2) == [Verdict(1.0, True), Verdict(0.0, False)]


def test_what_it_does_to_the_metadata_is_not_seen_by_the_next(here: Path) -> None:
    assert judged(verifier(returning("metadata.pop('left', 0)")), "a", "b", left=1) == [Verdict(1.0, True)] * 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (returning("None"), "ValueError: it returned None, expected a number from 0 to 1, or a bool"),
        (returning("float('nan')"), "it returned nan"),
        (returning("1.5"), "it returned 1.5"),
        (returning("-0.1"), "it returned -0.1"),
        (returning("'1'"), "it returned '1'"),
        (returning("1 / 0"), r"ZeroDivisionError: division by zero \(my_rewards.py, line 2\)"),
        (returning("'x' * 2**31"), "MemoryError"),
        (returning("[0 for _ in iter(int, 1)]"), "MemoryError|more than 1 seconds of CPU"),
        (returning("exit()"), "SystemExit"),
        (returning("__import__('os')._exit(3)"), "it ended its worker process"),
        (returning("__import__('time').sleep(1000)"), "more than 1 seconds of CPU, or 10 by the clock"),
    ],
)
def test_a_fault_costs_its_response_and_is_told_before_the_run_and_counted_in_it(
    here: Path, caplog: pytest.LogCaptureFixture, body: str, said: str
) -> None:
    config = verifier(body.replace("return ", "return text == 'fine' or "))
    with caplog.at_level(logging.WARNING):
        assert judged(config, "fine", "other") == [Verdict(1.0, True), Verdict(0.0, False)]
    first, last = [record.getMessage() for record in caplog.records]
    assert re.search(rf"^task.verifier.function=my_rewards.py:score: a response has reward 0: .*({said})", first)
    assert re.search(r"1 of 2 responses have reward 0 for such a fault", last)
    with pytest.raises(ConfigError, match=rf"tried with the reference answer '7' of problem train-0 as the text, .*({said})"):
        try_function(config, RawProblem("train-0", "train", "?", "7", "all"))


@pytest.mark.parametrize(
    ("body", "function", "said"),
    [
        (GOOD, "my_rewards.py:other", "my_rewards.py has no other; its functions are score"),
        ("score = 3\n", "my_rewards.py:score", "score is of type int, expected a function"),
        ("def score(text):\n    return 1\n", "my_rewards.py:score", r"takes \(text\), .* expected score\(text, reference, metadata\)"),
        ("def score(:\n", "my_rewards.py:score", "cannot be imported: SyntaxError"),
        ("import not_there\n", "my_rewards.py:score", r"cannot be imported: ModuleNotFoundError: .*not_there.* \(my_rewards.py, line 1\)"),
        ("raise SystemExit(3)\n", "my_rewards.py:score", "cannot be imported: SystemExit"),
    ],
)
def test_a_file_that_does_not_load_is_one_line_before_the_run(here: Path, body: str, function: str, said: str) -> None:
    config = verifier(body, function)
    with pytest.raises(ConfigError, match=f"^task.verifier.function={function}: .*{said}") as raised:
        check_function(config)
    assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match=said):
        judged(config, "a")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("gone.py:score", "no file gone.py in"),
        ("no_such.module:score", "no module no_such.module"),
        ("my rewards:score", "a file whose name ends in .py, or a module"),
        ("my_rewards.py", "expected FILE.py:FUNCTION or MODULE:FUNCTION"),
        ("my_rewards.txt:score", "no module my_rewards.txt .* or name a .py file"),
        ("null", "expected FILE.py:FUNCTION"),
    ],
)
def test_a_name_that_leads_nowhere(here: Path, function: str, said: str) -> None:
    overrides = ["task=gsm8k", "task.verifier.kind=python", f"task.verifier.function={function}"]
    with pytest.raises(ConfigError, match=said):
        stage_configs(load_root(overrides=overrides))


def test_a_function_without_its_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task.verifier.function='a.py:score': expected null"):
        load_root(overrides=["task.verifier.function=a.py:score"])


def test_a_change_of_the_file_or_of_its_neighbour_is_a_change_of_the_configuration(here: Path) -> None:
    config = verifier("import neighbour\n" + GOOD)
    Path("neighbour.py").write_text("import deeper\n")
    Path("deeper.py").write_text("x = 1\n")
    digests = [config.function_sha256, with_digest(config).function_sha256]
    Path("deeper.py").write_text("x = 2\n")
    digests.append(with_digest(config).function_sha256)
    Path("stranger.py").write_text("x = 2\n")
    assert with_digest(config).function_sha256 == digests[-1]
    assert len(set(digests)) == 3
    assert digests[0] == hashlib.sha256(Path("my_rewards.py").read_bytes()).hexdigest()


def test_a_stage_refuses_a_file_that_was_changed(here: Path) -> None:
    config = verifier(GOOD)
    check_unchanged(config)
    Path("my_rewards.py").write_text(GOOD + "# changed\n")
    with pytest.raises(ConfigError, match="it was changed since: run snakemake again"):
        check_unchanged(config)
    with pytest.raises(ConfigError, match="it was changed since"):
        judged(config, "a")


def test_neighbours_and_modules_are_imported(here: Path) -> None:
    (here / "pkg").mkdir()
    Path("pkg/__init__.py").write_text("")
    Path("pkg/parts.py").write_text("def same(a, b): return a == b\n")
    Path("pkg/mod.py").write_text("from .parts import same\ndef score(text, reference, metadata): return same(text, reference)\n")
    module = verifier("from pkg.parts import same\ndef score(text, reference, metadata): return same(text, reference)\n", "pkg.mod:score")
    assert judged(module, "7", "8") == [Verdict(1.0, True), Verdict(0.0, False)]
    file = with_digest(replace(module, function="my_rewards.py:score"))
    assert judged(file, "7", "8") == [Verdict(1.0, True), Verdict(0.0, False)]


def test_stages_of_other_kinds_say_nothing_of_a_function(here: Path) -> None:
    """So results that were made before there were functions are recognised; of kind python, the file of a stage reads back."""
    stages = stage_configs(load_root())
    assert not any("function" in to_yaml(values) for values in stages.values())
    verifier(GOOD)
    own = stage_configs(load_root(overrides=["task=gsm8k", "task.verifier.kind=python", "task.verifier.function=my_rewards.py:score"]))
    Path("probe.yaml").write_text(to_yaml(own["probe"]))
    assert load_stage(Path("probe.yaml"), ProbeStage)[0].verifier.function_sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
