"""What the pipeline asks of an engine: sample responses with the log-probs of the distribution that was sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from npo_pipeline.records import FinishReason, Image


@dataclass(frozen=True)
class Request:
    """One response to sample. `seed` alone decides its randomness, whatever else is in the batch.

    The prompt is unexpanded: one placeholder token per image, in the order of `images` (npo_pipeline.storage.images opens them).
    """

    prompt_token_ids: tuple[int, ...]
    seed: int
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A sampled response: tokens (the end of sequence included when `finish_reason` is "stop") and their log-probs in nats."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


class Engine(Protocol):
    """Samples from the policy it was made for, with the weights that policy holds at the time of the call."""

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in their order."""
        ...

    def rest(self) -> None:
        """Leave the device's memory to others until the next call, which wakes it up. Before work that needs the memory."""
        ...
