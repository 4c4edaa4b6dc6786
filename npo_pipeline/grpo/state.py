"""The trainer's state: what a killed run needs to go on as if nothing had happened.

Problem order and sampling seeds are pure functions of the step, so weights, optimizer and step are all there is. The last two
states are kept, `state/step-000010/` and `state/step-000020/`: a newest one that was damaged costs its steps and no more.
"""

import json
import shutil
import sys
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from npo_pipeline.grpo.optimizer import PolicyOptimizer
from npo_pipeline.storage.atomic import new_folder
from npo_pipeline.storage.layout import step_name
from npo_pipeline.storage.manifest import sha256_file

KEPT = 2
TENSORS, FACTS = "trainer.safetensors", "state.json"


def save_state(folder: Path, optimizer: PolicyOptimizer, step: int, fingerprint: str) -> None:
    """Add a state, atomically, and drop all but the last `KEPT`. `step` is the next step to run. Raises StorageError."""
    with new_folder(folder / step_name(step)) as partial:
        save_file({name: tensor.detach().contiguous() for name, tensor in optimizer.state_tensors().items()}, partial / TENSORS)
        facts = {"step": step, "fingerprint": fingerprint, "sha256": sha256_file(partial / TENSORS)}
        (partial / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    for old in _states(folder)[KEPT:]:
        shutil.rmtree(old)


def load_state(folder: Path, optimizer: PolicyOptimizer, fingerprint: str, whole_steps: int) -> int:
    """Restore weights and optimizer of the newest usable state of this very run; returns its next step, or 0 if there is none.

    A state past the `whole_steps` that the run's own files hold is not usable: what was written before it is lost or damaged.
    """
    states = _states(folder)
    for i, state in enumerate(states):
        try:
            facts = json.loads((state / FACTS).read_text(encoding="utf-8"))
            if facts["fingerprint"] != fingerprint:
                print(f"{state}: of another configuration, seed or input; the run starts anew, what it had is replaced", file=sys.stderr)
                continue
            if facts["step"] > whole_steps:
                raise ValueError(f"the run's files are whole up to step {whole_steps}")
            if (found := sha256_file(state / TENSORS)) != facts["sha256"]:
                raise ValueError(f"sha256 {found[:12]}..., expected {facts['sha256'][:12]}...")
            tensors = load_file(state / TENSORS)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            print(f"{state}: not usable ({error}); taking the state before it, if there is one", file=sys.stderr)
            continue
        optimizer.load_state_tensors(tensors)
        for newer in states[:i]:  # of steps that will be run again: they are not to be resumed from later
            shutil.rmtree(newer)
        return int(facts["step"])
    return 0


def _states(folder: Path) -> list[Path]:
    """The newest first."""
    return sorted(folder.glob("step-*"), reverse=True)
