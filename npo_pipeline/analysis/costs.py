"""What a method cost: sampled tokens and seconds of its own run and of everything that it needs, per seed."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from npo_pipeline.analysis.methods import INITIAL, needs
from npo_pipeline.analysis.results import GRPO, Run
from npo_pipeline.analysis.series import Floats, first_step, step_tokens, until
from npo_pipeline.analysis.summary import run_tokens, total
from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.guides import verify_guide
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import NAME, read_manifest, verify
from npo_pipeline.storage.parquet import read_table
from npo_pipeline.storage.spent import Hours, place, read_hours

RESPONSES = pa.schema([("response_token_ids", pa.list_(pa.int32()))])


@dataclass(frozen=True)
class Spend:
    """`tokens` sampled and `seconds` of wall-clock time of the job; None where it was not logged, and then no sum is known either.

    Hours are those of whole processes, loading and saving too (npo_pipeline.storage.spent): on GPUs held, and of CPU time.
    """

    tokens: float | None
    seconds: float | None
    gpu_hours: float | None = None
    cpu_hours: float | None = None

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(*(_sum(a, b) for a, b in zip(astuple(self), astuple(other), strict=True)))


NOTHING = Spend(0, 0, 0, 0)


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


@dataclass(frozen=True)
class Cost:
    """Of one policy and seed: `before` is what was spent on the probe, guides or demonstrations that it needs."""

    own: Spend
    before: Spend

    @property
    def total(self) -> Spend:
        return self.own + self.before


def seed_costs(layout: Layout, runs: Mapping[str, Run], configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Cost]:
    """The cost of every policy of a seed. `configs` holds the part `method` of each resolved configuration. Raises ArtifactError."""
    wanted = {name: needs(name, configs.get(name, {})) for name in runs}
    guides = guide_spend(layout) if any("guides" in found for found in wanted.values()) else NOTHING
    adopted = adopted_spend(layout)
    probe = adopted or with_hours(run_spend(runs[GRPO]), run_hours(layout, GRPO))

    def before(name: str) -> Spend:
        first = first_step(runs[name])
        begins = bool(first) and "probe" not in wanted[name]  # with a checkpoint of the probe
        start = (adopted or run_spend(until(runs[GRPO], first))) if begins else NOTHING
        parts: dict[str, Spend] = {"probe": probe, "guides": guides}
        if "demonstrations" in wanted[name]:
            parts["demonstrations"] = demonstration_spend(layout, name)
        return sum((parts[need] for need in sorted(wanted[name])), start)

    own = {name: with_hours(run_spend(run), run_hours(layout, name)) for name, run in runs.items()}
    return {INITIAL: Cost(NOTHING, NOTHING)} | {name: Cost(own[name], before(name)) for name in runs}


def with_hours(spend: Spend, hours: Hours | None) -> Spend:
    return replace(spend, gpu_hours=hours.gpu, cpu_hours=hours.cpu) if hours else spend


def run_hours(layout: Layout, run: str) -> Hours | None:
    """Of the run's stage: "probe", "npo" or "round-2/npo"; None where they are not on record."""
    head, slash, name = run.rpartition("/")
    return read_hours(place(layout.root, layout.seed, "probe" if run == GRPO else f"{head}{slash}guided-{name}"))


def cumulative_tokens(run: Run) -> Floats | None:
    """Tokens that the run had sampled when each step's reward was known; None where they were not logged."""
    found = [step_tokens(row) for row in run.metrics]
    return None if None in found else np.cumsum(np.array(found, dtype=np.float64))


def run_spend(run: Run) -> Spend:
    return Spend(run_tokens(run), total(run.timings, "seconds"))


def adopted_spend(layout: Layout) -> Spend | None:
    """Of a run that was made elsewhere, and is there: what sampling its checkpoints took; None of a probe that was trained here."""
    made = read_manifest(layout.probe) if (layout.probe / NAME).is_file() else {}
    if not made.get("adopted"):
        return None
    job = benchmarks(layout) / "adopt.tsv"
    spend = Spend(made["sampled_tokens"], benchmark_seconds(job) if job.is_file() else None)
    return with_hours(spend, read_hours(place(layout.root, layout.seed, "adopt")))


