"""The evaluation of a policy on disk: `<policy>.json` holds counts and scores, `<policy>.parquet` beside it the samples behind them.

The JSON holds a sha256 of itself and that of the samples, and says whose it is, so that damage and another policy's file are found.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.checkpoints import is_checkpoint, read_record
from npo_pipeline.storage.layout import AVERAGED, Layout
from npo_pipeline.storage.manifest import NAME, own_sha256, read_manifest, sha256_file

SCHEMA = 2  # 1 had no sha256 of its own
OWN = "sha256"


def write_evaluation(layout: Layout, policy: str, values: dict[str, Any]) -> None:
    """Write the JSON, when the samples lie beside it. Raises StorageError."""
    head = {"schema": SCHEMA, "policy": policy, "seed": layout.seed}
    values = head | values | {"samples_sha256": sha256_file(layout.evaluation_samples(policy))}
    write_text(layout.evaluation(policy), json.dumps(values | {OWN: own_sha256(values, OWN)}, indent=1) + "\n")


def verify_evaluation(layout: Layout, policy: str) -> None:
    """Raises ArtifactError if the evaluation or its samples are missing, damaged, or of another policy, seed or run."""
    path, samples = layout.evaluation(policy), layout.evaluation_samples(policy)
    fix = f"Delete {path} and run snakemake again: it evaluates anew."
    with damage_named(path, fix):
        values = read_signed(path, SCHEMA, fix)
        check_whose(path, values, ("policy", policy), layout, fix)
        if sha256_file(samples) != values["samples_sha256"]:
            raise ArtifactError(f"{samples}: not the samples that {path} was made from. {fix}")
        check_weights(path, values, policy, layout, fix)


@contextmanager
def damage_named(path: Path, fix: str) -> Iterator[None]:
    """Whatever reading `path` runs into becomes an ArtifactError with the fix."""
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"{error.filename}: {error.strerror}, expected from the stage `evaluate`. {fix}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged ({type(error).__name__}: {error}). {fix}") from error


def read_signed(path: Path, schema: int, fix: str) -> dict[str, Any]:
    """A JSON that holds a sha256 of itself. Raises ArtifactError for another schema, ValueError for another content."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if values["schema"] != schema:
        raise ArtifactError(f"{path}: schema {values['schema']}, this code reads schema {schema}. {fix}")
    if own_sha256(values, OWN) != values[OWN]:
        raise ValueError("its content is not what its sha256 says")
    return values


def check_whose(path: Path, values: dict[str, Any], whose: tuple[str, str], layout: Layout, fix: str) -> None:
    """`whose`: ("policy", "npo"). Raises ArtifactError for another one's or another seed's."""
    kind, name = whose
    if (found := (values[kind], values["seed"])) != (name, layout.seed):
        raise ArtifactError(f"{path}: of {kind} {found[0]!r} and seed {found[1]}, expected {name!r} and {layout.seed}. {fix}")


def check_weights(path: Path, values: dict[str, Any], policy: str, layout: Layout, fix: str) -> None:
    """Raises ArtifactError where the run has left other weights since."""
    if (acting := weights_left(layout, policy)) not in (None, values["policy_sha256"]):
        raise ArtifactError(f"{path}: of weights {values['policy_sha256'][:12]}..., the run left {acting[:12]}.... {fix}")


def weights_left(layout: Layout, policy: str) -> str | None:
    """The name of the weights that a run ended with, or of their average; None of the initial policy, and where nothing is left of them."""
    if policy == "initial":
        return None
    if policy.endswith(AVERAGED):
        folder = layout.policy_averaged(policy.removesuffix(AVERAGED))
        return read_manifest(folder)["policy_sha256"] if (folder / NAME).is_file() else None
    last = max((layout.run(policy) / "checkpoints").glob("step-*"), default=None)
    return read_record(last).weights_sha256 if last and is_checkpoint(last) else None


def evaluations_below(folder: Path) -> list[tuple[Layout, str]]:
    """Every evaluation of an experiment: the layout of its seed, and the policy."""
    found = []
    for seed in sorted(folder.glob("seed-*")):
        layout = Layout(folder, int(seed.name.removeprefix("seed-")))
        place = layout.evaluation("x").parent
        found += [(layout, str(file.relative_to(place).with_suffix(""))) for file in sorted(place.rglob("*.json"))]
    return found
