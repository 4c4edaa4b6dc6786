"""The training loop that probe and guided run share: resume, step, write, keep checkpoints, finish.

Over many ranks all walk through it; rank 0 alone touches the run's files, and a request to stop that any of them got holds for all.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field

from npo_pipeline.configuration.grid import checkpoint_steps
from npo_pipeline.errors import Interrupted
from npo_pipeline.grpo.reporting import Reporter, reporting
from npo_pipeline.grpo.rewind import rewind
from npo_pipeline.grpo.silence import Silence
from npo_pipeline.grpo.state import load_state, save_state
from npo_pipeline.grpo.step import StepOutcome, Trainer, run_step
from npo_pipeline.grpo.stopping import Stop, noticing
from npo_pipeline.grpo.trouble import Trouble
from npo_pipeline.policy.checkpoints import CheckpointWriter
from npo_pipeline.policy.identity import identity
from npo_pipeline.progress import Progress
from npo_pipeline.storage.checkpoints import whole_until
from npo_pipeline.storage.layout import STATE, STATES
from npo_pipeline.storage.run_files import RunFiles

LONGEST_UNSAVED = 1800.0  # seconds: where a step takes long, a kill must not cost `save_every` of them


@dataclass(frozen=True)
class RunLength:
    """Steps of a run, and how often policy checkpoints (an artifact) and trainer state (for a resume only) are written."""

    steps: int
    checkpoint_every: int
    key_every: int  # every how many checkpoints one is a whole policy
    save_every: int
    first: int = 0  # the step that the run begins with
    checkpoints: Sequence[int] | None = None  # in place of every `checkpoint_every` steps
    keep_states: int | None = None  # every how many steps a state is kept beside those of a resume
    states_kept: int | None = None  # how many of these, each with its policy checkpoint, while the run lasts; None: all, for good

    @property
    def kept(self) -> set[int]:
        """The steps of its policy checkpoints: always its first, and its end."""
        grid = checkpoint_steps(self.checkpoint_every, self.steps) if self.checkpoints is None else self.checkpoints
        states = range(0, self.steps, self.keep_states) if self.states_kept and self.keep_states else ()
        return {self.first, *(step for step in (*grid, *states) if step > self.first), self.steps}

    def keeps_state(self, step: int) -> bool:
        return self.keep_states is not None and step % self.keep_states == 0


@dataclass
class Run:
    """A run that is under way: its parts, and the name and fingerprint that a saved state of it has."""

    trainer: Trainer
    files: RunFiles
    writer: CheckpointWriter | None  # of rank 0
    reporter: Reporter  # of rank 0; the others' reports nowhere
    length: RunLength
    label: str
    fingerprint: str
    saved: float = field(default_factory=time.monotonic)  # when

    def is_due(self, step: int) -> bool:
        """Whether to save a state before `step`: the same on all ranks."""
        late = self.trainer.ranks.on_main(lambda: time.monotonic() - self.saved > LONGEST_UNSAVED)
        return late or step % self.length.save_every == 0

    def save(self, step: int) -> None:
        """What the state claims is on disk before it is."""
        self.saved = time.monotonic()
        if self.writer:
            self.writer.wait()
            self.files.flush()
        save_state(self.files.folder / STATE, self.trainer.updater.optimizer, step, self.fingerprint, self.trainer.ranks)

    def keep(self, step: int) -> None:
        """A state before `step` beside those of a resume."""
        optimizer, ranks = self.trainer.updater.optimizer, self.trainer.ranks
        save_state(self.files.folder / STATES, optimizer, step, self.fingerprint, ranks, kept=self.length.states_kept)


def train(trainer: Trainer, files: RunFiles, length: RunLength, label: str, fingerprint: str, report_to: Sequence[str] = ()) -> None:
    """Run to the last step, from the last saved state of this very run (`fingerprint`) if there is one.

    A run that was killed and started again leaves the same files as one that was not (timings excepted). Raises Interrupted where a
    signal asks for it, StorageError if the disk refuses.
    """
    while not _reaches_the_end(trainer, files, length, label, fingerprint, report_to):
        pass  # it goes back, and on from there


def _reaches_the_end(trainer: Trainer, files: RunFiles, length: RunLength, label: str, fingerprint: str, report_to: Sequence[str]) -> bool:
    kept = length.kept
    trainer.ranks.on_main(lambda: rewind(files))
    start = _start(trainer, files, kept, label, fingerprint)
    trainer.mixer.restore(files.folder, start, files.first)
    sinks = reporting(report_to if trainer.ranks.main else (), files.folder, start)
    with noticing() as stop, _writer(trainer, files, length) as writer, sinks as reporter:
        if writer:
            writer.resume(start, kept)
        return _steps(Run(trainer, files, writer, reporter, length, label, fingerprint), start, kept, stop)


def _start(trainer: Trainer, files: RunFiles, kept: set[int], label: str, fingerprint: str) -> int:
    """Load the last usable state, and make the files ready to go on from there; the step to start at."""
    ranks = trainer.ranks
    whole = ranks.on_main(lambda: min(files.whole_steps(), whole_until(files.folder, kept)))
    start = load_state(files.folder / STATE, trainer.updater.optimizer, fingerprint, whole, ranks) or files.first
    resumes = start > files.first
    if resumes:
        trainer.updater.take_over()
    if resumes and ranks.main:
        print(f"{label}: resuming from step {start}", file=sys.stderr)
    ranks.on_main(lambda: files.start(start))
    return start


def _writer(trainer: Trainer, files: RunFiles, length: RunLength) -> AbstractContextManager[CheckpointWriter | None]:
    return closing(CheckpointWriter(trainer.policy, files.folder, length.key_every)) if trainer.ranks.main else nullcontext()


def _steps(run: Run, start: int, kept: set[int], stop: Stop) -> bool:
    """Whether they came to the run's end; else it goes back first."""
    length, ranks = run.length, run.trainer.ranks
    progress, trouble = Progress(run.label, length.steps, start, quiet=not ranks.main), Trouble(run.label)
    silence = Silence(run.label, length.steps - start)
    for step in progress:
        sha256 = ranks.same(identity(run.trainer.policy), f"{run.label}: the weights before step {step}")
        began = time.perf_counter()
        if run.writer:
            if step in kept:
                run.writer.put(step, sha256)
            run.writer.check()
        waited = time.perf_counter() - began
        outcome = run_step(run.trainer, step, sha256, run.writer.before_change if run.writer else None)
        if ranks.main:
            _write(run.files, step, outcome, waited)
            run.reporter.write(step, outcome.metrics)
            silence.see(outcome.metrics)
        progress.note(_said(outcome))
        trouble.see(step, outcome.skipped)
        if goes_back(run, step + 1):
            return False
        signal = ranks.first(stop.signal)
        if (done := step + 1) < length.steps:
            if length.keeps_state(done):
                run.keep(done)
            _between(run, done, signal, bool(outcome.skipped))
    if run.writer:
        run.writer.put(length.steps, identity(run.trainer.policy))
        run.writer.wait()
    return True


