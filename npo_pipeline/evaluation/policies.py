"""The policies of a seed that can be evaluated, and where they lie."""

from pathlib import Path

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.compose import load_stage
from npo_pipeline.configuration.stages import AverageStage
from npo_pipeline.storage.layout import AVERAGED, Layout, averaged, checkpoint
from npo_pipeline.storage.manifest import NAME, read_manifest, verify


def policies(layout: Layout) -> list[str]:
    """The initial policy, that of every finished training run of the seed, and those of their averages that are there."""
    runs = {folder.parent for pattern in ("*", "round-*/*") for folder in layout.seed_folder.glob(f"{pattern}/checkpoints")}
    names = sorted(str(run.relative_to(layout.seed_folder)) for run in runs if (run / NAME).is_file())
    return ["initial", *names, *(averaged(name) for name in names if (layout.policy_averaged(name) / NAME).is_file())]


def make_averaged(file: Path, layout: Layout, policy: str) -> None:
    """Make the averaged policy of that name, as config/average.yaml says. Raises ConfigError for a name of none, ArtifactError."""
    config, config_sha256 = load_stage(file, AverageStage)
    require(policy.endswith(AVERAGED), "--policy", policy, f"the name of a run with {AVERAGED}, beside --average")
    run = policy.removesuffix(AVERAGED)
    verify(layout.run(run), "checkpoints")

    from npo_pipeline.evaluation.averaged import average_run

    average_run(config, config_sha256, layout, run)


def verify_policy(layout: Layout, name: str) -> None:
    """Raises ArtifactError if a file of the policy is missing or damaged. That of `initial` is verified with the stage that made it."""
    if name.endswith(AVERAGED):
        verify(layout.policy_averaged(name.removesuffix(AVERAGED)))
    elif name != "initial":
        verify(layout.run(name), "checkpoints")


def policy_folder(layout: Layout, name: str) -> Path:
    """The initial policy, the average of a run, or the last checkpoint of the run that `name` stands for."""
    if name == "initial":
        return layout.initial_policy
    if name.endswith(AVERAGED):
        return layout.policy_averaged(name.removesuffix(AVERAGED))
    return checkpoint(layout.run(name), read_manifest(layout.run(name))["steps"])
