"""Writes results of several seeds and all methods as the stages would leave them: report_results, and what only a comparison reads."""

import json
from dataclasses import replace
from pathlib import Path

import yaml
from report_results import SHA, Shape, write_results

from npo_pipeline.configuration.compose import VERSIONS
from npo_pipeline.configuration.stages import ComparisonStage
from npo_pipeline.records import Trajectory
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.guides import write_shards
from npo_pipeline.storage.layout import Layout, step_name
from npo_pipeline.storage.manifest import write_manifest
from npo_pipeline.storage.parquet import trajectory_row

METHODS = ("npo_early", "npo_late", "npo", "npo_rolling", "autonpo", "autonpo_online", "resample", "luffy", "exgrpo", "rlep", "grpo_long")
KINDS = {
    "npo_rolling": "rolling",
    "autonpo": "autonpo",
    "autonpo_online": "online",
    "resample": "resample",
    "luffy": "demonstrations",
    "exgrpo": "replay",
    "rlep": "demonstrations",
    "grpo_long": "none",
}
GUIDE_TOKENS = 2 * (3 + 2)  # per seed: two guide steps of two trajectories
DEMONSTRATION_TOKENS = 4


def comparison_of(shape: Shape, resamples: int = 400) -> ComparisonStage:
    averages = shape.averages or None
    return ComparisonStage(list(shape.seeds), list(shape.methods), resamples, 0.95, 7, VERSIONS["comparison"], "fixture", averages)


def write_comparison(root: Path, shape: Shape) -> Layout:
    """Everything that a comparison reads; its guides and demonstrations have the token counts above."""
    layout = write_results(root, shape)
    for name in shape.methods:
        policy = {"demonstrations": {"policy": "probe" if name == "rlep" else "teacher"}} if KINDS.get(name) == "demonstrations" else {}
        live = {"kind": KINDS[name], **policy} if KINDS.get(name) in ("online", "resample", "replay", "demonstrations", "none") else None
        write_text(root / "config" / f"guided-{name}.yaml", yaml.safe_dump({"version": 1, "method": live}))
    for seed in shape.seeds:
        write_costs(replace(layout, seed=seed), shape)
    return layout


def write_costs(layout: Layout, shape: Shape) -> None:
    steps = [1, 2]
    for step in steps:
        write_trajectories(layout.guide_step(step), [3, 2])
    files = [layout.signal, *(layout.guide / step_name(step) / "manifest.json" for step in steps)]
    write_manifest(layout.guide, "guide", SHA, files, {"guide_steps": steps})
    for job, seconds in (("guide-0-of-1", 45.5), ("demonstrate-luffy", 6.5)):
        write_text(layout.root / "benchmarks" / f"seed-{layout.seed}" / f"{job}.tsv", f"s\th:m:s\tcpu_time\n{seconds}\t-\t9.2\n")
    for name in {"luffy", "rlep"} & set(shape.methods):
        write_trajectories(layout.demonstrations(name), [DEMONSTRATION_TOKENS])
    if "grpo_long" in shape.methods:
        lengthen(layout.method("grpo_long") / "metrics.jsonl")
        write_manifest(layout.method("grpo_long"), "grpo_long", SHA, [layout.method("grpo_long") / "metrics.jsonl"])


def write_trajectories(folder: Path, lengths: list[int]) -> None:
    """One shard with a trajectory of each length."""
    rows = [
        trajectory_row(Trajectory(f"train-{i:06d}", i, (1,), (5,) * n, (-0.1,) * n, 1.0, True, "stop", "text"), 1, "prompt", SHA)
        for i, n in enumerate(lengths)
    ]
    write_manifest(folder, "guide", SHA, write_shards(folder, rows, len(rows), SHA, {}), {"guide_step": 1})


def lengthen(path: Path) -> None:
    """Twice as many steps, of which the later ones are like the last of the first half."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows += [rows[-1] | {"step": len(rows) + i} for i in range(len(rows))]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
