"""The held-out scores of a run along its way on disk: `curve.json` in its folder, with a sha256 of itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.evaluations import OWN, check_weights, check_whose, damage_named, read_signed
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import own_sha256

SCHEMA = 1


@dataclass(frozen=True)
class Point:
    """After `step` updates: verified responses of each problem, of the policy and of the average of its last checkpoints.

    Example: Point(60, {"eval-000000": 3}, {"eval-000000": 4}).
    """

    step: int
    correct: Mapping[str, int]
    averaged: Mapping[str, int] | None = None


def write_curve(layout: Layout, run: str, points: Sequence[Point], facts: Mapping[str, Any]) -> None:
    """`facts`: how it was sampled, and the name of the weights that the run ended with. Raises StorageError."""
    values = {"schema": SCHEMA, "run": run, "seed": layout.seed, **facts, "points": [asdict(point) for point in points]}
    write_text(layout.curve(run), json.dumps(values | {OWN: own_sha256(values, OWN)}, indent=1) + "\n")


def read_curve(layout: Layout, run: str) -> tuple[list[Point], dict[str, Any]]:
    """The points, and what the file says beside them. Raises ArtifactError if it is missing, damaged, or of another run."""
    path = layout.curve(run)
    fix = f"Delete {path} and run snakemake again: it evaluates the run's checkpoints anew."
    with damage_named(path, fix):
        values = read_signed(path, SCHEMA, fix)
        check_whose(path, values, ("run", run), layout, fix)
        check_weights(path, values, run, layout, fix)
        return [Point(**point) for point in values.pop("points")], values
