"""Reads what a report needs from `results/<experiment>`. Everything that is missing or damaged is an ArtifactError that names the fix."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from npo_pipeline.analysis.methods import needs
from npo_pipeline.analysis.results import Evaluation, Results, Run, SeedResults
from npo_pipeline.configuration.stages import ReportStage
from npo_pipeline.errors import ArtifactError, DataError
from npo_pipeline.guidance.schedule import Schedule, Window, parse_schedule
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.evaluations import SCHEMA
from npo_pipeline.storage.layout import Layout, averaged
from npo_pipeline.storage.manifest import NAME
from npo_pipeline.storage.parquet import GUIDE_SHARD, SIGNAL, read_problems, read_table
from npo_pipeline.storage.run_files import INTERVENTIONS, METRICS, TIMINGS, damaged_timings, read_jsonl

METRIC_KEYS = ("step", "reward/mean", "accuracy", "entropy", "groups/all_wrong", "guide/injected", "guide/step")
EVALUATION_KEYS = ("samples", "ks", "temperature", "bootstrap", "correct")
SAMPLE_COLUMNS = ("problem_id", "sample_index", "response_text", "verified", "finish_reason")

log = logging.getLogger(__name__)


def load_results(stage: ReportStage, layout: Layout) -> Results:
    """Read every seed of the experiment. Raises ArtifactError naming the first file that is missing or damaged, and the fix."""
    problems = read_problems(existing(replace(layout, seed=stage.seeds[0]).problems, "prepare"))
    return Results(
        name=stage.name,
        methods=tuple(stage.methods),
        seeds=tuple(_load_seed(replace(layout, seed=seed), stage.methods, bool(stage.averaged)) for seed in stage.seeds),
        problems={problem.problem_id: problem for problem in problems},
        configs=_load_configs(layout.root / "config", stage.methods),
        with_averages=bool(stage.averaged),
        initial_policies=len({replace(layout, seed=seed).cold_start for seed in stage.seeds}),
    )


def _load_seed(layout: Layout, methods: Sequence[str], with_averages: bool) -> SeedResults:
    runs = {"probe": load_run(layout, "probe")} | {name: load_run(layout, name) for name in methods}
    averages = map(averaged, runs) if with_averages else ()
    evaluations = {name: load_evaluation(layout, name) for name in ("initial", *runs, *averages)}
    return SeedResults(layout.seed, runs, evaluations, tuple(_load_signal(layout, methods)))


def _load_signal(layout: Layout, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Nothing where no method learns from guides: what lies there then may be of another probe."""
    needed = any(_learns_from_guides(layout.root / "config" / f"guided-{name}.yaml") for name in methods)
    return read_table(existing(layout.signal, "guide"), SIGNAL).to_pylist() if needed else []


def _learns_from_guides(config: Path) -> bool:
    """By the resolved configuration of a guided run: of a scheduled method it holds no method. Unknown counts as yes."""
    method = yaml.safe_load(config.read_text(encoding="utf-8")).get("method") if config.is_file() else None
    return method is None or "guides" in needs(config.stem.removeprefix("guided-"), method)


def load_run(layout: Layout, name: str) -> Run:
    """Metrics, timings (where kept), and what a guided run was guided by. Raises ArtifactError."""
    run = load_steps(layout, name)
    return run if name == "probe" else replace(run, schedule=_load_guidance(layout, name))


def _load_guidance(layout: Layout, name: str) -> Schedule | None:
    """The schedule of a planned method; of one that decides live the windows of its decisions; None of one without windows."""
    if (layout.root / "config" / f"plan-{name}.yaml").is_file() or layout.schedule(name).is_file():
        return load_schedule(layout.schedule(name))
    path = layout.method(name) / INTERVENTIONS
    if not path.is_file():
        return None
    decisions = read_jsonl(path)
    try:
        places = [(row["from_step"], row["to_step"], row["guide_step"], row["reason"]) for row in decisions if row["chosen"] is not None]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not the decisions of a run ({error}). Delete {path.parent / NAME} and run its stage again.") from None
    return Schedule(name, [Window(a, b, guide, math.nan, False, reason) for a, b, guide, reason in places], decisions)


