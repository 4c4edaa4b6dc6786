"""Responses whose lengths follow a given law, whoever samples them: what a benchmark needs to compare samplers on equal work.

A random policy hardly ever ends its responses, and a trained one as its task asks. So the end is decided beside the policy: a logits
processor, as transformers' `generate` and this project's engine both take, draws for every row and position whether the response ends
there, and rules the end out elsewhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class LengthLaw(LogitsProcessor):
    """Ends a response at each position with the chance that `shares` implies; `shares[t]` is the share of responses of t + 1 tokens.

    `prompt` is how many of the ids that it is shown are no response.
    """

    def __init__(self, shares: Sequence[float], stop_ids: Sequence[int], seed: int) -> None:
        left = [max(0.0, 1.0 - sum(shares[:t])) for t in range(len(shares))]
        self.hazard = [min(1.0, share / rest) if rest > 1e-9 else 0.0 for share, rest in zip(shares, left, strict=True)]
        self.stop_ids, self.prompt = list(stop_ids), 0
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        t = input_ids.shape[1] - self.prompt
        hazard = self.hazard[t] if t < len(self.hazard) else 0.0
        ends = torch.rand(len(scores), generator=self.generator) < hazard
        scores = scores.clone()
        scores[:, self.stop_ids] = -torch.inf
        scores[ends] = -torch.inf
        scores[ends, self.stop_ids[0]] = 0.0
        return scores


def fixed(limit: int) -> list[float]:
    """Nobody ends before the limit."""
    return [0.0] * limit


def ragged(limit: int, short: int, long_share: float) -> list[float]:
    """Most responses of 1 to `short` tokens, all lengths alike; the share `long_share` runs on to the limit."""
    return [(1.0 - long_share) / short] * short + [0.0] * (limit - short)
