"""The policies of a seed that can be evaluated, and where they lie."""

from pathlib import Path

from npo_pipeline.storage.layout import Layout, checkpoint
from npo_pipeline.storage.manifest import NAME, read_manifest


def policies(layout: Layout) -> list[str]:
    """The initial policy, and that of every finished training run of the seed."""
    runs = {folder.parent for pattern in ("*", "round-*/*") for folder in layout.seed_folder.glob(f"{pattern}/checkpoints")}
    return ["initial", *sorted(str(run.relative_to(layout.seed_folder)) for run in runs if (run / NAME).is_file())]


def policy_folder(layout: Layout, name: str) -> Path:
    """The initial policy, or the last checkpoint of the run that `name` stands for."""
    if name == "initial":
        return layout.initial_policy
    return checkpoint(layout.run(name), read_manifest(layout.run(name))["steps"])
