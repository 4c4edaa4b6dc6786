"""What lies in a results folder: which of its files are damaged, and how much room each stage takes. Reads only, and not torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.checkpoints import RECORD, check_file, read_record, read_records
from npo_pipeline.storage.evaluations import evaluations_below, verify_evaluation
from npo_pipeline.storage.manifest import NAME, check_entry, read_manifest
from npo_pipeline.storage.run_files import METRICS, damaged_timings


def stages_below(folder: Path) -> list[Path]:
    """The folders of stages in a results folder, or the folder itself if it is one's; a guide checkpoint is part of its stage."""
    found: list[Path] = []
    for place in [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]:
        parents = [stage for stage in found if stage in place.parents and not _is_folder_of_stages(stage)]
        if is_stage(place) and not parents:
            found.append(place)
    if not found:
        raise ArtifactError(f"{folder}: holds no stage's {NAME}; give a run's folder, or an experiment's such as results/default")
    return found


def is_stage(folder: Path) -> bool:
    return (folder / NAME).is_file() or (folder / METRICS).is_file() or (folder / "checkpoints").is_dir()


def _is_folder_of_stages(folder: Path) -> bool:
    return folder.name.startswith(("seed-", "round-"))


def unfinished(folder: Path) -> list[Path]:
    return [stage for stage in stages_below(folder) if not (stage / NAME).is_file()]


def damages(folder: Path) -> list[str]:
    """Each file below `folder` that is not as a manifest or a checkpoint's record says, once, in words."""
    found: dict[str, str] = {}
    for reason in _damages(folder):
        found.setdefault(reason.split(": ")[0], reason)
    return list(found.values())


def _damages(folder: Path) -> Iterator[str]:
    for stage in stages_below(folder):
        for manifest in sorted(stage.rglob(NAME)):
            yield from _damages_listed(manifest.parent)
        for record in sorted((stage / "checkpoints").glob(f"step-*/{RECORD}")):
            yield from _damages_recorded(record.parent)
        if (stage / NAME).is_file() and (reason := damaged_timings(stage)):
            yield reason
        if (stage / "checkpoints").is_dir():
            yield from _reasons(partial(read_records, stage))
    for layout, policy in evaluations_below(folder):
        yield from _reasons(partial(verify_evaluation, layout, policy))


def _damages_listed(folder: Path) -> Iterator[str]:
    try:
        manifest = read_manifest(folder)
    except ArtifactError as error:
        yield str(error)
        return
    fix = f"Delete {folder / NAME} and run snakemake again."
    for name, entry in manifest["files"].items():
        yield from _reasons(partial(check_entry, folder / name, entry, fix))


def _damages_recorded(folder: Path) -> Iterator[str]:
    try:
        record = read_record(folder)
    except ArtifactError as error:
        yield str(error)
        return
    for name in record.files:
        yield from _reasons(partial(check_file, folder, record, name))


def _reasons(check: Callable[[], object]) -> list[str]:
    try:
        check()
        return []
    except ArtifactError as error:
        return [str(error)]


@dataclass(frozen=True)
class Usage:
    """The bytes of a stage or of a part of it; `note` says what the checkpoints are."""

    name: str
    size: int
    files: int
    note: str = ""


def usage(folder: Path) -> Iterator[Usage]:
    """Each stage below `folder`, then its parts."""
    for stage in stages_below(folder):
        name = str(stage.relative_to(folder)) if stage != folder else stage.name
        yield _usage(name, stage)
        for part in sorted(path for path in stage.iterdir() if path.is_dir()):
            note = _checkpoints_note(stage) if part.name == "checkpoints" else ""
            yield _usage(f"{name}/{part.name}", part, note)


def _usage(name: str, folder: Path, note: str = "") -> Usage:
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return Usage(name, sum(sizes), len(sizes), note)


def _checkpoints_note(run: Path) -> str:
    records = read_records(run).values()
    full, deltas = [r.full_size for r in records if r.full], [r.delta_size for r in records if r.delta_size]
    return f"{len(full)} full of {human(sum(full))}, {len(deltas)} deltas of {human(sum(deltas))}"


def human(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.1f} {unit}" if unit != "B" else f"{size:.0f} B"
        size /= 1000
    return f"{size:.1f} TB"
