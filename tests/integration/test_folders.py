"""Results that were copied, moved and renamed: what they hold decides, not when it was written, nor what Snakemake remembers elsewhere."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workflow_runner import PROJECT, Workflow

from npo_pipeline.storage.lock import only_writer

pytestmark = pytest.mark.slow

AFTER_PROBE = {"guide_job seed=0 job=0 jobs=1", "guide seed=0", "plan seed=0 method=npo", "guided seed=0 method=npo", "report"} | {
    f"evaluate seed=0 policy={policy}" for policy in ("probe", "npo")
}


@pytest.fixture
def moved(template: Workflow, tmp_path: Path) -> Workflow:
    """The results alone, elsewhere, every time of modification another one: nothing that Snakemake knew of them is there."""
    shutil.copytree(template.results, tmp_path / "elsewhere/results/default")
    numbers = random.Random(3)
    for file in sorted((tmp_path / "elsewhere").rglob("*.*")):
        moment = 1.7e9 + numbers.random() * 1e6
        os.utime(file, (moment, moment))
    return Workflow(tmp_path / "elsewhere")


def test_moved_results_are_current(moved: Workflow) -> None:
    before = moved.digests()
    assert moved.planned() == set()
    assert moved.run() == set()
    assert moved.digests() == before


def test_renamed_results_have_their_report_made_again(moved: Workflow) -> None:
    (moved.folder / "results/default").rename(moved.folder / "results/other")
    said = moved.call("-n", overrides="name=other").stdout
    assert (
        "results/other/report.html: is made again, and what follows from it: config/report.yaml says otherwise: name 'default' -> 'other'"
        in said
    )
    assert moved.planned(overrides="name=other") == {"report"}


def test_a_copy_with_other_overrides_is_not_taken_for_current(moved: Workflow) -> None:
    shutil.copytree(moved.results, moved.folder / "results/other")
    overrides = "name=other grpo.learning_rate=1e-3"
    said = moved.call("-n", overrides=overrides).stdout
    probe = "results/other/seed-0/probe/manifest.json: is made again, and what follows from it: config/probe.yaml says otherwise: "
    assert f"{probe}grpo.learning_rate 0.0002 -> 0.001" in said
    assert moved.planned(overrides=overrides) == {"probe seed=0"} | AFTER_PROBE
    assert moved.run("--until", "probe", overrides=overrides) == {"probe seed=0"}
    used = yaml.safe_load((moved.folder / "results/other/config/probe.yaml").read_text())
    assert used["grpo"]["learning_rate"] == 1e-3
    assert moved.planned() == set(), "the original is as it was"


def test_only_what_changed_in_a_moved_folder_is_made_again(moved: Workflow) -> None:
    """A schedule edited by hand: the run that follows it, and no probe."""
    schedule = moved.results / "seed-0/npo/schedule.yaml"
    schedule.write_text(schedule.read_text() + "# read by a person\n")
    said = moved.call("-n").stdout
    assert "seed-0/npo/manifest.json: is made again, and what follows from it: seed-0/npo/schedule.yaml has another content" in said
    assert moved.planned() == {"guided seed=0 method=npo", "evaluate seed=0 policy=npo", "report"}


def test_without_a_record_the_times_decide_as_before(template: Workflow, tmp_path: Path) -> None:
    """Results of an older version, or of a run that was killed."""
    shutil.copytree(template.folder, tmp_path / "older")
    shutil.rmtree(tmp_path / "older/results/default/inputs")
    older = Workflow(tmp_path / "older")
    assert older.run() == set()


def test_a_second_run_says_who_is_at_work(finished: Workflow) -> None:
    with only_writer(finished.results):
        again = finished.call()
    assert again.returncode == 75
    assert (
        f"\nresults/default: process {os.getpid()} on {os.uname().nodename} is writing to it. Wait until it has finished, or stop it, then"
        in again.stdout
    )
    for word in ("Traceback", "--unlock", "--rerun-incomplete"):
        assert word not in again.stdout


def test_no_home_to_write_to(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": "/proc/none", "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path)}
    environment = {key: value for key, value in environment.items() if not key.startswith("XDG_") and key != "HF_HOME"}
    command = [sys.executable, "-m", "npo_pipeline", "run", "-n"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