def guide_spend(layout: Layout) -> Spend:
    """All trajectories of all guide checkpoints, verified or not, and the seconds of the jobs that made them. Raises ArtifactError."""
    steps = verify_guide(layout.guide, layout.guide)["guide_steps"]
    files = [layout.guide_step(step) / name for step in steps for name in _shards(layout.guide, layout.guide_step(step))]
    return with_hours(Spend(response_tokens(files), guide_seconds(benchmarks(layout) / layout.round)), guide_hours(layout))


def guide_hours(layout: Layout) -> Hours | None:
    """Of all the jobs that were run last, and of the gathering; None where one of them is not on record."""
    folder = place(layout.root, layout.seed, f"{layout.round}/guide" if layout.round else "guide").parent
    alone = read_hours(folder / "guide")
    files = sorted(folder.glob("guide-*-of-*/rank-0.jsonl"), key=lambda file: file.stat().st_mtime)
    if not files:
        return alone
    jobs = files[-1].parent.name.split("-of-")[1]
    found = [read_hours(folder / f"guide-{job}-of-{jobs}") for job in range(int(jobs))] + [read_hours(folder / "guide-gather")]
    known = [hours for hours in found if hours]
    if len(known) < len(found):
        return alone
    return Hours(sum(h.wall for h in known), sum(h.gpu for h in known), sum(h.cpu for h in known), known[0].device)


def benchmarks(layout: Layout) -> Path:
    """Where Snakemake keeps the seconds of this seed's jobs."""
    return layout.root / "benchmarks" / f"seed-{layout.seed}"


def _shards(guide: Path, folder: Path) -> list[str]:
    return sorted(name for name in verify_guide(guide, folder)["files"] if name.startswith("trajectories-"))


def demonstration_spend(layout: Layout, method: str) -> Spend:
    """All trajectories of another policy that were made for one method, verified or not. Raises ArtifactError."""
    folder = layout.demonstrations(method)
    names = sorted(name for name in verify(folder)["files"] if name.startswith("trajectories-"))
    job = benchmarks(layout) / f"demonstrate-{method}.tsv"
    spend = Spend(response_tokens([folder / name for name in names]), benchmark_seconds(job) if job.is_file() else None)
    return with_hours(spend, read_hours(place(layout.root, layout.seed, f"demonstrate-{method}")))


def response_tokens(shards: Sequence[Path]) -> int:
    counts = [pc.sum(pc.list_value_length(read_table(path, RESPONSES)["response_token_ids"])).as_py() for path in shards]
    return sum(count or 0 for count in counts)  # the sum over no rows is null


def guide_seconds(folder: Path) -> float | None:
    """Seconds of the set of guide jobs that was written last (guide-0-of-2.tsv, guide-1-of-2.tsv); None where one is missing."""
    files = sorted(folder.glob("guide-*-of-*.tsv"), key=lambda file: file.stat().st_mtime)
    if not files:
        return None
    jobs = files[-1].stem.split("-of-")[1]
    names = [folder / f"guide-{job}-of-{jobs}.tsv" for job in range(int(jobs))]
    return sum(map(benchmark_seconds, names)) if all(file.is_file() for file in names) else None


def benchmark_seconds(path: Path) -> float:
    """Column `s` of Snakemake's benchmark file. Raises ArtifactError."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return float(next(csv.DictReader(stream, delimiter="\t"))["s"])
    except (StopIteration, KeyError, ValueError, TypeError):
        raise ArtifactError(
            f"{path}: not a benchmark of Snakemake, expected a column s with a number. Delete it: seconds stay blank."
        ) from None


def load_method(path: Path) -> Mapping[str, Any]:
    """The part `method` of a guided run's resolved configuration; empty where there is none. Raises ArtifactError."""
    if not path.is_file():
        return {}
    try:
        method = yaml.safe_load(path.read_text(encoding="utf-8"))["method"]
    except KeyError:
        return {}
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        message = " ".join(str(error).split())
        raise ArtifactError(f"{path}: not a stage's configuration ({message}). Run snakemake again: it writes it anew.") from None
    return method if isinstance(method, dict) else {}
