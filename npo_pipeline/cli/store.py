"""What is in a results folder: `npo export`, `npo export-guides`, `npo verify`, `npo mend` and `npo du`."""

from collections.abc import Sequence
from pathlib import Path

from npo_pipeline.errors import ArtifactError, ConfigError
from npo_pipeline.shown import one_line
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.inspection import damages, human, stages_below, unfinished, usage
from npo_pipeline.storage.mending import remove_vouchers


def export(run: Path, step: int, out: Path) -> None:
    """Raises ConfigError if `out` is there already, ArtifactError if the checkpoint is missing or damaged."""
    if out.exists():
        raise ConfigError(f"{out}: exists already, and nothing is overwritten; name a new folder")
    if step not in (records := read_records(run)):
        raise ArtifactError(f"{run}: has no checkpoint {step}; there are {', '.join(map(str, records)) or 'none'}")

    from npo_pipeline.policy.checkpoints import Walk
    from npo_pipeline.policy.device import pick_device
    from npo_pipeline.policy.policy import export_policy

    export_policy(Walk(run, step, pick_device("cpu")).policy, out)
    print(f"{out}: checkpoint {step} of {run}, policy_sha256 {records[step].weights_sha256}")


def export_guides(folder: Path, out: Path, steps: Sequence[int], repository: str | None) -> None:
    """Raises ConfigError for a folder that is there, a step that is not, or a repository to be refused; ArtifactError for damage."""
    from datasets import disable_progress_bars

    from npo_pipeline.integrations import export, hub

    disable_progress_bars()
    if repository is not None:
        hub.check_pushable(repository)
    rows = export.export_guides(folder, out, steps)
    print(f"{out}: {rows} trajectories; read them with datasets.load_dataset({str(out)!r}), and its README.md before you share them")
    if repository is not None:
        print(f"pushed to {hub.push(out, repository)}")


def verify(folder: Path, files_only: bool) -> None:
    """Print what is damaged, one per line. Raises ArtifactError if anything is."""
    for stage in unfinished(folder):
        print(f"{stage}: no manifest, so it is not finished")
    for line in (bad := damages(folder)):
        print(one_line(line))
    runs = [stage for stage in stages_below(folder) if (stage / "checkpoints").is_dir()]
    restored = 0 if bad or files_only else sum(map(restore_all, runs))
    if bad:
        raise ArtifactError(f"{folder}: {len(bad)} files are damaged or missing")
    print(f"{folder}: {len(stages_below(folder))} stages, all files as listed; {restored} checkpoints restored to their sha256")


def restore_all(run: Path) -> int:
    """Restore every checkpoint of a run and compare its weights' name. Raises ArtifactError for the first that differs."""
    from npo_pipeline.policy.checkpoints import Walk
    from npo_pipeline.policy.device import pick_device

    if not (steps := list(read_records(run))):
        return 0
    walk = Walk(run, steps[0], pick_device("cpu"))
    for step in steps:
        walk.to(step)
        walk.sha256()
    return len(steps)


def mend(folder: Path) -> None:
    """Print what is removed. Raises ArtifactError if there is nothing below `folder`, LockedError while a stage of it is being written."""
    removed = remove_vouchers(folder)
    for path in removed:
        print(f"{path}: removed")
    print(f"{folder}: nothing is damaged" if not removed else f"{folder}: run snakemake again, it makes anew what is missing")


def du(folder: Path) -> None:
    rows = list(usage(folder))
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{row.name:{width}}  {human(row.size):>9}  {row.files:>6} files  {row.note}".rstrip())
