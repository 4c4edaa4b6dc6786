"""Manifests: what a finished stage left, with size and sha256 of each file.

A manifest is written last and atomically. A stage without a valid manifest has not happened.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from npo_pipeline import __version__
from npo_pipeline.errors import ArtifactError
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.atomic import write_text

SCHEMA = 2  # 1 had no sha256 of its own
NAME = "manifest.json"
OWN = "manifest_sha256"  # of all that the manifest says beside this


class Manifest(dict[str, Any]):
    """What a manifest says, with `files` by their path. Asking for a fact that it does not hold raises ArtifactError."""

    def __init__(self, path: Path, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise ArtifactError(
            f"{self.path}: holds no {key!r}, expected one from the stage that writes it. Delete it and run snakemake again."
        )


def sha256_file(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def write_manifest(folder: Path, stage: str, config_sha256: str, files: Iterable[Path], facts: dict[str, Any] | None = None) -> None:
    """List `files` (below `folder`) in `folder/manifest.json`. Holds no time of day: equal runs give equal manifests.

    Folders among them are passed over: a tokenizer with several chat templates saves them in one.
    """
    listed = sorted(file for file in files if not file.is_dir())
    entries = [{"path": str(file.relative_to(folder)), "size": file.stat().st_size, "sha256": sha256_file(file)} for file in listed]
    manifest = {
        "schema": SCHEMA,
        "stage": stage,
        "code_version": __version__,
        "config_sha256": config_sha256,
        **(facts or {}),
        "files": entries,
    }
    write_text(folder / NAME, json.dumps(manifest | {OWN: own_sha256(manifest, OWN)}, indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished stage. Raises ArtifactError if there is none or it cannot be read."""
    path = folder / NAME
    if not path.is_file():
        raise ArtifactError(
            f"{path}: not found, so the stage that writes {folder} has not finished. Run it first: snakemake makes what is missing."
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ArtifactError(
                f"{path}: schema {short_repr(values['schema'])}, this code reads schema {SCHEMA}. Delete {folder} and run snakemake again."
            )
        if (found := own_sha256(values, OWN)) != values[OWN]:
            raise ValueError(f"its content has sha256 {found[:12]}..., expected {short_repr(values[OWN])}")
        return Manifest(path, values | {"files": {entry["path"]: _entry(entry) for entry in values["files"]}})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ArtifactError(f"{path}: damaged ({reason}). Delete it and run snakemake again.") from error


def own_sha256(values: dict[str, Any], own: str) -> str:
    """sha256 of all that a JSON object says beside its key `own`."""
    as_read = json.loads(json.dumps({key: value for key, value in values.items() if key != own}))
    return sha256_text(json.dumps(as_read, sort_keys=True))


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    check_inside(entry["path"])
    return {"path": entry["path"]} | size_and_sha256(entry)


def size_and_sha256(entry: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError where one of them is no size or no sha256."""
    if type(entry["size"]) is not int or entry["size"] < 0 or not isinstance(entry["sha256"], str):
        raise ValueError(f"size {short_repr(entry['size'])}, sha256 {short_repr(entry['sha256'])}")
    return {"size": entry["size"], "sha256": entry["sha256"]}


def check_inside(name: Any) -> None:
    """Raises ValueError for a path that is not plainly below the folder it is relative to: what is listed is read."""
    if not isinstance(name, str) or not name.isprintable() or name.startswith("/") or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise ValueError(f"{short_repr(name)} is no path below this folder")


def verify(folder: Path, prefix: str = "", fix: str = "") -> Manifest:
    """Check that the files listed under `prefix` are there, with their size and sha256; return the manifest.

    Raises ArtifactError naming the first file that is missing or differs, and `fix`, where deleting the manifest is not enough.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest["files"].items():
        if name.startswith(prefix):
            check_entry(folder / name, entry, fix or f"Delete {folder / NAME} and run snakemake again: it makes this stage anew.")
    return manifest


def check_entry(path: Path, entry: dict[str, Any], fix: str) -> None:
    """Raises ArtifactError with `fix` if the file is not as a manifest's entry says."""
    if not path.is_file():
        raise ArtifactError(f"{path}: listed in the manifest but not found. {fix}")
    if (size := path.stat().st_size) != entry["size"]:
        raise ArtifactError(f"{path}: damaged, {size} bytes where the manifest says {entry['size']}. {fix}")
    if (found := sha256_file(path)) != entry["sha256"]:
        raise ArtifactError(f"{path}: damaged, sha256 {found[:12]}... where the manifest says {entry['sha256'][:12]}.... {fix}")
