"""Makes a results folder with damaged or lost files ready to be mended: what vouches for them goes, and snakemake makes those stages anew.

A stage without its manifest has not happened; whatever is whole keeps what vouches for it. A run that is not finished is left alone:
it resumes by itself from what is whole of it. Damaged timings, on which nothing hangs, go alone.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.evaluations import evaluations_below, verify_evaluation
from npo_pipeline.storage.inspection import damages, stages_below
from npo_pipeline.storage.layout import STATE, step_name
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import NAME, verify
from npo_pipeline.storage.run_files import TIMINGS, damaged_timings

GUIDE = "guide"


def remove_vouchers(folder: Path) -> list[Path]:
    """What was removed. Raises ArtifactError if `folder` holds no stage, LockedError if one of them is being written."""
    stages = [stage for stage in stages_below(folder) if (stage / NAME).is_file() and GUIDE not in (stage.name, stage.parent.name)]
    guides = [guide for guide in sorted(folder.rglob(GUIDE)) if guide.is_dir()]
    doomed = [path for stage in stages for path in _of_stage(stage)]
    doomed += [path for guide in guides for path in _of_guide(guide)]
    doomed += [path for path in _of_evaluations(folder) if path.exists()]
    for path in doomed:
        _remove(path)
    return doomed


def _of_stage(stage: Path) -> Iterator[Path]:
    with only_writer(stage):
        timings = damaged_timings(stage)
        if timings:
            yield stage / TIMINGS
        if any(reason != timings for reason in damages(stage)):
            yield from (path for path in (stage / NAME, stage / STATE) if path.exists())


def _of_guide(guide: Path) -> Iterator[Path]:
    """Of a guide checkpoint that is not whole its folder, and the notes that say that the jobs are done; whole ones are kept."""
    there = {step.name for step in guide.glob("step-*")}
    broken = sorted(name for name in there | _noted(guide) if not _is_whole(guide / name))
    yield from (guide / name for name in broken if name in there)
    if broken:
        yield from guide.glob("jobs")
    if (guide / NAME).is_file() and (broken or not _is_whole(guide)):
        yield guide / NAME


def _noted(guide: Path) -> set[str]:
    """The guide checkpoints that the jobs say they have made."""
    try:
        return {
            step_name(step) for file in guide.glob("jobs/*.json") for step in json.loads(file.read_text(encoding="utf-8"))["guide_steps"]
        }
    except (ValueError, KeyError, TypeError):
        return {"a damaged note"}


def _is_whole(folder: Path) -> bool:
    try:
        verify(folder)
        return True
    except ArtifactError:
        return False


def _of_evaluations(folder: Path) -> Iterator[Path]:
    for layout, policy in evaluations_below(folder):
        try:
            verify_evaluation(layout, policy)
        except ArtifactError:
            yield layout.evaluation(policy)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
