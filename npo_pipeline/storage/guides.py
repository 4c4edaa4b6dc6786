"""Guide shards on disk, and what the guide stage reads of the probe's roll-outs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from npo_pipeline.errors import ArtifactError
from npo_pipeline.records import Group, Outcome, Problem, Slot, Trajectory
from npo_pipeline.shown import one_line
from npo_pipeline.storage.layout import rollouts
from npo_pipeline.storage.manifest import NAME, Manifest, verify
from npo_pipeline.storage.parquet import GUIDE_SHARD, ROLLOUT, SCORES, read_rows, row_trajectory, whole_rows, write_table

SCORES_FILE = "scores.parquet"
OUTCOME = pa.schema([("step", pa.int32()), ("problem_id", pa.string()), ("group_accuracy", pa.float32())])


def write_shards(folder: Path, rows: Sequence[dict[str, Any]], shard_rows: int, config_sha256: str, facts: dict[str, Any]) -> list[Path]:
    """Write `trajectories-00000-of-00004.parquet` and so on; at least one file, even without rows."""
    count = max(1, -(-len(rows) // shard_rows))
    return [
        write_table(
            folder / f"trajectories-{i:05d}-of-{count:05d}.parquet",
            rows[i * shard_rows : (i + 1) * shard_rows],
            GUIDE_SHARD,
            config_sha256,
            facts,
        )
        for i in range(count)
    ]


def write_scores(folder: Path, rows: Sequence[dict[str, Any]], config_sha256: str) -> Path:
    """The verified trajectories' log-probs under each current policy that they may guide."""
    return write_table(folder / SCORES_FILE, rows, SCORES, config_sha256)


def verify_guide(guide: Path, folder: Path) -> Manifest:
    """Verify the guide stage's folder, or one of the guide checkpoints in it. Raises ArtifactError."""
    fix = f"Delete {guide / 'jobs'} and {guide / NAME}, then run snakemake again: whole guide checkpoints are kept."
    return verify(folder, fix=fix)


def read_shards(folder: Path, prepare: Path = Path()) -> list[tuple[Trajectory, str]]:
    """All trajectories of a guide checkpoint, or of a method's demonstrations, each with the sha256 of the prompt it answers.

    `prepare` is the folder that images lie in, for who opens them.
    Raises ArtifactError if the manifest or one of its files is missing or damaged.
    """
    manifest = verify_guide(folder.parent, folder) if folder.name.startswith("step-") else verify(folder)
    names = sorted(name for name in manifest["files"] if name.startswith("trajectories-"))
    with whole_rows(folder):
        return [(row_trajectory(row, prepare), row["prompt_sha256"]) for name in names for row in read_rows(folder / name, GUIDE_SHARD)]


def read_groups(run: Path, step: int, problems: Mapping[str, Problem]) -> list[Group]:
    """The groups of a step as they were trained on. Raises ArtifactError."""
    slots: dict[str, list[Slot]] = {}
    accuracy: dict[str, float] = {}
    for row in read_rows(rollouts(run, step), ROLLOUT):
        trajectory = replace(row_trajectory(row), images=problems[row["problem_id"]].images)
        slots.setdefault(row["problem_id"], []).append(Slot(trajectory, row["source"], row["guide_step"]))
        accuracy[row["problem_id"]] = row["group_accuracy"]
    return [Group(problems[i], tuple(members), accuracy[i], accuracy[i]) for i, members in slots.items()]


def read_outcomes(run: Path, start: int, end: int) -> list[Outcome]:
    """Group accuracies of the steps [start, end) of a run. Only three columns are read. Raises ArtifactError."""
    outcomes: list[Outcome] = []
    for step in range(start, end):
        try:
            table = pq.read_table(rollouts(run, step), columns=OUTCOME.names)
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"{rollouts(run, step)}: not readable ({one_line(str(error))}); run the stage of {run} again") from error
        groups = dict(zip(table["problem_id"].to_pylist(), table["group_accuracy"].to_pylist(), strict=True))
        outcomes += [Outcome(step, problem_id, accuracy) for problem_id, accuracy in groups.items()]
    return outcomes
