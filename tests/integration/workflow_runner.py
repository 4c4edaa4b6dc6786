"""The real Snakemake on the real Snakefile, with its results in a folder of their own."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

# The smallest experiment in which every stage has something to do: a few seconds per stage. Averages: test_averages_workflow.py.
TINY = (
    "task.config.min_numbers=2 task.config.max_numbers=3 task.config.max_value=3"
    " task.cold_start_config.min_numbers=2 task.cold_start_config.max_numbers=3 task.train_size=32 task.eval_size=8"
    " policy.scratch.hidden_size=32 policy.scratch.intermediate_size=64 policy.scratch.layers=2 policy.scratch.vocab_size=300"
    " policy.cold_start.steps=250 policy.cold_start.examples=1000 policy.cold_start.learning_rate=1e-2"
    " grpo.prompts_per_step=8 grpo.group_size=4 grpo.learning_rate=2e-4 sampling.max_new_tokens=12 probe.steps=4 probe.checkpoint_every=2"
    " guidance.every=2 guidance.samples=8 guidance.lookback=4 method=[npo]"
    " evaluate.samples=2 evaluate.ks=[1,2] evaluate.bootstrap=100 average_last=null"
)
# What differs between two equal runs: when and how fast (the report tells it too), never what.
VOLATILE = re.compile(r"/(logs|benchmarks)/|/timings\.jsonl$|/report\.html(\.json)?$")


@dataclass
class Workflow:
    """`snakemake --directory folder` at the tiny size, with more overrides where a test gives them."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results/default"

    def call(self, *arguments: str, overrides: str = "", options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """What a person at a terminal would see is in `stdout`."""
        config = ["--config", f"overrides={TINY} {overrides}", *options]
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--directory", str(self.folder), *arguments, *config]
        return subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)

    def run(self, *arguments: str, overrides: str = "", options: tuple[str, ...] = ()) -> set[str]:
        """Run it to a good end; the jobs that ran."""
        done = self.call(*arguments, overrides=overrides, options=options)
        assert done.returncode == 0, done.stdout
        return stage_jobs(done.stdout)

    def planned(self, *arguments: str, overrides: str = "", options: tuple[str, ...] = ()) -> set[str]:
        """The jobs that a run would have."""
        return self.run("-n", *arguments, overrides=overrides, options=options)

    def digests(self, below: str = "") -> dict[str, str]:
        """The sha256 of every file, apart from times and logs."""
        files = [file for file in (self.results / below).rglob("*") if file.is_file() and not VOLATILE.search(str(file))]
        return {str(file.relative_to(self.results)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


def kill_when(command: list[str], ready: Callable[[], bool], folder: Path | None = None) -> None:
    """Start a stage and kill -9 it, children included, as soon as `ready` says so, and a finished run in `folder` is gone."""
    stop_when(command, ready, folder, [signal.SIGKILL])


def stop_when(command: list[str], ready: Callable[[], bool], folder: Path | None, signals: Sequence[int]) -> tuple[int, str]:
    """As `kill_when`, with these signals, to the whole group as a terminal and SLURM do; exit code and what it said."""
    if folder:
        (folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(folder / "rollouts")
        shutil.rmtree(folder / "checkpoints")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not ready():
        time.sleep(0.001)
    for number in signals:
        with suppress(ProcessLookupError):  # it has ended already
            os.killpg(process.pid, number)
        time.sleep(0.05)
    said, _ = process.communicate()
    return process.returncode, said


def stage_jobs(output: str) -> set[str]:
    """`{"prepare", "guided seed=0 method=npo", ...}` of what Snakemake printed, without rule all and the stages' configuration files."""
    heads = re.finditer(r"^(?:local)?rule (\w+):\n((?: +.*\n)*)", output, re.MULTILINE)
    jobs = {f"{head[1]} {wildcards_of(head[2])}".strip() for head in heads}
    return {job for job in jobs if job != "all" and not job.startswith("config ")}


def wildcards_of(details: str) -> str:
    found = re.search(r"^ +wildcards: (.*)$", details, re.MULTILINE)
    return found[1].replace("round=, ", "").removesuffix(", round=").replace(", ", " ") if found else ""
