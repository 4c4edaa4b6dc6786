"""The training loop that probe and guided run share: resume, step, write, keep checkpoints, finish."""

import sys
import time
from dataclasses import dataclass

from npo_pipeline.grpo.state import load_state, save_state
from npo_pipeline.grpo.step import StepOutcome, Trainer, run_step
from npo_pipeline.policy.policy import save_policy, weights_sha256
from npo_pipeline.progress import Progress
from npo_pipeline.storage.layout import checkpoint
from npo_pipeline.storage.run_files import RunFiles
from npo_pipeline.timeline import checkpoint_steps


@dataclass(frozen=True)
class RunLength:
    """Steps of a run, and how often policy checkpoints (an artifact) and trainer state (for a resume only) are written."""

    steps: int
    checkpoint_every: int
    save_every: int


def train(trainer: Trainer, files: RunFiles, length: RunLength, label: str, fingerprint: str) -> None:
    """Run to the last step, from the last saved state of this very run (`fingerprint`) if there is one.

    A run that was killed and started again leaves the same files as one that was not (timings excepted).
    """
    optimizer = trainer.updater.optimizer
    start = load_state(files.folder / "state", optimizer, fingerprint)
    if start:
        print(f"{label}: resuming from step {start}", file=sys.stderr)
    files.start(start)
    trainer.mixer.restore(files.folder, start)
    kept = set(checkpoint_steps(length.checkpoint_every, length.steps))
    progress = Progress(label, length.steps, start)
    for step in progress:
        if step in kept:
            save_policy(trainer.policy, checkpoint(files.folder, step))
        outcome = run_step(trainer, step, weights_sha256(trainer.policy))
        _write(files, step, outcome)
        progress.note(f"reward {outcome.metrics['reward/mean']:.3f} entropy {outcome.metrics['entropy']:.3f}")
        if (step + 1) % length.save_every == 0 and step + 1 < length.steps:
            save_state(files.folder / "state", optimizer, step + 1, fingerprint)
    save_policy(trainer.policy, checkpoint(files.folder, length.steps))


def _write(files: RunFiles, step: int, outcome: StepOutcome) -> None:
    began = time.perf_counter()
    files.write_step(step, outcome.rows, outcome.decisions, outcome.metrics)
    files.write_timings(step, outcome.timings | {"seconds/write": time.perf_counter() - began})