def goes_back(run: Run, now: int) -> bool:
    """Whether, before step `now`, the method decided to go back; what it decides from is on disk by then."""
    mixer = run.trainer.mixer
    if not mixer.wants_back:
        return False
    run.trainer.ranks.on_main(lambda: run.writer.wait() if run.writer else None)
    back = mixer.go_back(run.files.folder, now)
    if back is not None and run.trainer.ranks.main:
        print(f"{run.label}: goes back from step {now} to step {back}", file=sys.stderr)
    return back is not None


def _between(run: Run, done: int, signal: str | None, skipped: bool) -> None:
    """Save a state where one is due, unless the step was skipped (npo_pipeline.grpo.trouble); raise Interrupted where asked to stop."""
    if not skipped and (run.is_due(done) or signal):
        run.save(done)
    if signal:
        there = "from the last saved state, as this step was skipped" if skipped else "there"
        raise Interrupted(f"{run.label}: by {signal} before step {done}; the same command resumes {there}")


def _said(outcome: StepOutcome) -> str:
    if outcome.skipped:
        return f"skipped, for {outcome.skipped}"
    entropy = outcome.metrics["entropy"]
    return f"reward {outcome.metrics['reward/mean']:.3f} entropy {'unknown' if entropy is None else format(entropy, '.3f')}"


def _write(files: RunFiles, step: int, outcome: StepOutcome, waited: float) -> None:
    began = time.perf_counter()
    files.write_step(step, outcome.rows, outcome.decisions, outcome.metrics)
    files.write_timings(step, outcome.timings | {"seconds/write": time.perf_counter() - began, "seconds/checkpoint": waited})
