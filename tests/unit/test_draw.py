"""A token by inverse transform: by blocks, as on a GPU, and over the whole vocabulary, as on a CPU."""

import numpy as np
import pytest
import torch

from npo_pipeline.rollout.draw import chosen, chosen_by_blocks


@pytest.mark.parametrize(("vocabulary", "block"), [(300, 16), (512, 512), (1000, 512), (5, 512), (151_936, 512)])
def test_blocks_choose_the_token_at_which_the_cumulative_probability_passes_the_number(vocabulary: int, block: int) -> None:
    """Against numpy's own search in float64 of the same float32 probabilities."""
    generator = torch.Generator().manual_seed(vocabulary)
    rows = 2000 if vocabulary < 2000 else 50
    logprobs = (torch.randn(rows, vocabulary, generator=generator) * 3).log_softmax(-1)
    uniforms = torch.rand(rows, generator=generator, dtype=torch.float64)
    found = chosen_by_blocks(logprobs, uniforms, block)
    assert found.shape == (rows, 1)
    cumulative = np.cumsum(logprobs.exp().double().numpy(), axis=1)
    for row, u, token in zip(cumulative, uniforms.tolist(), found[:, 0].tolist(), strict=True):
        before = row[token - 1] if token else 0.0
        assert before - 1e-12 <= u * row[-1] <= row[token] + 1e-12


def test_blocks_and_the_whole_choose_alike() -> None:
    """Probabilities of the one are rounded to float32: a number within that of a border may fall to the other side."""
    generator = torch.Generator().manual_seed(1)
    logprobs = (torch.randn(20_000, 300, generator=generator) * 2).log_softmax(-1)
    uniforms = torch.rand(20_000, generator=generator, dtype=torch.float64)
    differ = (chosen(logprobs, uniforms) != chosen_by_blocks(logprobs, uniforms, 16)).sum()
    assert differ <= 2


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_what_has_no_probability_is_never_drawn(number: float) -> None:
    """Zeros at both ends, in whole blocks between, and around the only tokens of a block."""
    scores = torch.full((4, 100), -torch.inf)
    scores[0, 37], scores[1, [3, 98]], scores[2, 16:32] = 0.0, 0.0, 0.0
    scores[3, [40, 44]] = torch.tensor([0.0, -80.0])
    for row, token in zip(scores, chosen_by_blocks(scores.log_softmax(-1), torch.full((4,), number, dtype=torch.float64), 16), strict=True):
        assert row[token] > -torch.inf
