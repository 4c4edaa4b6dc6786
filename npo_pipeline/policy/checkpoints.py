"""The checkpoints of a run as policies: written while the run trains, and walked over by one loaded policy.

What is hashed when: a file's sha256 each time a delta is read, so weights that were right stay right under patching; all weights,
where they are (npo_pipeline.policy.identity), once after a full policy was loaded, and where a caller asks for it (`Walk.sha256`).
"""

import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from safetensors.torch import save_file

from npo_pipeline.errors import ArtifactError
from npo_pipeline.policy.identity import identity, weights_sha256
from npo_pipeline.policy.lora import has_lora
from npo_pipeline.policy.policy import Policy, load_policy, load_weights, own_weights, write_policy
from npo_pipeline.policy.snapshot import Snapshot
from npo_pipeline.storage.atomic import new_folder
from npo_pipeline.storage.checkpoints import (
    DELTA,
    apply_delta,
    fix,
    is_checkpoint,
    read_record,
    read_records,
    route,
    write_record,
)
from npo_pipeline.storage.deltas import Weights, encode_blocks, gather
from npo_pipeline.storage.layout import checkpoint

ENCODERS = {"cpu": 1, "cuda": 4}  # threads: beside a GPU there are processors to spare, beside a CPU's training none
WORTH = 0.5  # a delta that takes more than this share of a full policy is not worth the chain: the policy is kept whole


class Walk:
    """A loaded policy that goes from checkpoint to checkpoint of a run, patched in place wherever that costs less than loading."""

    def __init__(self, run: Path, step: int, device: str = "cpu") -> None:
        """Load the policy of `step`, in the dtype it was trained in. Raises ArtifactError."""
        self.run, self.records = run, read_records(run)
        self.step, deltas = route(run, self.records, step)
        self.policy = load_policy(checkpoint(run, self.step), self.records[self.step].dtype, device)
        self._weights = own_weights(self.policy)
        self._patch(deltas, step)
        self.sha256()

    def to(self, step: int) -> None:
        """Put the weights of `step` into the policy, in place. Raises ArtifactError if a file on the way is damaged."""
        start, deltas = route(self.run, self.records, step, self.step)
        if start != self.step:
            load_weights(self.policy, checkpoint(self.run, start))
            self.step = start
            self.sha256()
        self._patch(deltas, step)

    def sha256(self) -> str:
        """The weights' name. Raises ArtifactError if it is not what was recorded when the run wrote them."""
        record = self.records[self.step]
        found, recorded = weights_sha256(self.policy) if record.schema == 1 else identity(self.policy), record.weights_sha256
        if found != recorded:
            folder = checkpoint(self.run, self.step)
            raise ArtifactError(f"{folder}: its weights have sha256 {found[:12]}..., expected {recorded[:12]}.... {fix(folder)}")
        return found

    def _patch(self, deltas: list[int], step: int) -> None:
        """Backwards over the delta of each checkpoint that is left, or forwards over that of each that is come to."""
        for passed in deltas:
            apply_delta(self.run, self.records[passed], self._weights)
        self.step = step


def open_policy(source: str | Path, dtype: str, device: str = "cpu", key: str | None = None) -> Policy:
    """A checkpoint of a run, whole or not, or whatever else `load_policy` reads, with its `key`. Raises ArtifactError or ConfigError.

    A whole one that was copied out of its run is a model directory like any other.
    """
    if (folder := _in_its_run(source)) is None:
        return load_policy(source, dtype, device, key=key)
    return Walk(folder.parent.parent, read_record(folder).step, device).policy


def policy_sha256(source: str | Path, policy: Policy) -> str:
    """The name of what `open_policy` opened: of a run's checkpoint the recorded one, of any other its identity."""
    folder = _in_its_run(source)
    return read_record(folder).weights_sha256 if folder else identity(policy)


def _in_its_run(source: str | Path) -> Path | None:
    folder = Path(os.path.expanduser(source)).absolute()
    return folder if is_checkpoint(folder) and folder.parent.name == "checkpoints" else None


class CheckpointWriter:
    """Writes a run's checkpoints on a thread of its own, beside the training, which pays for starting a copy of the weights.

    At most one checkpoint is being written: `put` waits for the one before, if it is still under way. What went wrong on the thread is
    raised by the next call of `put`, `check` or `wait`, as StorageError where the disk refused.
    """

    def __init__(self, policy: Policy, run: Path, key_every: int) -> None:
        """Every `key_every`-th checkpoint is a full policy, the first one always; an adapter is small, and kept whole every time."""
        self.policy, self.run, self.key_every = policy, run, key_every
        self.whole = has_lora(policy.model)
        self.count, self.last = 0, -1  # checkpoints so far, and the step of the last one
        self._old: Snapshot | None = None  # the last one's weights
        self._spare: Snapshot | None = None
        self._thread = ThreadPoolExecutor(1, "checkpoints")
        self._pending: Future[None] | None = None

    def resume(self, step: int, kept: set[int]) -> None:
        """Go on at `step`: later checkpoints go, earlier ones of the `kept` steps are there (storage.checkpoints.whole_until)."""
        for folder in (self.run / "checkpoints").glob("step-*"):
            if int(folder.name.removeprefix("step-")) >= step:
                shutil.rmtree(folder)
        earlier = sorted(known for known in kept if known < step)
        if earlier:
            self.count, self.last = len(earlier), earlier[-1]
            if not self.whole:
                self._old = Snapshot(self.policy)
                self._old.take(own_weights(Walk(self.run, self.last).policy))

    def put(self, step: int, sha256: str) -> None:
        """Keep the policy as it is now, whose weights have this name. Before they change, `before_change` has to be called."""
        self.wait()
        new = self._spare or Snapshot(self.policy)
        new.take(own_weights(self.policy))
        full = self.whole or self.count % self.key_every == 0
        self._pending = self._thread.submit(self._write, step, self.last, full, None if self.whole else self._old, new, sha256)
        self._old, self._spare = new, self._old
        self.count, self.last = self.count + 1, step

    def before_change(self) -> None:
        """The weights are about to be changed: what has not been copied yet of the last ones is copied first."""
        if self._old:
            self._old.hold()

    def check(self) -> None:
        """Raise what went wrong so far, without waiting."""
        if self._pending and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """All that was put is on disk after this."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        self._thread.shutdown()

    def _write(self, step: int, last: int, full: bool, old: Snapshot | None, new: Snapshot, sha256: str) -> None:
        new.wait()
        with new_folder(checkpoint(self.run, step)) as partial:
            small = old is not None and self._write_delta(partial / DELTA, old.weights, new.weights)
            if full or not small:
                write_policy(self.policy, partial, checkpoint(self.run, step), new.weights)
            dtype = str(self.policy.model.dtype).removeprefix("torch.")
            write_record(partial, step, last if small else None, full or not small, dtype, sha256)

    def _write_delta(self, path: Path, old: Weights, new: Weights) -> bool:
        """Write it if it is worth it; returns whether it is. It is given up as soon as it takes too much."""
        found, left = [], WORTH * sum(tensor.nbytes for tensor in new.values())
        for encoded in encode_blocks(old, new, ENCODERS[self.policy.device.type]):
            found.append(encoded)
            if (left := left - encoded.nbytes) < 0:
                return False
        tensors, metadata = gather(found)
        path.parent.mkdir()
        save_file(tensors, path, metadata)
        return True
