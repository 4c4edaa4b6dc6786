"""Why a workflow failed: of each failed job the cause in one line, before the end of its log. Read from Snakemake's own log.

The Snakefile prints it at the very end, on a workstation and on a cluster alike.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ERROR = re.compile(r"^Error in (?:rule|group) .*:\n(?:[ \t]+.*\n)+", re.MULTILINE)
FIELDS = {
    "jobid": re.compile(r"^ +jobid: (\d+)$", re.MULTILINE),
    "log": re.compile(r"^ +log: (.+?)(?:, .*)?(?: \(check log file.*)?$", re.MULTILINE),  # the stage's own is the first
    "slurm": re.compile(r"SLURM status is: '(\w+)'"),
    "message": re.compile(r"^ +message: (.+)$", re.MULTILINE),
}
PROGRESS = re.compile(r"\d+/\d+, .*ETA")  # npo_pipeline.progress
SHOWN = 12  # lines of a log


@dataclass(frozen=True)
class Failure:
    """`slurm` is the state that SLURM gave the job ("TIMEOUT"), or "". `lines` are the last ones of its log, without the cause."""

    log: str
    cause: str
    slurm: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        state = f" [SLURM: {self.slurm}]" if self.slurm not in ("", "FAILED") else ""
        return "\n".join([f"{self.log}: {self.cause}{state}", *(f"    | {line}" for line in self.lines)])


def failures(text: str, folder: Path) -> list[Failure]:
    """Of the jobs that failed and did not succeed later, in what Snakemake wrote to its log while it worked in `folder`."""
    last = {field(match[0], "jobid"): match for match in ERROR.finditer(text)}
    return [
        failure(match[0], folder)
        for jobid, match in last.items()
        if not re.search(rf"^Finished jobid: {jobid} ", text[match.end() :], re.M)
    ]


def failure(block: str, folder: Path) -> Failure:
    """Of one "Error in rule" block."""
    name = field(block, "log")
    try:
        lines = (folder / name).read_text(errors="replace").splitlines() if name else []
    except OSError:
        lines = []
    said = [line for line in lines if line.strip() and not PROGRESS.search(line)]
    message = field(block, "message")
    cause = said[-1] if said else message if message not in ("", "None") else "ended without a word; was it killed, for its memory?"
    return Failure(name or "a job", cause, field(block, "slurm"), tuple(line for line in lines[-SHOWN:] if line != cause))


def field(block: str, name: str) -> str:
    found = FIELDS[name].search(block)
    return found[1] if found else ""
