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
from npo_pipeline.storage.atomic import write_text

SCHEMA = 1
NAME = "manifest.json"


def sha256_file(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def write_manifest(folder: Path, stage: str, config_sha256: str, files: Iterable[Path], facts: dict[str, Any] | None = None) -> None:
    """List `files` (below `folder`) in `folder/manifest.json`. Holds no time of day: equal runs give equal manifests."""
    entries = [{"path": str(file.relative_to(folder)), "size": file.stat().st_size, "sha256": sha256_file(file)} for file in sorted(files)]
    manifest = {
        "schema": SCHEMA,
        "stage": stage,
        "code_version": __version__,
        "config_sha256": config_sha256,
        **(facts or {}),
        "files": entries,
    }
    write_text(folder / NAME, json.dumps(manifest, indent=1) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished stage. Raises ArtifactError if there is none or it cannot be read."""
    path = folder / NAME
    if not path.is_file():
        raise ArtifactError(f"{path}: not found, so the stage that writes {folder} has not finished. Run it first: snakemake {path}")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if manifest["schema"] != SCHEMA:
            raise ArtifactError(
                f"{path}: schema {manifest['schema']}, this code reads schema {SCHEMA}. Delete {folder} and run its stage again."
            )
        manifest["files"] = {entry["path"]: entry for entry in manifest["files"]}
        return manifest
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: damaged ({error!r}). Delete it and run its stage again.") from error


def verify(folder: Path, prefix: str = "") -> dict[str, Any]:
    """Check that the files listed under `prefix` are there, with their size and sha256; return the manifest.

    Raises ArtifactError naming the first file that is missing or differs.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest["files"].items():
        if name.startswith(prefix):
            _verify_file(folder, name, entry)
    return manifest


def _verify_file(folder: Path, name: str, entry: dict[str, Any]) -> None:
    path = folder / name
    fix = f"Delete {folder / NAME} and run snakemake again: it makes this stage anew from what is cached."
    if not path.is_file():
        raise ArtifactError(f"{path}: listed in the manifest but not found. {fix}")
    if (size := path.stat().st_size) != entry["size"]:
        raise ArtifactError(f"{path}: damaged, {size} bytes where the manifest says {entry['size']}. {fix}")
    if (found := sha256_file(path)) != entry["sha256"]:
        raise ArtifactError(f"{path}: damaged, sha256 {found[:12]}... where the manifest says {entry['sha256'][:12]}.... {fix}")
