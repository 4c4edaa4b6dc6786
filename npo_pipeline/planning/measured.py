"""This machine's speeds: `prepare` and a few steps of the probe, run as they are in a folder that is thrown away, and kept on record.

    ~/.cache/npo-pipeline/speeds/<machine>-<shape>.json

The shape is all that the two stages' configurations say, and the device; the machine is its name, and its GPU's. A sampled token and an
updated one are timed by the trainer itself (timings.jsonl), apart from starting and saving.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.compose import stage_configs, to_yaml
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.planning.speeds import Speed, Speeds
from npo_pipeline.shown import one_line
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.home import cache_folder
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import sha256_text
from npo_pipeline.storage.spent import Hours, place, read_hours

WARM_UP = 1  # steps that are not timed: kernels are chosen and memory is taken in them


@dataclass(frozen=True)
class Timing:
    """What was measured: seconds of wall clock and of CPU per sampled token, of sampling and of updating; seconds that `prepare` took."""

    host: str
    device: str
    ranks: int
    steps: int
    response_tokens: float  # mean length of the responses
    sample: float
    update: float
    cpu_sample: float
    cpu_update: float
    prepare: float
    cpu_prepare: float


def known_speeds(root: RootConfig, device: str) -> Speeds | None:
    """What was measured for this shape on this machine, if anything was."""
    try:
        values = json.loads(_record(root, device).read_text(encoding="utf-8"))
        return _speeds(Timing(**values))
    except (ConfigError, OSError, ValueError, TypeError):  # stages that do not resolve are said when they are run
        return None


def measure(root: RootConfig, device: str, steps: int) -> Speeds:
    """Run, time, keep on record. Raises ConfigError with the cause where a stage ends badly."""
    if root.trainer.nodes > 1:
        raise ConfigError(f"--measure: trainer.nodes={root.trainer.nodes}, expected 1: measure one node with trainer.nodes=1")
    with tempfile.TemporaryDirectory(prefix="npo-measure-") as folder:
        layout = Layout(Path(folder), root.seeds[0])
        for stage, text in _configs(root, WARM_UP + steps).items():
            write_text(layout.root / "config" / f"{stage}.yaml", text)
        print(f"measuring in {folder}: prepare, then {WARM_UP + steps} steps of the probe", file=sys.stderr)
        _run(layout, "prepare", ["--device", device])
        _run(layout, "probe", ["--device", device, "--nproc", str(root.trainer.nproc), *_recompute(root)])
        timing = _timing(layout, root.trainer.nproc, steps)
    write_text(_record(root, device), json.dumps(asdict(timing), indent=1) + "\n")
    return _speeds(timing)


def _configs(root: RootConfig, steps: int) -> dict[str, str]:
    """Of the two stages; the probe cut to so many steps, with one checkpoint at the end."""
    stages = stage_configs(root)
    return {"prepare": to_yaml(stages["prepare"]), "probe": to_yaml(stages["probe"] | {"steps": steps, "checkpoint_every": steps})}


def _recompute(root: RootConfig) -> Sequence[str]:
    return ["--recompute-activations"] if root.trainer.recompute_activations else []


def _run(layout: Layout, stage: str, options: Sequence[str]) -> None:
    config = layout.root / "config" / f"{stage}.yaml"
    words = ["-m", f"npo_pipeline.stages.{stage}", "--config", str(config), "--seed", str(layout.seed), *options]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["without a word"]
        raise ConfigError(f"--measure: the stage {stage} ended with exit code {done.returncode}: {one_line(said[-1])}")


def _timing(layout: Layout, ranks: int, steps: int) -> Timing:
    from npo_pipeline.storage.run_files import METRICS, TIMINGS, read_jsonl  # pyarrow: a plan without --measure needs none of it

    timings, metrics = (read_jsonl(layout.probe / name)[WARM_UP:] for name in (TIMINGS, METRICS))
    tokens = sum(row["completions/tokens"] for row in metrics)
    spent = [read_hours(place(layout.root, seed, stage)) for seed, stage in ((None, "prepare"), (layout.seed, "probe"))]
    prepare, probe = (hours or Hours(0.0, 0.0, 0.0, "cpu") for hours in spent)

    def each(name: str) -> float:
        return float(sum(row[name] for row in timings) / tokens)

    return Timing(
        host=socket.gethostname(),
        device=probe.device,
        ranks=ranks,
        steps=steps,
        response_tokens=sum(row["completions/mean_length"] for row in metrics) / len(metrics),
        sample=each("seconds/sample"),
        update=each("seconds/update"),
        cpu_sample=ranks * each("cpu_seconds/sample"),
        cpu_update=ranks * each("cpu_seconds/update"),
        prepare=prepare.wall * 3600,
        cpu_prepare=prepare.cpu * 3600,
    )


def _speeds(timing: Timing) -> Speeds:
    on_gpu, ranks = timing.device != "cpu", timing.ranks
    sample, update = ranks * timing.sample, ranks * timing.update  # of one process
    paid = (sample, update) if on_gpu else (timing.cpu_sample, timing.cpu_update)
    return Speeds(
        _said(timing),
        "GPU-hours" if on_gpu else "CPU-hours",
        Speed(1 / sample, 1 / paid[0]),
        Speed(1 / update, 1 / paid[1]),
        ranks,
        (timing.prepare / 3600, (timing.prepare if on_gpu else timing.cpu_prepare) / 3600),
        timing.response_tokens,
    )


def _said(timing: Timing) -> tuple[str, ...]:
    where = f"{timing.host} ({timing.device}, {timing.ranks} process{'es' if timing.ranks > 1 else ''})"
    sampled, updated = (f"{1 / seconds:,.0f} tokens/s" for seconds in (timing.sample, timing.update))
    return (
        f"Hours are MEASURED on {where}: prepare, and {timing.steps} steps at the start of the probe, {sampled} sampled and",
        f"{updated} updated, {timing.response_tokens:.1f} tokens per response. ASSUMED: that lengths and speeds stay so, and what follows.",
    )


def _record(root: RootConfig, device: str) -> Path:
    """By the machine and the shape: a plan of another experiment, or on another machine that shares the home, finds nothing."""
    shape: dict[str, Any] = _configs(root, 0) | {"device": device, "ranks": root.trainer.nproc, "recompute": _recompute(root)}
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    digest = sha256_text(json.dumps([shape, threads, _gpus()], sort_keys=True))
    return cache_folder() / "speeds" / f"{socket.gethostname()}-{digest[:16]}.json"


def _gpus() -> list[str]:
    """Of this machine, as the driver names their kinds; [] without any."""
    found = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [line for file in found for line in file.read_text().splitlines() if line.startswith("Model:")]
