"""The numbers that the token losses of a micro-batch are made with, beside the log-probs that have a gradient.

They are put together on the CPU and moved once. What the forward itself has just measured is taken from the device as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from npo_pipeline.policy.device import moved
from npo_pipeline.policy.logprobs import Sequences
from npo_pipeline.records import Slot


@dataclass(frozen=True)
class Rows:
    """What an update is made from; lists run over rows. `reference` holds the initial policy's log-probs where kl_coef > 0."""

    slots: Sequence[Slot]
    advantages: Sequence[float]
    sequences: Sequences
    reference: list[list[float]] | None

    def lengths(self, picked: Sequence[int]) -> list[tuple[int, int]]:
        """Of prompt and response."""
        return [(len(prompt), len(response)) for prompt, response in (self.sequences[i] for i in picked)]


@dataclass(frozen=True)
class Terms:
    """Of the `picked` rows. `now` [B, T] are their log-probs without a gradient, `before` those of all rows before the first
    optimizer step; None where this is the first and only one, so that they are the same.
    """

    rows: Rows
    picked: Sequence[int]
    now: Tensor
    before: Sequence[Sequence[float]] | None

    @property
    def slots(self) -> list[Slot]:
        return [self.rows.slots[i] for i in self.picked]

    def advantages(self) -> Tensor:
        return moved(torch.tensor([self.rows.advantages[i] for i in self.picked]), self.now.device)

    def shaped(self) -> Tensor | None:
        """Which rows have a shaped ratio [B]; None if none has."""
        flags = [slot.ratio.startswith("shaped") for slot in self.slots]
        return moved(torch.tensor(flags), self.now.device) if any(flags) else None

    def reference(self) -> Tensor | None:
        found = self.rows.reference
        return None if found is None else self._padded([found[i] for i in self.picked])

    def measured(self) -> Tensor:
        """Log-probs [B, T] under the policy that sampled the step's roll-outs."""
        return self.now if self.before is None else self._padded([self.before[i] for i in self.picked])

    def old(self) -> Tensor:
        """The logarithm of each ratio's denominator (records.Slot), [B, T]: of the policy, as recorded, or that of 1."""
        return self._recorded(lambda slot: slot.ratio != "policy", lambda slot: () if slot.ratio == "shaped" else _behaviour(slot))

    def engine(self) -> Tensor:
        """What the engine said of its own samples for this step, [B, T]; of other rows as measured, so that nothing is corrected."""
        return self._recorded(lambda slot: slot.source == "on_policy", _behaviour)

    def _recorded(self, applies: Callable[[Slot], bool], logprobs: Callable[[Slot], Sequence[float]]) -> Tensor:
        """Recorded log-probs of the rows that it applies to, measured ones of all others."""
        flags = [applies(slot) for slot in self.slots]
        if not any(flags):
            return self.measured()
        found = self._padded([logprobs(slot) if flag else () for slot, flag in zip(self.slots, flags, strict=True)])
        return found if all(flags) else torch.where(moved(torch.tensor(flags), self.now.device)[:, None], found, self.measured())

    def _padded(self, rows: Sequence[Sequence[float]]) -> Tensor:
        """Rows of numbers as a tensor of the shape of `now`, 0 where padded."""
        width = self.now.shape[1]
        filled = torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=self.now.dtype).reshape(len(rows), width)
        return moved(filled, self.now.device)


def _behaviour(slot: Slot) -> Sequence[float]:
    return slot.trajectory.behaviour_logprobs
