"""Writes a whole results folder as the stages would leave it, with the project's own writers: what the tests of the report read.

The numbers are a seeded random walk with the shape of a real run. Prompts and answers are hostile on purpose.
"""

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from npo_pipeline.analysis.statistics import summarise
from npo_pipeline.configuration.settings import ReportConfig
from npo_pipeline.configuration.stages import ReportStage
from npo_pipeline.records import FinishReason, Problem, Trajectory
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.evaluations import write_evaluation
from npo_pipeline.storage.layout import Layout, averaged
from npo_pipeline.storage.manifest import write_manifest
from npo_pipeline.storage.parquet import GUIDE_SHARD, PROBLEMS, SIGNAL, problem_row, trajectory_row, write_table

SHA = "0" * 64
HOSTILE = "</pre><script>window.pwned = 1; console.error('pwned')</script><img src=x onerror='window.pwned=2'> | $x_{1 {{ 7*7 }} \u202e"
SKILL = {"initial": 0.2, "probe": 0.45, "npo": 0.55, "autonpo": 0.45, "autonpo_online": 0.5, "luffy": 0.35}


@dataclass(frozen=True)
class Shape:
    """What a written experiment looks like."""

    seeds: tuple[int, ...] = (0, 1)
    methods: tuple[str, ...] = ("npo", "autonpo")  # autonpo never intervenes
    steps: int = 120
    problems: int = 48
    samples: int = 8
    difficulties: tuple[str, ...] = ("10", "4", "5", "7")
    with_tokens: bool = True
    averages: bool = False  # of every run too

    @property
    def policies(self) -> tuple[str, ...]:
        runs = ("probe", *self.methods)
        return ("initial", *runs, *(map(averaged, runs) if self.averages else ()))


def stage_of(shape: Shape) -> ReportStage:
    report = ReportConfig("Near-Future <b>Policy</b> Optimization", 4)
    return ReportStage(1, "fixture", list(shape.seeds), list(shape.methods), report, shape.averages or None)


def write_results(root: Path, shape: Shape = Shape()) -> Layout:
    """Write everything that a report reads below `root`; returns its layout."""
    problems = _problems(shape)
    problems_file = write_table(Layout(root).problems, [problem_row(problem) for problem in problems], PROBLEMS, SHA)
    write_manifest(Layout(root).prepare, "prepare", SHA, [problems_file])
    for name in ("prepare", "evaluate", *(f"plan-{method}" for method in shape.methods), "plan-of_an_earlier_report"):
        write_text(root / "config" / f"{name}.yaml", yaml.safe_dump({"version": 1, "note": HOSTILE}))
    for seed in shape.seeds:
        _write_seed(Layout(root, seed), shape, problems)
    return Layout(root)


def _problems(shape: Shape) -> list[Problem]:
    labels = shape.difficulties
    return [
        Problem(f"eval-{i:06d}", "eval", "q", f"<i>{i}</i> {HOSTILE}", labels[i % len(labels)], f"Sort {i}: {HOSTILE}", (1, 2))
        for i in range(shape.problems)
    ]


