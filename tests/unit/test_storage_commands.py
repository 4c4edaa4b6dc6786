"""`npo export`, `verify`, `mend` and `du`: export, verify and du on a run with deltas, whole and damaged."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_runs import STEPS, policy_of, write_run
from transformers import AutoModelForCausalLM

from npo_pipeline.cli.store import export, mend, verify
from npo_pipeline.errors import ArtifactError, ConfigError
from npo_pipeline.storage.checkpoints import DELTA, read_records
from npo_pipeline.storage.inspection import usage
from npo_pipeline.storage.layout import checkpoint
from npo_pipeline.storage.manifest import NAME, write_manifest


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A finished probe and a run that is not finished."""
    probe = tmp_path / "results/seed-0/probe"
    write_run(probe, policy_of(torch.bfloat16), 0.01)
    write_manifest(probe, "probe", "0" * 64, [file for file in probe.rglob("*") if file.is_file()], {"steps": 12})
    shutil.copytree(probe, tmp_path / "results/seed-0/npo")
    (tmp_path / "results/seed-0/npo" / NAME).unlink()
    return tmp_path / "results"


def test_any_step_is_exported_as_an_ordinary_directory(tmp_path: Path) -> None:
    kept = write_run(tmp_path / "run", policy_of(torch.bfloat16), 0.01)
    for step in (4, 12):
        export(tmp_path / "run", step, tmp_path / f"policy {step}")
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / f"policy {step}", dtype=torch.bfloat16).state_dict()
        assert plain.keys() == kept[step].keys()
        assert all(torch.equal(plain[name], tensor) for name, tensor in kept[step].items())
    with pytest.raises(ConfigError, match="policy 4: exists already"):
        export(tmp_path / "run", 4, tmp_path / "policy 4")
    with pytest.raises(ArtifactError, match=r"run: has no checkpoint 5; there are 0, 2, 4, 6, 8, 10, 12"):
        export(tmp_path / "run", 5, tmp_path / "policy 5")


def test_a_whole_experiment_is_verified(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(experiment, files_only=False)
    said = capsys.readouterr().out
    assert f"{experiment}/seed-0/npo: no manifest, so it is not finished" in said
    assert f"{experiment}: 2 stages, all files as listed; {2 * len(STEPS)} checkpoints restored to their sha256" in said


def test_every_damage_is_named(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe, other = experiment / "seed-0/probe", experiment / "seed-0/npo"
    content = bytearray((checkpoint(probe, 2) / DELTA).read_bytes())
    content[-1] ^= 1
    (checkpoint(probe, 2) / DELTA).write_bytes(content)
    (checkpoint(probe, 6) / "config.json").unlink()
    shutil.rmtree(checkpoint(other, 8) / "delta")
    with pytest.raises(ArtifactError, match=r"results: 3 files are damaged or missing"):
        verify(experiment, files_only=False)
    lines = capsys.readouterr().out.splitlines()
    for name in (checkpoint(probe, 2) / DELTA, checkpoint(probe, 6) / "config.json", checkpoint(other, 8) / DELTA):
        assert sum(line.startswith(f"{name}: ") for line in lines) == 1


def test_a_checkpoint_that_restores_to_other_weights_is_named(experiment: Path) -> None:
    """Every file is as listed, but the full policy is another's: only restoring tells."""
    run = experiment / "seed-0/npo"
    record = checkpoint(run, 4) / "checkpoint.json"
    record.write_text(record.read_text().replace(read_records(run)[4].weights_sha256, "0" * 64))
    verify(run, files_only=True)
    with pytest.raises(ArtifactError, match="step-000004: its weights have sha256"):
        verify(run, files_only=False)


def test_mend_takes_what_vouches_for_damage_and_nothing_else(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged run loses its manifest; one that is whole or not finished loses nothing. Of a guide only what is broken goes."""
    shutil.copytree(experiment / "seed-0/probe", experiment / "seed-1/probe")
    (checkpoint(experiment / "seed-1/probe", 6) / "config.json").unlink()
    guide = experiment / "seed-1/guide"
    for step in ("step-000002", "step-000004"):
        (guide / step).mkdir(parents=True)
        (guide / step / "scores.parquet").write_bytes(step.encode())
        write_manifest(guide / step, "guide", "0" * 64, [guide / step / "scores.parquet"])
    (guide / "jobs").mkdir()
    (guide / "jobs/0-of-1.json").write_text('{"guide_steps": [2, 4]}')
    write_manifest(guide, "guide", "0" * 64, [guide / step / NAME for step in ("step-000002", "step-000004")])
    mend(experiment)
    gone = [experiment / "seed-1/probe" / NAME]
    assert capsys.readouterr().out.splitlines()[:-1] == [f"{path}: removed" for path in gone]
    (guide / "step-000002/scores.parquet").write_bytes(b"")
    mend(experiment)
    gone = [guide / "step-000002", guide / "jobs", guide / NAME]
    assert capsys.readouterr().out.splitlines()[:-1] == [f"{path}: removed" for path in gone]
    assert (guide / "step-000004" / NAME).is_file()
    mend(experiment)
    assert capsys.readouterr().out == f"{experiment}: nothing is damaged\n"


def test_du_counts_every_byte_once(experiment: Path) -> None:
    rows = {row.name: row for row in usage(experiment)}
    assert list(rows) == ["seed-0/npo", "seed-0/npo/checkpoints", "seed-0/probe", "seed-0/probe/checkpoints"]
    files = [file for file in experiment.rglob("*") if file.is_file()]
    assert rows["seed-0/npo"].size + rows["seed-0/probe"].size == sum(file.stat().st_size for file in files)
    assert rows["seed-0/probe/checkpoints"].note.startswith("3 full of ")
    assert ", 6 deltas of " in rows["seed-0/probe/checkpoints"].note


def test_exit_codes(experiment: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "npo_pipeline"]
    assert subprocess.run([*command, "du", experiment], capture_output=True, check=False).returncode == 0
    missing = subprocess.run([*command, "verify", tmp_path / "nothing"], capture_output=True, text=True, check=False)
    assert missing.returncode == 66
    assert missing.stderr.startswith("error: ")


@pytest.mark.parametrize("damage", ['{"step": 1, "sec', "[1]", '{"step": 1, "seconds": NaN}', "\x00\x00"])
def test_damaged_timings_are_named_and_go_alone(experiment: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    """No result hangs on them: mend takes the file, and no manifest."""
    timings = experiment / "seed-0/probe/timings.jsonl"
    timings.write_text(f'{{"step": 0, "seconds": 1.5}}\n{damage}\n')
    before = {file for file in experiment.rglob("*") if file.is_file()}
    with pytest.raises(ArtifactError):
        verify(experiment, files_only=True)
    assert f"{timings}: line 2 is damaged. Timings are no results" in capsys.readouterr().out
    mend(experiment)
    assert before - {file for file in experiment.rglob("*") if file.is_file()} == {timings}
