"""32 seeds x 9 methods x 64 guide checkpoints, as a plan: what the DAG costs. Nothing of it is run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from workflow_runner import PROJECT

pytestmark = pytest.mark.slow

METHODS = "[npo_early,npo_late,npo,npo_rolling,autonpo,autonpo_online,luffy,exgrpo,rlep]"
GUIDES = "probe.steps=320 probe.checkpoint_every=5 guidance.every=5 guidance.lookback=160"
SEEDS = list(range(32))
# A process is counted as at least as large as the one that started it was: so from a small one, not from that of the tests.
WEIGHED = """import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, done.stdout, used.ru_utime + used.ru_stime, used.ru_maxrss]))"""


def test_a_large_experiment_is_planned_in_little_time_and_memory(tmp_path: Path) -> None:
    overrides = f"overrides=seeds={SEEDS} method={METHODS} {GUIDES}".replace(", ", ",")
    command = [sys.executable, "-m", "snakemake", "-n", "-q", "rules", "--directory", str(tmp_path), "--config", overrides, "guide_jobs=64"]
    weighed = subprocess.run([sys.executable, "-c", WEIGHED, *command], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    code, said, seconds, memory = json.loads(weighed.stdout)
    assert code == 0, said
    jobs = dict(line.split() for line in said.splitlines() if len(line.split()) == 2)
    assert jobs["guided"] == str(32 * 9)
    assert jobs["guide_job"] == str(32 * 64)
    print(f"{jobs['total']} jobs: {seconds:.1f} s of one core, {memory / 1000:.0f} MB")
    assert seconds < 60, "of one core: a busy machine takes longer by the clock"
    assert memory < 1_000_000, "kB; of its largest process"
