"""The checkpoints of a run on disk: now and then a full policy, in between deltas, and the way from one to another.

    checkpoints/step-000000/  a full policy, an ordinary Hugging Face directory, and checkpoint.json
    checkpoints/step-000005/  delta/delta.safetensors: from step-000000 to here (npo_pipeline.storage.deltas), and checkpoint.json
    checkpoints/step-000250/  both: so that patching goes on across a full one

checkpoint.json is the record: what the delta starts from, size and sha256 of each file, and the name of the weights to be restored.
Nothing here needs torch before a delta is read.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npo_pipeline.errors import ArtifactError
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.layout import STATE, checkpoint, step_name
from npo_pipeline.storage.manifest import NAME, check_inside, sha256_file, size_and_sha256

if TYPE_CHECKING:
    from npo_pipeline.storage.deltas import Weights

SCHEMA = 2  # 1 named weights by the sha256 of all their bytes (npo_pipeline.policy.identity.weights_sha256), 2 by their identity
SCHEMAS = (1, SCHEMA)  # that this code reads
RECORD = "checkpoint.json"
DELTA = "delta/delta.safetensors"  # in a folder of its own: readers of a full policy take every *.safetensors beside its config
PATCH_COST = 4.0  # what a byte of a delta costs over one of a full policy, when it is read, decoded and applied


@dataclass(frozen=True)
class Record:
    """What `checkpoint.json` says."""

    step: int
    previous: int | None  # the checkpoint that the delta starts from
    full: bool  # there is a whole policy
    dtype: str  # of the policy: "float32" or "bfloat16"
    weights_sha256: str  # names them, as SCHEMA says; 64 hex digits
    files: dict[str, dict[str, Any]]  # size and sha256 by path, without the record itself
    schema: int = SCHEMA

    @property
    def delta_size(self) -> int | None:
        return self.files[DELTA]["size"] if DELTA in self.files else None

    @property
    def full_size(self) -> int:
        return sum(entry["size"] for name, entry in self.files.items() if name != DELTA)


def write_record(partial: Path, step: int, previous: int | None, full: bool, dtype: str, weights_sha256: str) -> None:
    """Describe what `partial`, the folder of a checkpoint that is being written, holds."""
    files = {
        str(file.relative_to(partial)): {"size": file.stat().st_size, "sha256": sha256_file(file)}
        for file in sorted(partial.rglob("*"))
        if file.is_file()
    }
    values = {"schema": SCHEMA} | asdict(Record(step, previous, full, dtype, weights_sha256, files))
    (partial / RECORD).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def is_checkpoint(folder: str | Path) -> bool:
    return (Path(folder) / RECORD).is_file()


def read_record(folder: Path) -> Record:
    """Raises ArtifactError if the record is missing, damaged, or of another version of this code."""
    path = folder / RECORD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if (schema := values["schema"]) not in SCHEMAS:
            raise ArtifactError(f"{path}: schema {short_repr(schema)}, this code reads {' and '.join(map(str, SCHEMAS))}. {fix(folder)}")
        return _checked(Record(**values))
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}; a checkpoint has one. {fix(folder)}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged ({one_line(f'{type(error).__name__}: {error}')}). {fix(folder)}") from error


def _checked(record: Record) -> Record:
    """Raises one of the kinds above for a record whose values are not of their kinds."""
    steps = [record.step] if record.previous is None else [record.step, record.previous]
    kinds = (type(record.full) is bool, isinstance(record.dtype, str), isinstance(record.weights_sha256, str))
    if not all(type(step) is int and step >= 0 for step in steps) or not all(kinds):
        raise ValueError("a value of another kind than expected")
    for name, entry in record.files.items():
        check_inside(name)
        size_and_sha256(entry)
    return record


def read_records(run: Path) -> dict[int, Record]:
    """The records of all checkpoints of a run, by step, in their order. Raises ArtifactError, also where one lies in another's place."""
    records = [_own_record(folder) for folder in sorted((run / "checkpoints").glob("step-*"))]
    return {record.step: record for record in records}


def _own_record(folder: Path) -> Record:
    record = read_record(folder)
    if folder.name != step_name(record.step):
        raise ArtifactError(f"{folder / RECORD}: says step {record.step}, which is another folder's. {fix(folder)}")
    return record


def fix(folder: Path) -> str:
    """Of a finished run the manifest has to go; of one that is resumed the state, or it would meet the same damage again."""
    run = folder.parent.parent
    return f"Delete {run / STATE} and {run / NAME} and run snakemake again: it makes the run anew."


def check_file(folder: Path, record: Record, name: str) -> bytes:
    """The bytes of a checkpoint's file. Raises ArtifactError if they are not the recorded ones."""
    entry, path = record.files[name], folder / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}, though {RECORD} lists it. {fix(folder)}") from error
    if (len(content), found := hashlib.sha256(content).hexdigest()) != (entry["size"], entry["sha256"]):
        raise ArtifactError(
            f"{path}: damaged, {len(content)} bytes with sha256 {found[:12]}... where {RECORD} says "
            f"{entry['size']} and {entry['sha256'][:12]}.... {fix(folder)}"
        )
    return content


def route(run: Path, records: dict[int, Record], target: int, at: int | None = None) -> tuple[int, list[int]]:
    """Where to start, and the checkpoints whose deltas lead from there to `target`, the nearest first.

    The start is `at`, the checkpoint that is loaded already, or a full one, whichever costs less. Raises ArtifactError.
    """
    if target not in records:
        there = ", ".join(map(str, records)) or "none"
        raise ArtifactError(f"{checkpoint(run, target)}: not found; the checkpoints of this run are: {there}. Run its stage again.")
    starts = {step: float(record.full_size) for step, record in records.items() if record.full}
    if at is not None:
        starts[at] = 0.0
    ways = [(cost + passed[0], start, passed[1]) for start, cost in starts.items() if (passed := _deltas(records, start, target))]
    if not ways:
        raise ArtifactError(f"{checkpoint(run, target)}: no full checkpoint leads there, one in between is missing. Run its stage again.")
    _, start, deltas = min(ways, key=lambda way: way[0])
    return start, deltas


def _deltas(records: dict[int, Record], start: int, target: int) -> tuple[float, list[int]] | None:
    """Cost and steps of the deltas between two checkpoints; None where one of them is missing."""
    steps = [step for step in records if min(start, target) < step <= max(start, target)]
    before = [min(start, target), *steps]
    sizes = [records[step].delta_size if records[step].previous == before[i] else None for i, step in enumerate(steps)]
    if None in sizes:
        return None
    return PATCH_COST * sum(size for size in sizes if size), steps if start < target else steps[::-1]


def apply_delta(run: Path, record: Record, weights: "Weights") -> None:
    """Patch `weights` in place, over this checkpoint's delta in either direction. Raises ArtifactError if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from npo_pipeline.storage.patching import patch

    folder = checkpoint(run, record.step)
    content = check_file(folder, record, DELTA)
    try:
        tensors = load(content)  # first: it checks the header, which is JSON then
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        patch(weights, tensors, header["__metadata__"])
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise ArtifactError(f"{folder / DELTA}: does not fit these weights ({one_line(str(error))}). {fix(folder)}") from error


def whole_until(run: Path, steps: Iterable[int]) -> int:
    """The first of these checkpoints, in their order, that is missing or damaged: a run can be resumed there, and not later."""
    step = 0
    for step in sorted(steps):
        folder = checkpoint(run, step)
        try:
            record = _own_record(folder)
            for name in record.files:
                check_file(folder, record, name)
        except ArtifactError:
            break
    return step
