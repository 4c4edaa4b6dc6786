"""Hours of a plan: what is assumed by hand, and what is measured by running the experiment's own stages at the smallest size."""

import argparse
import json
import socket
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from npo_pipeline.cli.main import main
from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.planning.__main__ import measured, plan
from npo_pipeline.planning.architecture import architecture_of
from npo_pipeline.planning.measured import Timing, known_speeds, measure
from npo_pipeline.planning.pace import CORE
from npo_pipeline.planning.speeds import Speed, Speeds, assumed, hours
from npo_pipeline.planning.work import Assumptions, Work

SMALL = [
    *("policy.scratch.hidden_size=32", "policy.scratch.intermediate_size=64", "policy.scratch.layers=2", "policy.scratch.vocab_size=300"),
    *("policy.cold_start.steps=2", "policy.cold_start.examples=20", "task.train_size=32", "task.eval_size=8"),
    *("grpo.prompts_per_step=2", "grpo.group_size=2", "sampling.max_new_tokens=4", "method=[npo,autonpo]"),
]
TOKENS = Assumptions(20, 10.0, 0.5, 0.5, 0.05)
TIMING = Timing("here", "cpu", 1, 3, 8.0, 1e-3, 3e-3, 5e-4, 15e-4, 72.0, 36.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/npo-pipeline/speeds"


def options(*words: str) -> argparse.Namespace:
    from npo_pipeline.planning.__main__ import parser

    return parser().parse_args(list(words))


def page(root: RootConfig, *words: str) -> str:
    return plan(root, architecture_of(root.policy), options(*words), measured(root, options(*words)))


def test_assumed_hours_by_hand() -> None:
    root = load_root(overrides=["trainer.nproc=2"])
    model = architecture_of(root.policy)
    found = assumed(root, model, TOKENS)
    each = model.parameters * 30 / 10  # a token of a response, with its share of the prompt
    assert (found.sample.wall, found.sample.paid) == (CORE.sample / (2 * each),) * 2
    assert (found.update.wall, found.update.paid) == (CORE.train / (8 * each),) * 2
    assert found.ranks == 2
    assert found.unit == "CPU-hours"


def test_hours_of_a_stage() -> None:
    speeds = Speeds(("",), "GPU-hours", Speed(100.0, 50.0), Speed(25.0, 12.5), 2, (0.1, 0.2))
    assert hours(Work("probe", 9, 9.0, 0.0, 2, trains=True), 3600.0, speeds) == pytest.approx((0.025, 0.1)), "two processes"
    assert hours(Work("guide", 9, 9.0, 0.0), 3600.0, speeds) == pytest.approx((0.01, 0.02))
    assert hours(Work("prepare", 0, 0.0, 9.0), 0.0, speeds) == (0.1, 0.2)
    assert hours(Work("average", 0, 0.0, 9.0), 0.0, speeds) is None


def test_what_is_measured_is_on_record_for_this_machine_and_shape(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = load_root(overrides=SMALL)
    assert "Hours are ASSUMED" in page(root)
    found = measure(root, "cpu", steps=1)
    assert "then 2 steps of the probe" in capsys.readouterr().err
    (record,) = cache.iterdir()
    timing = Timing(**json.loads(record.read_text()))
    assert record.name.startswith(f"{socket.gethostname()}-")
    assert (timing.device, timing.ranks, timing.steps) == ("cpu", 1, 1)
    assert 0.0 < timing.response_tokens <= 4.0
    assert found.sample.wall == 1 / timing.sample
    assert timing.cpu_sample > 0.0
    assert timing.cpu_update > 0.0
    assert timing.cpu_prepare > 0.0
    assert known_speeds(root, "cpu") == found
    assert known_speeds(root, "auto") is None  # it may be another device
    assert known_speeds(load_root(overrides=[*SMALL, "grpo.group_size=4"]), "cpu") is None
    assert known_speeds(load_root(overrides=[*SMALL, "probe.steps=60", "method=[npo]"]), "cpu") == found  # the same steps, more of them
    said = page(root, "--device", "cpu")
    assert f"Hours are MEASURED on {socket.gethostname()} (cpu, 1 process): prepare, and 1 steps" in said
    assert "ASSUMED: that lengths and speeds stay so" in said
    assert f"of which {timing.response_tokens:.0f} are expected" in said
    record.write_text("{")
    assert known_speeds(root, "cpu") is None


def test_the_page_has_the_hours_of_each_stage(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = load_root(overrides=["seeds=[0,1]", "method=[npo]", "average_last=null", "probe.steps=120"])
    monkeypatch.setattr("npo_pipeline.planning.measured._run", lambda *_: None)
    monkeypatch.setattr("npo_pipeline.planning.measured._timing", lambda *_: TIMING)
    measure(root, "auto", 3)
    rows = {line[:21].strip(): line[21:].split() for line in page(root).splitlines()}
    tokens = 2 * 120 * 32 * 8 * 8.0
    assert rows["probe"][3] == f"{tokens:,.0f}"
    assert " ".join(rows["probe"][4:-3]) == "32 min 46 s 0.273", "at 4 ms a token, and 2 of CPU"
    assert " ".join(rows["prepare"][4:-3]) == "1 min 12 s 0.01"
    on_gpu = replace(TIMING, device="a GPU", ranks=4)
    monkeypatch.setattr("npo_pipeline.planning.measured._timing", lambda *_: on_gpu)
    found = measure(root, "auto", 3)
    assert (found.unit, found.update, found.ranks) == ("GPU-hours", Speed(1 / 12e-3, 1 / 12e-3), 4)
    assert json.loads(next(cache.iterdir()).read_text()) == asdict(on_gpu)


def test_what_cannot_be_measured_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"--measure: trainer\.nodes=2, expected 1"):
        measure(load_root(overrides=[*SMALL, "trainer.nodes=2"]), "cpu", 1)
    (tmp_path / "rows.jsonl").write_text('{"question": "a"}\n' * 4)
    words = ["task=dataset", f"task.train={tmp_path}/rows.jsonl", "task.train_size=2", "task.eval_size=1"]
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "--measure", "--model", str(tmp_path)])
    assert stopped.value.code == 78
    assert "--measure: times the policy itself, so --model cannot go with it" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"--measure: the stage prepare ended with exit code 65: error: .*rows.jsonl"):
        measure(load_root(overrides=[*SMALL, *words]), "cpu", 1)
