"""Packed rows against padded ones, with attention that transformers makes block-diagonal from their positions."""

from unittest.mock import patch

import pytest
import torch
from test_online_softmax import adapted, assert_found, made, seen, text_rows
from tiny import small_tiles, tiny_policy

from npo_pipeline.policy import logprobs
from npo_pipeline.policy.logprobs import collate
from npo_pipeline.policy.packing import flash_attention, packed_inputs, packs
from npo_pipeline.policy.sharded import recompute_activations

MODELS = {
    "tiny": lambda: tiny_policy().model.double(),
    "sliding window": lambda: made("mistral", sliding_window=5),
    "lora": adapted,
}


def test_packed_by_hand() -> None:
    batch = collate([((5, 6), (7,)), ((8,), (9, 10)), ((11, 12), ())], 0, torch.device("cpu"))
    found = packed_inputs(batch.input_ids, batch.position_ids, [(2, 1), (1, 2), (2, 0)])
    assert found["input_ids"].tolist() == [[5, 6, 8, 9]]
    assert found["position_ids"].tolist() == [[0, 1, 0, 1]]
    assert found["logits_to_keep"].tolist() == [1, 2, 3]
    assert found["cu_seq_lens_q"].tolist() == [0, 2, 4]
    assert (found["cu_seq_lens_q"].dtype, found["max_length_k"]) == (torch.int32, 2)


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("recompute", [False, True])
def test_packed_rows_equal_padded_ones(name: str, recompute: bool) -> None:
    model, batch = MODELS[name](), collate(text_rows(), 0, torch.device("cpu"))
    expected = seen(model, batch, True)
    if recompute:
        recompute_activations(model)
    with small_tiles(70), patch.object(logprobs, "packs", lambda _: True):
        widths: list[torch.Size] = []
        model.get_decoder().register_forward_pre_hook(lambda *given: widths.append(given[2]["input_ids"].shape), with_kwargs=True)
        found = seen(model, batch, True)
    assert widths == [(1, sum(len(prompt) + len(response) - 1 for prompt, response in text_rows() if response))]
    assert_found(found, expected, 1e-6)  # norms are float32 in every model


def test_nothing_is_packed_without_flash_attention() -> None:
    model = tiny_policy().model.bfloat16()
    before = model.config._attn_implementation
    with flash_attention(model):
        assert (packs(model), model.config._attn_implementation) == (False, before)
