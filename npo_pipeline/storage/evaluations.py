"""The evaluation of a policy on disk: `<policy>.json` holds counts and scores, `<policy>.parquet` beside it the samples behind them.

The JSON holds a sha256 of itself and that of the samples, and says whose it is, so that damage and another policy's file are found.
"""

import json
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
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ArtifactError(f"{path}: schema {values['schema']}, this code reads schema {SCHEMA}. {fix}")
        if own_sha256(values, OWN) != values[OWN]:
            raise ValueError("its content is not what its sha256 says")
        if (found := (values["policy"], values["seed"])) != (policy, layout.seed):
            raise ArtifactError(f"{path}: of policy {found[0]!r} and seed {found[1]}, expected {policy!r} and {layout.seed}. {fix}")
        if sha256_file(samples) != values["samples_sha256"]:
            raise ArtifactError(f"{samples}: not the samples that {path} was made from. {fix}")
        if (acting := weights_left(layout, policy)) not in (None, values["policy_sha256"]):
            raise ArtifactError(f"{path}: of weights {values['policy_sha256'][:12]}..., the run left {acting[:12]}.... {fix}")
    except OSError as error:
        raise ArtifactError(f"{error.filename}: {error.strerror}, expected from the stage `evaluate`. {fix}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged ({type(error).__name__}: {error}). {fix}") from error


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
