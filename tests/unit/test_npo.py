"""The command `npo`: what it hands on, what it refuses, how quick it is to help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from npo_pipeline.cli.completion import complete
from npo_pipeline.cli.init import init
from npo_pipeline.cli.main import parsed, parser, split_words
from npo_pipeline.cli.run import command
from npo_pipeline.cli.words import decode, encode
from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.places import PROJECT
from npo_pipeline.errors import ConfigError

ODD = ["task.train=a b,c=d~#({'\"!\\ü日.jsonl", "seeds=[0,1]", "~x", ""]


def npo(*arguments: str, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    done = [sys.executable, "-m", "npo_pipeline", *arguments]
    return subprocess.run(done, cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=120)


def test_words_survive_snakemakes_config() -> None:
    from snakemake.cli import parse_config

    for words in (ODD, [], ["a=1"]):
        assert decode(parse_config([f"words={encode(words)}"])["words"]) == words
    for text in ("ü", "e30", "WzFd", "W"):
        with pytest.raises(ConfigError, match="--config words="):
            decode(text)


def test_options_stand_anywhere_and_what_follows_dashes_is_snakemakes() -> None:
    given = [
        "run",
        "chain_sum",
        ODD[0],
        "--cores",
        "3",
        "probe.steps=5",
        "-n",
        "--slurm",
        "~report",
        "--target",
        "comparison",
        "--",
        "--keep-going",
    ]
    options = parsed(parser(), given)
    experiment, words = split_words(options.words)
    assert (experiment, words) == ("chain_sum", [ODD[0], "probe.steps=5", "~report"])
    line = command(experiment, words, options)
    assert line[line.index("--profile") + 1] == str(PROJECT / "workflow/profiles/slurm")
    assert line[line.index("--cores") + 1] == "3"
    assert line[line.index("--config") + 1 :][:2] == ["experiment=chain_sum", f"words={encode(words)}"]
    assert line[-3:] == ["--keep-going", "--", "comparison"]
    assert "--dry-run" in line
    with pytest.raises(ConfigError, match=r"^mini_sudoku: found a second word"):
        split_words(["chain_sum", "mini_sudoku"])


def test_help_imports_nothing_heavy() -> None:
    done = npo("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("run", "stage", "verify", "mend", "du", "export", "plan", "report", "init"))
    code = "import sys; from npo_pipeline.cli.main import parser; parser(); "
    code += "print(sorted({'torch', 'hydra', 'snakemake', 'yaml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["run", "-n", "grpo.group_size=1"], 78, "error: grpo.group_size=1: expected at least 2"),
        (["plan", "nope"], 78, "error: experiment=nope: no such file"),
        (["report", "nothing"], 66, "error: nothing: holds no config/report.yaml"),
        (["verify", "nothing"], 66, "error: "),
        (["run", "--nope"], 2, "usage: "),
        (["stage", "nope"], 2, "usage: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], code: int, line: str) -> None:
    done = npo(*arguments)
    assert (done.returncode, done.stderr[: len(line)]) == (code, line)
    assert code == 2 or done.stderr.count("\n") == 1


def test_a_stage_and_a_plan_are_as_by_their_modules() -> None:
    assert "npo_pipeline.stages.probe" in npo("stage", "probe", "--help").stdout
    module = [
        sys.executable,
        "-m",
        "npo_pipeline.planning",
        "--experiment",
        "chain_sum",
        "--overrides",
        "probe.steps=60",
        "--gpu-memory",
        "40",
    ]
    by_module = subprocess.run(module, cwd=PROJECT, capture_output=True, text=True)
    assert npo("plan", "chain_sum", "--gpu-memory", "40", "probe.steps=60").stdout == by_module.stdout


def test_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(tmp_path / "my own")
    monkeypatch.chdir(tmp_path / "my own")
    root = load_root("mine")
    assert (root.name, root.task.train) == ("mine", "rows.jsonl")
    Path("rows.jsonl").write_text("mine")
    Path("README.md").unlink()
    with pytest.raises(ConfigError, match=r"^conf/experiment/mine.yaml: exists already"):
        init(Path())
    assert Path("rows.jsonl").read_text() == "mine"
    assert not Path("README.md").exists()


def test_a_shell_completes_experiments_keys_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert {"mine", "chain_sum", "task.train=", "grpo.learning_rate="} <= set(complete(""))
    assert "task=gsm8k" in complete("task=")
