"""What the processes of a stage used: seconds of wall clock and of CPU, and how many GPUs they held. Each writes a line when it ends.

    results/<experiment>/benchmarks/seed-0/spent/guided-npo/rank-0.jsonl

A line per attempt: one that a signal ended is followed by that of the attempt that went on. When an attempt finishes, those of earlier
runs, or of another configuration, go. One that was killed without a word, or ended because its input was wrong, leaves none. No result
hangs on these files.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from npo_pipeline.errors import Interrupted, StorageError
from npo_pipeline.storage.atomic import write_text

CPU = "cpu"


@dataclass(frozen=True)
class Attempt:
    """One process, from its start to its end. Example: half an hour on one GPU, with 10 minutes of CPU time:
    `Attempt("4a5b...", True, 1800.0, 600.0, 1, "NVIDIA H100 80GB HBM3", 1)`.
    """

    config_sha256: str
    finished: bool
    seconds: float
    cpu_seconds: float  # of its threads and of the processes that it started
    gpus: int
    device: str  # the GPU's name, or "cpu"
    ranks: int  # processes of the run


@dataclass(frozen=True)
class Hours:
    """`gpu`: wall-clock hours times GPUs held; `cpu`: hours of CPU time; `device`: on what."""

    wall: float
    gpu: float
    cpu: float
    device: str


def place(root: Path, seed: int | None, name: str) -> Path:
    """The folder of a stage's lines: `name` is that of its log, "round-2/guided-npo"; no seed: of `prepare` and the like."""
    head, _, stage = name.rpartition("/")
    return root / "benchmarks" / (f"seed-{seed}" if seed is not None else "") / head / "spent" / stage


@contextmanager
def recorded(folder: Path, config_sha256: str, engine_gpus: int) -> Iterator[None]:
    """Write this process's line when the block ends. `engine_gpus`: over how many GPUs one engine is spread."""
    began = time.perf_counter()

    def write(finished: bool) -> None:
        gpus, device = _gpus(engine_gpus)
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        attempt = Attempt(config_sha256, finished, time.perf_counter() - began, _cpu_seconds(), gpus, device, ranks)
        with suppress(OSError, StorageError):  # a disk that refuses: the stage says so itself, or has finished
            _append(folder / f"rank-{os.environ.get('RANK', '0')}.jsonl", attempt)

    try:
        yield
    except Interrupted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends: that of a launcher, whose other rank was faster, must not come between
        write(finished=False)
        raise
    write(finished=True)


def read_hours(folder: Path) -> Hours | None:
    """Of a stage's finished run, over all its processes and attempts; None where that is not on record, in part or at all."""
    first = _attempts(folder / "rank-0.jsonl")
    if not first or not first[-1].finished:
        return None
    ranks = [first, *(_attempts(folder / f"rank-{rank}.jsonl") for rank in range(1, first[-1].ranks))]
    if any(not attempts or attempts[-1].config_sha256 != first[-1].config_sha256 for attempts in ranks):
        return None
    every = [attempt for attempts in ranks for attempt in attempts]
    gpu, cpu = sum(one.seconds * one.gpus for one in every), sum(one.cpu_seconds for one in every)
    return Hours(sum(one.seconds for one in first) / 3600, gpu / 3600, cpu / 3600, first[-1].device)


def _append(path: Path, attempt: Attempt) -> None:
    """Behind the attempts that this one went on from; where it finished, only those stay."""
    known = _attempts(path)
    last = max((i for i, one in enumerate(known) if one.finished or one.config_sha256 != attempt.config_sha256), default=-1)
    kept = [*(known[last + 1 :] if attempt.finished else known), attempt]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(asdict(one)) + "\n" for one in kept))


def _attempts(path: Path) -> list[Attempt]:
    """[] where there is no such file, or one that is damaged."""
    try:
        return [_attempt(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _attempt(values: dict[str, Any]) -> Attempt:
    kinds = {"config_sha256": str, "finished": bool, "seconds": float, "cpu_seconds": float, "gpus": int, "device": str, "ranks": int}
    if wrong := [name for name, kind in kinds.items() if type(values[name]) is not kind]:
        raise ValueError(wrong[0])
    return Attempt(**{name: values[name] for name in kinds})


def _cpu_seconds() -> float:
    """Of this process and of those of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _gpus(engine_gpus: int) -> tuple[int, str]:
    """How many this process held, and their name; a stage that never touched one held none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0, CPU
    return max(1, engine_gpus), str(torch.cuda.get_device_name())
