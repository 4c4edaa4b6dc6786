"""32 seeds x 9 methods x 64 guide checkpoints, as a plan: what the DAG costs. Nothing of it is run."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from workflow_runner import PROJECT

pytestmark = pytest.mark.slow

METHODS = "[npo_early,npo_late,npo,npo_rolling,autonpo,autonpo_online,luffy,exgrpo,rlep]"
GUIDES = "probe.steps=320 probe.checkpoint_every=5 guidance.every=5 guidance.lookback=160"
SEEDS = list(range(32))


def test_a_large_experiment_is_planned_in_little_time_and_memory(tmp_path: Path) -> None:
    overrides = f"overrides=seeds={SEEDS} method={METHODS} {GUIDES}".replace(", ", ",")
    command = [sys.executable, "-m", "snakemake", "-n", "-q", "rules", "--directory", str(tmp_path), "--config", overrides, "guide_jobs=64"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout
    jobs = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert jobs["guided"] == str(32 * 9)
    assert jobs["guide_job"] == str(32 * 64)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{jobs['total']} jobs: {seconds:.1f} s of one core, {after.ru_maxrss / 1000:.0f} MB")
    assert seconds < 60, "of one core: a busy machine takes longer by the clock"
    assert after.ru_maxrss < 1_000_000, "kB; of the largest child so far"
