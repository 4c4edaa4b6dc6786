"""Parquet tables with their provenance: schema version, config hash and code version in the file's metadata."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from npo_pipeline import __version__
from npo_pipeline.errors import ArtifactError
from npo_pipeline.records import Image, Problem, Slot, Trajectory
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.atomic import write_file
from npo_pipeline.storage.manifest import check_inside, sha256_text

SCHEMA_VERSION = 2

# Reference and hash: the files themselves lie in prepare/images.
IMAGES = pa.list_(pa.struct([("path", pa.string()), ("sha256", pa.string()), ("width", pa.int32()), ("height", pa.int32())]))

PROBLEMS = pa.schema(
    [
        ("problem_id", pa.string()),
        ("split", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("difficulty", pa.string()),
        ("prompt", pa.string()),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("metadata", pa.string()),  # JSON
        ("images", IMAGES),
    ]
)

_TRAJECTORY = [
    ("problem_id", pa.string()),
    ("guide_step", pa.int32()),
    ("sample_index", pa.int32()),
    ("prompt_token_ids", pa.list_(pa.int32())),
    ("response_token_ids", pa.list_(pa.int32())),
    ("guide_logprobs", pa.list_(pa.float32())),
    ("reward", pa.float32()),
    ("verified", pa.bool_()),
    ("finish_reason", pa.string()),
    ("response_text", pa.string()),
    ("prompt_sha256", pa.string()),
    ("policy_sha256", pa.string()),
    ("images", IMAGES),
]

GUIDE_SHARD = pa.schema(_TRAJECTORY)

# Roll-outs have the columns of a guide shard; `guide_logprobs` are the log-probs of whoever sampled the row (the policy
# itself for on_policy rows), `trainer_logprobs` those that the trainer computed for the same tokens before its update; null in rows
# that dynamic sampling left out of the batch.
ROLLOUT = pa.schema(
    [
        *_TRAJECTORY,
        ("step", pa.int32()),
        ("slot", pa.int32()),
        ("source", pa.string()),
        ("advantage", pa.float32()),
        ("group_accuracy", pa.float32()),
        ("trainer_logprobs", pa.list_(pa.float32())),
    ]
)

SCORES = pa.schema(
    [
        ("problem_id", pa.string()),
        ("current_step", pa.int32()),
        ("guide_step", pa.int32()),
        ("sample_index", pa.int32()),
        ("current_logprobs", pa.list_(pa.float32())),
    ]
)

SIGNAL = pa.schema(
    [
        ("current_step", pa.int32()),
        ("guide_step", pa.int32()),
        ("distance", pa.int32()),
        ("n_failed", pa.int32()),
        ("n_covered", pa.int32()),
        ("q", pa.float64()),
        ("kl_token", pa.float64()),
        ("chi2_token", pa.float64()),
        ("ess", pa.float64()),
        ("v", pa.float64()),
        ("s", pa.float64()),
        ("n_samples", pa.int32()),  # trajectories sampled for the prompts of this current step, verified or not
        ("n_pool", pa.int32()),  # prompts failed or half-failed (accuracy <= gate): what was sampled for
        ("n_scored", pa.int32()),  # verified trajectories behind kl_token, chi2_token and ess
        ("v_se", pa.float64()),  # standard errors, over prompts
        ("s_se", pa.float64()),
    ]
)
CAME_LATER = ("v_se", "s_se")  # null in what was written before


MEASURED = pa.schema(
    [
        ("current_step", pa.int32()),
        ("guide_step", pa.int32()),
        ("distance", pa.int32()),
        ("n_failed", pa.int32()),  # problems that pi_t's group failed entirely
        ("n_covered", pa.int32()),  # of these, solved by the guide
        ("q", pa.float64()),
        ("q_low", pa.float64()),
        ("q_high", pa.float64()),
        ("n_pool", pa.int32()),  # problems tried
        ("n_problems", pa.int32()),  # of these, solved by the guide: what every V is measured on
        ("n_varied", pa.int32()),  # of these, with different verified trajectories
        ("n_own", pa.int32()),  # of these, solved by pi_t itself: what v_slot is measured on
        ("kl_token", pa.float64()),
        ("chi2_token", pa.float64()),
        ("ess", pa.float64()),
        *[(f"v_{name}{end}", pa.float64()) for name in ("measured", "importance", "clipped", "slot") for end in ("", "_low", "_high")],
        ("v_exp_kl", pa.float64()),
        ("v_chi2", pa.float64()),
        ("v_ess", pa.float64()),
        *[(f"s_{name}", pa.float64()) for name in ("measured", "importance", "clipped", "slot", "exp_kl", "chi2", "ess")],
        ("noise_on_policy", pa.float64()),  # variance over |mean|^2; null where the mean cannot be told from 0
        ("noise_mixed", pa.float64()),
        ("noise_importance", pa.float64()),
    ]
)


def write_table(
    path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema, config_sha256: str, facts: dict[str, Any] | None = None
) -> Path:
    """Write rows (one dict each) as a Parquet file, atomically. Raises StorageError if the disk refuses."""
    provenance = {"schema_version": SCHEMA_VERSION, "config_sha256": config_sha256, "code_version": __version__, **(facts or {})}
    metadata = {f"npo.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in provenance.items()}
    table = pa.Table.from_pylist(list(rows), schema=schema.with_metadata(metadata))
    write_file(path, lambda partial: _write_parquet(partial, table))
    return path


def _write_parquet(path: Path, table: pa.Table) -> None:
    """A table without rows becomes a file without row groups: `datasets` cannot read an empty row group."""
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        if table.num_rows:
            writer.write_table(table)


def read_table(path: Path, schema: pa.Schema) -> pa.Table:
    """Read the schema's columns. Raises ArtifactError if the file is missing, damaged, or written in another schema version."""
    try:
        table = pq.read_table(path)
        version = json.loads((table.schema.metadata or {}).get(b"npo.schema_version", b"null"))
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        reason = one_line(str(error))
        raise ArtifactError(
            f"{path}: not a readable Parquet file ({reason}). Delete it with its manifest and run its stage again."
        ) from error
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path}: schema version {short_repr(version)}, this code reads {SCHEMA_VERSION}. Delete it and run its stage again."
        )
    for name in CAME_LATER:
        if name in schema.names and name not in table.column_names:
            table = table.append_column(schema.field(name), pa.nulls(table.num_rows, schema.field(name).type))
    if missing := [name for name in schema.names if name not in table.column_names]:
        raise ArtifactError(f"{path}: column {missing[0]!r} is missing. Delete the file and run its stage again.")
    if other := [field for field in schema if table.schema.field(field.name).type != field.type]:
        found = table.schema.field(other[0].name).type
        raise ArtifactError(
            f"{path}: column {other[0].name!r} is {found}, expected {other[0].type}. Delete the file and run its stage again."
        )
    return table.select(schema.names)