def load_steps(layout: Layout, name: str) -> Run:
    """Metrics and timings (where kept and whole) of a run, whatever guided it. Raises ArtifactError."""
    folder = layout.run(name)
    metrics = _read_steps(existing(folder / METRICS, "probe" if name == "probe" else "guided"), METRIC_KEYS)
    if reason := damaged_timings(folder):
        log.warning("%s", reason)
        return Run(metrics)
    return Run(metrics, _read_steps(folder / TIMINGS, ("step",)) if (folder / TIMINGS).is_file() else ())


def _read_steps(path: Path, required: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """One object per line, each with the `required` keys, sorted by step. Raises ArtifactError naming file and line."""
    fix = f"Delete {path.parent / NAME} and run its stage again."
    rows = read_jsonl(path)
    for number, row in enumerate(rows, 1):
        missing = [key for key in required if not isinstance(row, dict) or key not in row]
        if missing:
            raise ArtifactError(f"{path}: line {number} has no {missing[0]!r}, expected {', '.join(required)}. {fix}")
    if not rows:
        raise ArtifactError(f"{path}: empty, expected one JSON object per step. {fix}")
    if wrong := [number for number, row in enumerate(rows, 1) if type(row["step"]) is not int]:
        raise ArtifactError(f"{path}: line {wrong[0]} has step {short_repr(rows[wrong[0] - 1]['step'])}, expected a whole number. {fix}")
    return tuple(sorted(rows, key=lambda row: row["step"]))


def load_schedule(path: Path) -> Schedule:
    """Read what a run was guided by: whether it fits the run was the guided stage's question. Raises ArtifactError."""
    try:
        return parse_schedule(existing(path, "plan"))
    except DataError as error:
        raise ArtifactError(f"{error} The report shows what a run was guided by.") from None


def load_evaluation(layout: Layout, policy: str) -> Evaluation:
    """Counts and samples of one policy. Raises ArtifactError."""
    counts = load_counts(layout, policy)
    try:
        table = read_table(existing(layout.evaluation_samples(policy), "evaluate"), GUIDE_SHARD).select(list(SAMPLE_COLUMNS))
    except ArtifactError as error:
        raise ArtifactError(f"{error} Delete {layout.evaluation(policy)} too: snakemake then evaluates again.") from error
    return replace(counts, trajectories=tuple(table.to_pylist()))


def load_counts(layout: Layout, policy: str) -> Evaluation:
    """How many responses to each held-out problem were right. Raises ArtifactError."""
    path = existing(layout.evaluation(policy), "evaluate")
    fix = f"Delete {path} and run `evaluate` again."
    try:
        content = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not JSON ({error}). {fix}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise ArtifactError(f"{path}: schema {found!r}, this code reads {SCHEMA}. {fix}")
    if missing := [key for key in EVALUATION_KEYS if key not in content]:
        raise ArtifactError(f"{path}: no {missing[0]!r}, expected {', '.join(EVALUATION_KEYS)}. {fix}")
    try:
        return _evaluation(content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtifactError(
            f"{path}: a value of another kind than expected ({type(error).__name__}: {one_line(str(error))}). {fix}"
        ) from error


def _evaluation(content: Mapping[str, Any]) -> Evaluation:
    bootstrap = content["bootstrap"]
    return Evaluation(
        samples=int(content["samples"]),
        ks=tuple(map(int, content["ks"])),
        temperature=float(content["temperature"]),
        resamples=int(bootstrap["resamples"]),
        confidence=float(bootstrap["confidence"]),
        bootstrap_seed=int(bootstrap["seed"]),
        correct=_counts(content["correct"]),
        benchmarks={name: _counts(found["correct"]) for name, found in content.get("benchmarks", {}).items()},
    )


def _counts(found: Mapping[str, Any]) -> dict[str, int]:
    return {problem_id: int(count) for problem_id, count in found.items()}


def _load_configs(folder: Path, methods: Sequence[str]) -> dict[str, str]:
    """The resolved configuration of each stage that belongs to this report: the folder may hold methods of earlier ones."""
    stages = ["prepare", "probe", "guide"]
    stages += [f"{stage}-{method}" for method in methods for stage in ("plan", "guided")]
    paths = [folder / f"{stage}.yaml" for stage in (*stages, "average", "evaluate", "report")]
    return {path.name: _read_text(path) for path in paths if path.is_file()}


def existing(path: Path, stage: str) -> Path:
    if not path.is_file():
        raise ArtifactError(f"{path}: not found, expected from the stage `{stage}`. Run that stage first: snakemake makes what is missing.")
    return path


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read as UTF-8 text ({error}). Delete it and run its stage again.") from error
