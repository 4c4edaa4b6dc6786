"""The files of a training run: metrics, timings and roll-outs, one entry per step; kept or cut back when a run resumes."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npo_pipeline.errors import ArtifactError, StorageError
from npo_pipeline.storage.atomic import flush, write_text
from npo_pipeline.storage.layout import POLICY_AVERAGED, SEGMENTS, STATE, STATES, rollouts
from npo_pipeline.storage.manifest import NAME, write_manifest

METRICS, TIMINGS, INTERVENTIONS = "metrics.jsonl", "timings.jsonl", "interventions.jsonl"
REPORTED = ("tensorboard", "wandb", "trackio")  # what npo_pipeline.grpo.reporting leaves: of no other stage's concern
OWNED = ("rollouts", "checkpoints", "policy", POLICY_AVERAGED, STATE, STATES, SEGMENTS, METRICS, TIMINGS, INTERVENTIONS, NAME, *REPORTED)


class RunFiles:
    """Writes below `folder`. Timings lie apart from metrics: equal runs have equal metrics, never equal timings.

    `facts` go into the metadata of every roll-out file: how its responses were sampled. `first` is the step that the run begins with.
    """

    def __init__(self, folder: Path, config_sha256: str, facts: dict[str, Any] | None = None, first: int = 0) -> None:
        self.folder, self.config_sha256, self.facts, self.first = folder, config_sha256, facts, first

    def start(self, step: int) -> None:
        """Make ready for `step`: the first removes what an earlier run left, otherwise later entries are cut off."""
        (self.folder / NAME).unlink(missing_ok=True)  # first: what is left of a start that fails is no finished run
        if step == self.first:
            for name in OWNED:
                _remove(self.folder / name)
        elif (found := len(_lines(self.folder / METRICS))) < step - self.first:
            raise ArtifactError(
                f"{self.folder / METRICS}: {found} lines, expected the {step - self.first} of the saved state. "
                f"Delete {self.folder / STATE} and run again: the run starts anew."
            )
        self.cut(step)
        self.folder.mkdir(parents=True, exist_ok=True)

    def cut(self, step: int) -> None:
        """Of the steps from this one on nothing is told any more."""
        for name in (METRICS, INTERVENTIONS):
            _keep_steps(self.folder / name, step)
        _keep_timings(self.folder / TIMINGS, step)

    def whole_steps(self) -> int:
        """Steps that the files of this folder hold from the first on, so that a run can be resumed at any of them."""
        known = self.first + len([line for line in _lines(self.folder / METRICS) if line.endswith("\n")])
        return next((step for step in range(self.first, known) if not rollouts(self.folder, step).is_file()), known)

    def flush(self) -> None:
        """What was appended so far is on disk after this, should the machine fail. Raises StorageError."""
        for name in (METRICS, TIMINGS, INTERVENTIONS):
            if (self.folder / name).exists():
                flush(self.folder / name)

    def write_step(self, step: int, rows: Sequence[dict[str, Any]], decisions: Sequence[dict[str, Any]], metrics: dict[str, Any]) -> None:
        """Roll-outs and decisions first: a line in the metrics says that the step is whole."""
        from npo_pipeline.storage.parquet import ROLLOUT, write_table  # not on top: methods are read whenever a workflow is planned

        write_table(rollouts(self.folder, step), rows, ROLLOUT, self.config_sha256, self.facts)
        for decision in decisions:
            self._append(INTERVENTIONS, {"step": step, **decision})
        self._append(METRICS, {"step": step, **metrics})

    def tell(self, step: int, decision: dict[str, Any]) -> None:
        """A decision of a step, once."""
        row = json.loads(json.dumps({"step": step, **decision}))
        if not (self.folder / INTERVENTIONS).exists() or row not in read_jsonl(self.folder / INTERVENTIONS):
            self._append(INTERVENTIONS, row)

    def write_timings(self, step: int, timings: dict[str, Any]) -> None:
        self._append(TIMINGS, {"step": step, **timings})

    def finish(self, stage: str, facts: dict[str, Any]) -> None:
        """Write the manifest over everything but timings, and drop the state that only a resume needs."""
        files = [
            self.folder / METRICS,
            self.folder / INTERVENTIONS,
            *(file for name in ("rollouts", "checkpoints", "policy", STATES, SEGMENTS) for file in (self.folder / name).rglob("*")),
        ]
        write_manifest(self.folder, stage, self.config_sha256, [file for file in files if file.is_file() and file.name != TIMINGS], facts)
        _remove(self.folder / STATE)

    def _append(self, name: str, values: dict[str, Any]) -> None:
        try:
            with open(self.folder / name, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(values) + "\n")
        except OSError as error:
            raise StorageError(
                f"{self.folder / name}: could not be written: {error.strerror}. Free space, then run the same command again."
            ) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file. Raises ArtifactError naming the line that is damaged."""
    if not path.is_file():
        raise ArtifactError(f"{path}: not found; run the stage that writes it")
    return _parse(path, path.read_text(encoding="utf-8", errors="replace"))


def damaged_timings(folder: Path) -> str | None:
    """What is wrong with the timings of a run, if anything: no result hangs on them, so nothing is made again for their sake."""
    path = folder / TIMINGS
    if not path.is_file():
        return None
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if _timing(line) is None:
            return f"{path}: line {number} is damaged. Timings are no results: delete the file, and all goes on without them"
    return None


def _timing(line: str) -> dict[str, Any] | None:
    """One step's timings, each a finite number; None of a line that holds something else."""
    try:
        row = json.loads(line)
        numbers = isinstance(row, dict) and all(type(value) in (int, float) and math.isfinite(value) for value in row.values())
        return row if numbers and type(row.get("step")) is int else None
    except (ValueError, RecursionError, OverflowError):
        return None


def _parse(path: Path, text: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            fix = f"Delete {path.parent / STATE} and {path.parent / NAME} and run its stage again."
            raise ArtifactError(f"{path}: line {number} is not JSON. {fix}") from None
    return rows


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []


def _keep_steps(path: Path, end: int) -> None:
    """Cut off the lines of the steps from `end` on, and a last line that was not written whole."""
    if path.is_file():
        whole = "".join(line for line in _lines(path) if line.endswith("\n"))
        write_text(path, "".join(json.dumps(row) + "\n" for row in _parse(path, whole) if row["step"] < end))


def _keep_timings(path: Path, end: int) -> None:
    """As `_keep_steps`; a damaged line goes too, as no result hangs on it."""
    if path.is_file():
        rows = filter(None, map(_timing, path.read_text(encoding="utf-8", errors="replace").splitlines()))
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows if row["step"] < end))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
