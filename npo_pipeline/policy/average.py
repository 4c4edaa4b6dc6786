"""Averages of a policy's weights, over the steps of a run as it trains and over its kept checkpoints; and acting with them for a while.

An average is over what is trained: all parameters, or with LoRA the adapter's. It is made in float32, and rounded to the policy's
dtype where a policy acts with it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from npo_pipeline.policy.checkpoints import Walk


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes, each once, in the model's own order: that of the optimizer."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class MovingAverage:
    """The exponential moving average of weights: of those `age` steps old with weight decay^age, over the sum of these weights.

    That is the plain form with Adam's correction of its start (Kingma & Ba 2015, algorithm 1): the first average is the first weights.
    `tensors` lie beside the float32 masters that are averaged, on their device, spread over ranks as they are.
    """

    def __init__(self, masters: Sequence[Tensor], decay: float) -> None:
        """Of the masters as they are now."""
        self.decay = decay
        self.tensors = [master.detach().clone() for master in masters]

    @torch.no_grad()
    def see(self, masters: Sequence[Tensor], count: int) -> None:
        """Take in the masters as they are now, the `count`-th weights of the average; the first were seen when it was made."""
        weight = (1.0 - self.decay) / (1.0 - self.decay**count)
        for average, master in zip(self.tensors, masters, strict=True):
            average.lerp_(master.detach(), weight)

    @torch.no_grad()
    def beyond(self, masters: Sequence[Tensor], share: float) -> Iterator[Tensor]:
        """Weights that lie this share of the way from the average to the masters beyond them: masters + share (masters - average)."""
        for average, master in zip(self.tensors, masters, strict=True):
            yield torch.lerp(average, master.detach(), 1.0 + share)


@torch.no_grad()
def mean_of(walk: Walk, steps: Sequence[int]) -> list[Tensor]:
    """The mean of a run's checkpoints, made in float32 and rounded to the policy's dtype, one tensor per trained parameter.

    They are summed up in the order given while the walk passes them: no two are held at a time. The walk ends at the last of `steps`.
    """
    weights = trained(walk.policy.model)
    total = [torch.zeros_like(weight, dtype=torch.float32, requires_grad=False) for weight in weights]
    for step in steps:
        walk.to(step)
        for sum_, weight in zip(total, weights, strict=True):
            sum_ += weight
    return [(total.pop(0) / len(steps)).to(weight.dtype) for weight in weights]  # no sum is kept beside its mean


@contextmanager
def acting(model: nn.Module, weights: Iterable[Tensor]) -> Iterator[None]:
    """The model has these weights, one per trained parameter, within the block; afterwards its own again, to the bit.

    Memory is exchanged, nothing is copied back: who still reads the model's own weights, as a checkpoint that is being written does,
    is not disturbed.
    """
    parameters = trained(model)
    own = [parameter.data for parameter in parameters]
    try:
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.data = weight.to(parameter.dtype)
        yield
    finally:
        for parameter, memory in zip(parameters, own, strict=True):
            parameter.data = memory
