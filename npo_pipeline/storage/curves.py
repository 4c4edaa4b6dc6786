"""The held-out scores of a run along its way on disk: `curve.json` in its folder, with a sha256 of itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.evaluations import OWN, weights_left
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
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ArtifactError(f"{path}: schema {values['schema']}, this code reads schema {SCHEMA}. {fix}")
        if own_sha256(values, OWN) != values[OWN]:
            raise ValueError("its content is not what its sha256 says")
        if (found := (values["run"], values["seed"])) != (run, layout.seed):
            raise ArtifactError(f"{path}: of run {found[0]!r} and seed {found[1]}, expected {run!r} and {layout.seed}. {fix}")
        if (acting := weights_left(layout, run)) not in (None, values["policy_sha256"]):
            raise ArtifactError(f"{path}: of weights {values['policy_sha256'][:12]}..., the run left {acting[:12]}.... {fix}")
        return [Point(**point) for point in values.pop("points")], values
    except OSError as error:
        raise ArtifactError(f"{error.filename}: {error.strerror}, expected from the stage `evaluate`. {fix}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged ({type(error).__name__}: {error}). {fix}") from error
