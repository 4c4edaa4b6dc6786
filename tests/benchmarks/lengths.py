"""Responses whose lengths follow a given law, whoever samples them: what a benchmark needs to compare samplers on equal work.

A random policy hardly ever ends its responses, and a trained one as its task asks. So the end is decided beside the policy: a logits
processor, as transformers' `generate` and this project's engine both take, draws the lengths of a batch as it begins, ends as many rows
at each position, and rules the end out elsewhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class LengthLaw(LogitsProcessor):
    """`shares[t]` is the share of responses of t + 1 tokens; what is left runs on. Two laws of one seed deal out the same lengths.

    `prompt` is how many of the ids that it is shown are no response. Rows that have ended may leave the batch or stay in it.
    """

    def __init__(self, shares: Sequence[float], stop_ids: Sequence[int], seed: int) -> None:
        self.shares = torch.tensor([*shares, max(0.0, 1.0 - sum(shares))])
        self.stop_ids, self.prompt = list(stop_ids), 0
        self.generator = torch.Generator().manual_seed(seed)
        self.lengths, self.ended = torch.empty(0), torch.empty(0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        t = input_ids.shape[1] - self.prompt
        if t == 0:
            self.lengths = torch.multinomial(self.shares, len(scores), replacement=True, generator=self.generator) + 1
        if len(scores) != len(self.ended) or t == 0:
            self.ended = torch.zeros(len(scores), dtype=torch.bool)
        going = (~self.ended).nonzero().squeeze(1)
        ends = going[torch.randperm(len(going), generator=self.generator)[: int((self.lengths == t + 1).sum())]]
        self.ended[ends] = True
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
