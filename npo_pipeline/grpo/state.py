"""The trainer's state: what a killed run needs to go on as if nothing had happened.

Problem order and sampling seeds are pure functions of the step, so weights, optimizer and step are all there is.
"""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from npo_pipeline.grpo.optimizer import PolicyOptimizer
from npo_pipeline.storage.atomic import new_folder


def save_state(folder: Path, optimizer: PolicyOptimizer, step: int, fingerprint: str) -> None:
    """Replace the saved state, atomically. `step` is the next step to run."""
    with new_folder(folder) as partial:
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in optimizer.state_tensors().items()}, partial / "trainer.safetensors"
        )
        (partial / "state.json").write_text(json.dumps({"step": step, "fingerprint": fingerprint}), encoding="utf-8")


def load_state(folder: Path, optimizer: PolicyOptimizer, fingerprint: str) -> int:
    """Restore weights and optimizer; returns the next step, or 0 if there is no usable state of this very run."""
    try:
        saved = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if saved["fingerprint"] != fingerprint:
            return 0
        tensors, step = load_file(folder / "trainer.safetensors"), int(saved["step"])
    except (OSError, ValueError, KeyError, SafetensorError):
        return 0
    optimizer.load_state_tensors(tensors)
    return step
