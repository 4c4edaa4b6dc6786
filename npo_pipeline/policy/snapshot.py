"""Copies of a policy's weights in the CPU's memory, made while its device works on.

From a GPU they go over a stream of their own into pinned memory. Nobody waits at once: sampling comes next and only reads. Before the
weights are changed the GPU, not the CPU, is told to wait for what is left of the copy (`hold`), and who reads the copy waits for it
(`wait`). A second copy on the device first would need no `hold`, but as much memory again as the policy, to save milliseconds: the
copy, 3.4 GB at 1.7B over a link of some 25 GB/s, is long done when a step has sampled.

What changed is then found on the CPU, by whoever writes, beside the training. To find it on the device the weights before would have
to be there, or be sent there: the same bytes over the same link.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from npo_pipeline.policy.policy import Policy, own_weights


class Snapshot:
    """Memory for the weights that a checkpoint of `policy` holds, and the last copy that was made in it."""

    def __init__(self, policy: Policy) -> None:
        pinned = policy.device.type == "cuda"
        self.weights = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned) for name, tensor in own_weights(policy).items()
        }
        self._stream = torch.cuda.Stream(policy.device) if pinned else None
        self._copied: torch.cuda.Event | None = None

    @torch.no_grad()
    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Copy them, when the device has done what it was asked for so far. Of a CPU's memory it is done on return."""
        if self._stream is None:
            return self._copy(weights)
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            self._copy(weights)
            self._copied = torch.cuda.Event(blocking=True)
            self._copied.record()

    def _copy(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            self.weights[name].copy_(tensor, non_blocking=True)

    def hold(self) -> None:
        """Have the device wait: what it is asked for from now on may change the weights."""
        if self._stream and self._copied:
            torch.cuda.current_stream(self._stream.device).wait_event(self._copied)

    def wait(self) -> None:
        """Until the copy is there to be read, on any thread."""
        if self._copied:
            self._copied.synchronize()