def read_rows(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    return read_table(path, schema).to_pylist()


def problem_row(problem: Problem) -> dict[str, Any]:
    return vars(problem) | {"metadata": json.dumps(problem.metadata, sort_keys=True), "images": _image_rows(problem.images)}


def read_problems(path: Path, split: str | None = None) -> list[Problem]:
    """The problems of `prepare/problems.parquet`, or those of one split; their images lie beside it. Raises ArtifactError."""
    with whole_rows(path):
        return [_problem(row, path.parent) for row in read_rows(path, PROBLEMS) if split in (None, row["split"])]


@contextmanager
def whole_rows(path: Path) -> Iterator[None]:
    """Raises ArtifactError naming the file for a row that lacks a value, or holds one that cannot be."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ArtifactError(f"{path}: a row is not as its stage writes it ({reason}). Delete the file and run its stage again.") from error


def _problem(row: dict[str, Any], folder: Path) -> Problem:
    read = {"prompt_token_ids": tuple(row["prompt_token_ids"]), "metadata": json.loads(row["metadata"])}
    return Problem(**row | read | {"images": _images(row, folder)})


def _image_rows(images: Sequence[Image]) -> list[dict[str, Any]]:
    return [{"path": image.path, "sha256": image.sha256, "width": image.width, "height": image.height} for image in images]


def _images(row: dict[str, Any], folder: Path) -> tuple[Image, ...]:
    for image in row["images"]:
        check_inside(image["path"])
    return tuple(Image(**image, folder=folder) for image in row["images"])


def prompt_digest(prompt: str, images: Sequence[Image]) -> str:
    """The identity of what was asked: sha256 of the prompt's text and of the hashes of its images, if it has any."""
    return sha256_text("\n".join([prompt, *(image.sha256 for image in images)]))


def trajectory_row(trajectory: Trajectory, guide_step: int | None, prompt: str, policy_sha256: str | None) -> dict[str, Any]:
    """A row of a guide shard. The prompt is hashed with its images, so that a shard can be matched to the problems it was made for."""
    row = {key: value for key, value in vars(trajectory).items() if key != "behaviour_logprobs"}
    return row | {
        "guide_step": guide_step,
        "guide_logprobs": trajectory.behaviour_logprobs,
        "prompt_sha256": prompt_digest(prompt, trajectory.images),
        "policy_sha256": policy_sha256,
        "images": _image_rows(trajectory.images),
    }


def row_trajectory(row: dict[str, Any], folder: Path = Path()) -> Trajectory:
    """The trajectory of a row of a shard or roll-out file; `folder` is the prepare folder that its images lie in."""
    names = ("problem_id", "sample_index", "reward", "verified", "finish_reason", "response_text")
    return Trajectory(
        **{name: row[name] for name in names},
        prompt_token_ids=tuple(row["prompt_token_ids"]),
        response_token_ids=tuple(row["response_token_ids"]),
        behaviour_logprobs=tuple(row["guide_logprobs"]),
        images=_images(row, folder),
    )


def rollout_row(slot: Slot, facts: dict[str, Any], prompt: str, policy_sha256: str | None) -> dict[str, Any]:
    """A row of a roll-out file; `facts` are its step, slot, advantage, group_accuracy and trainer_logprobs."""
    return trajectory_row(slot.trajectory, slot.guide_step, prompt, policy_sha256) | {"source": slot.source} | facts
