"""A run that goes back: its files and saved state become those of an earlier step, and what it had done since is put aside.

    segments/000/decision.json     written first, by the method: "now" (the step before which it was decided), "back_to" (null: go on),
                                   "account" (for interventions.jsonl), "tokens" that deciding took
    segments/000/trajectories...   what the steps will be guided by when they are taken again
    segments/000/metrics.jsonl     of the steps from back_to to now as they were taken first, with their timings.jsonl
    segments/000/done              going back was finished

The decision is the point of no return: a run that is killed later finishes going back when it is started again. Each part of that can
be repeated. What the first time took is not in the metrics: the method counts it (`spent`) among the tokens of the step gone back to.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from npo_pipeline.storage.atomic import new_folder, write_text
from npo_pipeline.storage.layout import SEGMENTS, STATE, STATES, kept_state, step_name
from npo_pipeline.storage.run_files import METRICS, TIMINGS, RunFiles, read_jsonl

DECISION, DONE = "decision.json", "done"

Row = dict[str, Any]


def segments(run: Path) -> list[tuple[Path, Row]]:
    """The folders of all decisions so far, in their order, and what was decided."""
    found = sorted(file.parent for file in (run / SEGMENTS).glob(f"*/{DECISION}"))
    return [(folder, json.loads((folder / DECISION).read_text(encoding="utf-8"))) for folder in found]


def new_segment(run: Path) -> Path:
    return run / SEGMENTS / f"{len(segments(run)):03d}"


def rewind(files: RunFiles) -> None:
    """Finish going back where the last decision says so and it has not been. Raises ArtifactError, StorageError."""
    folder, decision = segments(files.folder)[-1] if segments(files.folder) else (None, {})
    if folder is None or decision["back_to"] is None or (folder / DONE).exists():
        return
    back = decision["back_to"]
    for name in (METRICS, TIMINGS):
        if not (folder / name).exists():
            rows = [row for row in read_jsonl(files.folder / name) if row["step"] >= back] if (files.folder / name).exists() else []
            write_text(folder / name, "".join(json.dumps(row) + "\n" for row in rows))
    _put_state_back(files.folder, back)
    files.cut(back)
    again = sum(row.get("seconds", 0.0) for row in read_jsonl(folder / TIMINGS))
    files.write_timings(back - 1, {"seconds": again})  # they were spent
    files.tell(back - 1, decision["account"])  # of the step before, so that a resume at `back` keeps it
    write_text(folder / DONE, "")


def _put_state_back(run: Path, step: int) -> None:
    """The state that was kept before `step` is the one that a resume finds; kept ones of later steps go."""
    shutil.rmtree(run / STATE, ignore_errors=True)
    with new_folder(run / STATE / step_name(step)) as partial:
        shutil.copytree(kept_state(run, step), partial, dirs_exist_ok=True)
    for state in (run / STATES).glob("step-*"):
        if int(state.name.removeprefix("step-")) > step:
            shutil.rmtree(state)


def drop_undone(run: Path, step: int) -> None:
    """Decisions to go on that a run which is resumed at `step` has not come to yet: it will take them again."""
    for folder, decision in reversed(segments(run)):
        if decision["back_to"] is not None or decision["now"] <= step:
            return
        shutil.rmtree(folder)


def spent(run: Path, step: int) -> int:
    """Tokens that no step's metrics hold, and that the step which begins now has to count: of the decisions that led right here."""
    total = 0
    for folder, decision in reversed(segments(run)):
        led_here = decision["now"] if decision["back_to"] is None else decision["back_to"]
        if led_here != step:
            break
        total += decision["tokens"]
        rows = read_jsonl(folder / METRICS) if (folder / METRICS).is_file() else []
        total += sum((row.get("completions/tokens") or 0) + (row.get("guide/tokens") or 0) for row in rows)
        if decision["back_to"] is not None:
            break  # the rows of that segment hold what was owed before
    return total
