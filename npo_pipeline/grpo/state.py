"""The trainer's state: what a killed run needs to go on as if nothing had happened.

Problem order and sampling seeds are pure functions of the step, so weights, optimizer and step are all there is. The last two
states are kept, `state/step-000010/` and `state/step-000020/`: a newest one that was damaged costs its steps and no more.

One process writes `trainer.safetensors`; of many each writes its shard, by torch.distributed.checkpoint in its safetensors form,
which holds no pickle. Either is read by any number of processes.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.errors import ArtifactError
from npo_pipeline.grpo.optimizer import PolicyOptimizer
from npo_pipeline.shown import one_line
from npo_pipeline.storage.atomic import new_folder, partial_of
from npo_pipeline.storage.layout import step_name
from npo_pipeline.storage.manifest import sha256_file

KEPT = 2
TENSORS, FACTS = "trainer.safetensors", "state.json"
ONE = Ranks()


def save_state(folder: Path, optimizer: PolicyOptimizer, step: int, fingerprint: str, ranks: Ranks = ONE, kept: int | None = KEPT) -> None:
    """Add a state, atomically, and drop all but the last `kept`; None drops none. `step` is the next step to run. Raises StorageError."""
    with _new_shared_folder(folder / step_name(step), ranks) as partial:
        digests = _write_shard(partial, optimizer, ranks) if ranks.size > 1 else _write(partial, optimizer)
        if ranks.main:
            facts = {"step": step, "fingerprint": fingerprint, "sha256": digests}
            (partial / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    if ranks.main and kept is not None:
        for old in _states(folder)[kept:]:
            shutil.rmtree(old)


def load_state(folder: Path, optimizer: PolicyOptimizer, fingerprint: str, whole_steps: int, ranks: Ranks = ONE) -> int:
    """Restore weights and optimizer of the newest usable state of this very run; returns its next step, or 0 if there is none.

    A state past the `whole_steps` that the run's own files hold is not usable: what was written before it is lost or damaged.
    """
    found = ranks.on_main(lambda: _newest_usable(folder, fingerprint, whole_steps))
    if found is None:
        return 0
    state, step = found
    _restore(state, optimizer, ranks)
    return step


def load_kept_state(state: Path, optimizer: PolicyOptimizer, ranks: Ranks = ONE) -> str | None:
    """Restore the state that another run kept, whatever its configuration; the sha256 of its facts, None where there is none.

    Raises ArtifactError if it is damaged.
    """
    if not (state / FACTS).is_file():
        return None
    try:
        _check(state, facts := json.loads((state / FACTS).read_text(encoding="utf-8")), facts["step"])
        _restore(state, optimizer, ranks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError, RuntimeError) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ArtifactError(
            f"{state}: not a usable state of this policy's optimizer ({reason}). Delete it to begin with fresh moments"
        ) from None
    return sha256_file(state / FACTS)


def _restore(state: Path, optimizer: PolicyOptimizer, ranks: Ranks) -> None:
    one_file = (state / TENSORS).is_file() and ranks.size == 1
    optimizer.load_state_tensors(load_file(state / TENSORS) if one_file else _read_shards(state, optimizer, ranks))


def _newest_usable(folder: Path, fingerprint: str, whole_steps: int) -> tuple[Path, int] | None:
    """The state and its step. Newer ones are removed: they are of steps that will be run again, not to be resumed from later."""
    states = _states(folder)
    for i, state in enumerate(states):
        try:
            facts = json.loads((state / FACTS).read_text(encoding="utf-8"))
            if facts["fingerprint"] != fingerprint:
                print(f"{state}: of another configuration, seed or input; the run starts anew, what it had is replaced", file=sys.stderr)
                continue
            _check(state, facts, whole_steps)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            print(f"{state}: not usable ({error}); taking the state before it, if there is one", file=sys.stderr)
            continue
        for newer in states[:i]:
            shutil.rmtree(newer)
        return state, int(facts["step"])
    return None


def _check(state: Path, facts: dict[str, Any], whole_steps: int) -> None:
    """Raises ValueError."""
    if facts["step"] > whole_steps:
        raise ValueError(f"the run's files are whole up to step {whole_steps}")
    for name, expected in facts["sha256"].items():
        if (found := sha256_file(state / name)) != expected:
            raise ValueError(f"{name}: sha256 {found[:12]}..., expected {expected[:12]}...")


def _write(partial: Path, optimizer: PolicyOptimizer) -> dict[str, str]:
    """Returns the sha256 of each file, by name."""
    save_file({name: tensor.detach().contiguous() for name, tensor in optimizer.state_tensors().items()}, partial / TENSORS)
    return {TENSORS: sha256_file(partial / TENSORS)}


def _write_shard(partial: Path, optimizer: PolicyOptimizer, ranks: Ranks) -> dict[str, str]:
    """This rank's part; returns the sha256 of every rank's file. Raises OSError on all ranks where the disk refused one of them."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    tensors = {name: tensor.detach() for name, tensor in optimizer.state_tensors().items()}
    try:
        save(tensors, storage_writer=HuggingFaceStorageWriter(str(partial), save_distributed=True))
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error
    own = {file.name: sha256_file(file) for file in partial.glob(f"shard-{ranks.rank + 1:05d}-*.safetensors")}
    return {name: digest for part in ranks.gather(own) for name, digest in part.items()}


def _read_shards(state: Path, optimizer: PolicyOptimizer, ranks: Ranks) -> dict[str, Any]:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(state))
    tensors = optimizer.blank_state_tensors(reader.read_metadata().state_dict_metadata)
    load(tensors, storage_reader=reader, no_dist=ranks.size == 1)
    return tensors


@contextmanager
def _new_shared_folder(path: Path, ranks: Ranks) -> Iterator[Path]:
    """`new_folder` of rank 0, which all ranks may write to within the block."""
    if not ranks.main:
        ranks.gather(None)
        yield partial_of(path)
        return
    with new_folder(path) as partial:
        ranks.gather(None)  # it is there
        yield partial


def _states(folder: Path) -> list[Path]:
    """The newest first."""
    return sorted(folder.glob("step-*"), reverse=True)