def _write_seed(layout: Layout, shape: Shape, problems: list[Problem]) -> None:
    for name in ("probe", *shape.methods):
        windows = [] if name in ("probe", "autonpo") else _windows(shape.steps)
        rows = _metrics(random.Random(f"{name} {layout.seed}"), shape, SKILL.get(name, 0.5), windows)
        write_text(layout.run(name) / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        write_manifest(layout.run(name), name, SHA, [layout.run(name) / "metrics.jsonl"], {"seed": layout.seed})
        write_text(layout.run(name) / "timings.jsonl", "".join(json.dumps({"step": row["step"], "seconds": 2.5}) + "\n" for row in rows))
        if name != "probe":
            write_text(layout.schedule(name), yaml.safe_dump(_schedule(name, windows, shape.steps), sort_keys=False))
    for name in shape.policies:
        _write_evaluation(layout, name, shape, problems)
    signal = write_table(layout.signal, _signal(random.Random(layout.seed), shape.steps), SIGNAL, SHA)
    write_manifest(layout.guide, "guide", SHA, [signal])


def _windows(steps: int) -> list[dict[str, Any]]:
    half = max(1, steps // 2)
    spans = [(0, half, half), (half, steps, steps)] if steps > 1 else [(0, 1, 1)]
    return [
        {"from_step": start, "to_step": end, "guide_step": guide, "gate": 0.6, "correction": False, "reason": f"manual {HOSTILE}"}
        for start, end, guide in spans
    ]


def _metrics(rng: random.Random, shape: Shape, skill: float, windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for step in range(shape.steps):
        progress = 1 - math.exp(-3 * step / shape.steps)
        reward = 0.2 + (skill - 0.2) * progress + rng.gauss(0, 0.025)
        guide = next((w["guide_step"] for w in windows if w["from_step"] <= step < w["to_step"]), None)
        row = {
            "step": step,
            "reward/mean": reward,
            "reward/std": 0.3,
            "accuracy": reward,
            "entropy": 0.5 - 0.3 * progress + rng.gauss(0, 0.01),
            "groups/all_wrong": max(0.0, 0.6 - skill * progress + rng.gauss(0, 0.04)),
            "groups/all_right": 0.1,
            "guide/injected": 0 if guide is None else max(0, round(14 - 10 * progress + rng.gauss(0, 2))),
            "guide/step": guide,
            "guide/problem_ids": [],
            "logprob_gap/mean": None,
        }
        rows.append(row | ({"completions/tokens": 4000 + step} if shape.with_tokens else {}))
    return rows


def _schedule(name: str, windows: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    decision = {
        "step": steps // 2,
        "reward_ema": 0.4,
        "entropy_ema": 0.3,
        "warning": True,
        "confirmed": False,
        "coverage": 0.03,
        "candidates": [{"distance": 20, "current_step": 40, "guide_step": 60, "q": 0.2, "v": 1.1, "s": math.nan}],
        "chosen": None,
        "reason": "coverage 0.03 is below min_coverage 0.05",
    }
    why = "no intervention: the reward kept rising or the entropy did not decline"
    closing = {"step": steps, "warning": False, "confirmed": None, "candidates": [], "chosen": None, "reason": why}
    return {"schema": 1, "method": name, "windows": windows, "decisions": [decision, closing] if name == "autonpo" else []}


def _signal(rng: random.Random, steps: int) -> list[dict[str, Any]]:
    """A pool of one failed problem has no S (NaN), one without samples has no V (null): both happen early and late in real runs."""
    every = max(1, steps // 6)
    rows = []
    for guide in range(every, steps + 1, every):
        for current in range(max(0, guide - steps // 2), guide, max(1, every // 2)):
            distance = guide - current
            q = 0.6 * (1 - math.exp(-distance / 20)) + rng.gauss(0, 0.01)
            v: float | None = math.exp(distance / 60) + rng.gauss(0, 0.01)
            s = q / v if v else math.nan
            if rng.random() < 0.1:
                q, v, s = math.nan, None, math.nan
            rows.append(_signal_row(current, guide, q, v, s))
    return rows


def _signal_row(current: int, guide: int, q: float, v: float | None, s: float) -> dict[str, Any]:
    counts = {"n_failed": 40, "n_covered": 12, "n_samples": 80}
    return {"current_step": current, "guide_step": guide, "distance": guide - current, "q": q, "v": v, "s": s, "kl_token": 0.1, **counts}


def _write_evaluation(layout: Layout, name: str, shape: Shape, problems: list[Problem]) -> None:
    rng = random.Random(f"{name} {layout.seed} evaluation")
    trajectories = [_trajectory(problem, i, rng.random() < _chance(name, problem)) for problem in problems for i in range(shape.samples)]
    counts = {p.problem_id: sum(t.verified for t in trajectories if t.problem_id == p.problem_id) for p in problems}
    ks = sorted({1, min(4, shape.samples), shape.samples})
    statistics = summarise(counts, shape.samples, ks, {p.problem_id: p.difficulty for p in problems}, 500, 0.95, 1234)
    rows = [trajectory_row(trajectory, None, "prompt", SHA) for trajectory in trajectories]
    write_table(layout.evaluation_samples(name), rows, GUIDE_SHARD, SHA)
    write_evaluation(layout, name, {"policy_sha256": SHA, "config_sha256": SHA, "temperature": 1.0} | statistics)


def _chance(name: str, problem: Problem) -> float:
    hardness = float(problem.difficulty) / 10 if problem.difficulty.isdigit() else 0.5
    return min(0.98, max(0.02, SKILL.get(name, 0.5) + 0.35 - 0.6 * hardness))


def _trajectory(problem: Problem, index: int, verified: bool) -> Trajectory:
    text = f"answer {index} {HOSTILE}" if index % 2 else "['1', '2', '3', '10', '24']"
    finish: FinishReason = "stop" if verified else "length"
    return Trajectory(problem.problem_id, index, (1, 2), (3, 4), (-0.1, -0.2), float(verified), verified, finish, text)
