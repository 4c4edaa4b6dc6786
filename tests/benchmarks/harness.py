"""What the benchmarks share: their options, timings in turn, experiments made by the real stages, the table and the JSON.

Two ways of doing a thing are timed in turn (A B A B ...), by the clock and by the process's CPU seconds, and compared by the median of
the ratios of neighbours: seconds hang on the machine and on what else runs there, ratios of neighbours hardly.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.compose import load_root, stage_configs, to_yaml
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.storage.manifest import NAME

PROJECT = Path(__file__).resolve().parents[2]

# The embedded default where only the code is to be seen running, not its speed.
SMALLEST = (
    "task.config.min_numbers=2 task.config.max_numbers=3 task.cold_start_config.min_numbers=2 task.cold_start_config.max_numbers=3"
    " task.train_size=32 task.eval_size=4 policy.scratch.hidden_size=32 policy.scratch.intermediate_size=64 policy.scratch.layers=1"
    " policy.scratch.vocab_size=300 policy.cold_start.steps=2 policy.cold_start.examples=64 policy.cold_start.batch_size=8"
    " grpo.prompts_per_step=2 grpo.group_size=2 sampling.max_new_tokens=6 probe.steps=2 probe.checkpoint_every=1"
    " guidance.every=1 guidance.lookback=2 guidance.samples=2 method=[npo] evaluate.samples=1 evaluate.ks=[1] evaluate.bootstrap=100"
)

Pair = tuple[float, float]  # seconds by the clock, and of CPU
Timings = dict[str, list[Pair]]


def parser(doc: str | None) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--out", type=Path, required=True, help="a folder for what is made on the way, and the JSON")
    found.add_argument("--smallest", action="store_true", help="see that it runs, in seconds: no figure of it means anything")
    return found


def one_thread() -> int:
    """Threads of torch: OMP_NUM_THREADS, 1 unless it is set, as in every stage. Called before torch computes anything."""
    import torch

    threads = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    return threads


def timed(work: Callable[[], object]) -> Pair:
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - cpu


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int, warm: int = 1) -> Timings:
    """Each way once per round, one after the other; the first `warm` rounds are not kept."""
    found: Timings = {name: [] for name in ways}
    for i in range(warm + rounds):
        for name, work in ways.items():
            pair = timed(work)
            if i >= warm:
                found[name].append(pair)
        last = [f"{name} {pairs[-1][0]:.2f} s ({pairs[-1][1]:.2f} of CPU)" for name, pairs in found.items() if pairs]
        print(f"round {i + 1 - warm}: {', '.join(last)}", file=sys.stderr)
    return found


def medians(pairs: Sequence[Pair]) -> list[float]:
    return [statistics.median(column) for column in zip(*pairs, strict=True)]


def faster(timings: Timings, ours: str, theirs: str) -> list[float]:
    """How many times as fast `ours` is, by the clock and by CPU: medians over the rounds' ratios."""
    return medians([(b[0] / a[0], b[1] / a[1]) for a, b in zip(timings[ours], timings[theirs], strict=True)])


@dataclass(frozen=True)
class Experiment:
    """An experiment whose stages are run as they are: `python -m npo_pipeline.stages.<stage>`."""

    folder: Path
    root: RootConfig

    def config(self, stage: str) -> Path:
        """The resolved configuration of a stage, written."""
        path = self.folder / "config" / f"{stage}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_yaml(stage_configs(self.root)[stage]), encoding="utf-8")
        return path

    def run(self, stage: str, *options: str, config: str | None = None, before: Sequence[str] = ("-m",)) -> float:
        """Run a stage in a process of its own; seconds. `before` is what python gets before the module's name."""
        command = [sys.executable, *before, f"npo_pipeline.stages.{stage}", "--config", str(self.config(config or stage)), *options]
        began = time.perf_counter()
        subprocess.run(command, check=True, cwd=PROJECT, env=environment())
        return time.perf_counter() - began

    def need(self, stage: str, folder: Path) -> None:
        """Run it unless `folder` has its manifest."""
        if not (folder / NAME).is_file():
            self.run(stage)


def experiment(out: Path, name: str, overrides: str = "", smallest: bool = False, place: str = "", prepared: bool = True) -> Experiment:
    """The experiment `name` of conf/experiment, below `out` and `place`; the smallest is the same for all, and made once."""
    root = load_root("default", SMALLEST) if smallest else load_root(name, overrides)
    made = Experiment(out.resolve() / ("smallest" if smallest else f"{place}/{name}".strip("/")), root)
    if prepared:
        made.need("prepare", made.folder / "prepare")
    return made


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def machine() -> dict[str, Any]:
    """What figures hang on."""
    import torch

    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        model = next((line.split(":", 1)[1].strip() for line in stream if line.startswith("model name")), platform.processor())
    load = os.getloadavg()[0]  # above the number of threads in use: something else ran, too
    return {"date": str(date.today()), "cpu": model, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": round(load, 1)}


def write(out: Path, name: str, result: dict[str, Any], columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The JSON, and the table to standard output."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps({"machine": machine()} | result, indent=1) + "\n", encoding="utf-8")
    print(f"{name}: {', '.join(f'{key} {value}' for key, value in machine().items())}")
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(f'{cell:.3g}' if isinstance(cell, float) else str(cell) for cell in row)} |")
