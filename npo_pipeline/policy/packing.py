"""Rows of a batch one behind the other in a single sequence without padding, as transformers takes them for flash attention.

That a row sees itself alone follows from `position_ids`, which begin anew with each, and from the `cu_seq_lens` that the flash kernels
read. Rows of one prompt do not share its forward then; what is saved is the padding. In use where flash attention is installed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from npo_pipeline.policy.device import moved


def packed_inputs(input_ids: Tensor, position_ids: Tensor, lengths: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """What a model reads of rows of (prompt, response) `lengths`, from the padded [B, P+T].

    `logits_to_keep` are the places from which response tokens are predicted, row by row; a row without a response is left out.
    Example: prompts of 2 and 1 tokens, responses of 1 and 2: [p, p, p, r], positions [0, 1, 0, 1], places [1, 2, 3].
    """
    width, prompt_width = input_ids.shape[1], max(prompt for prompt, _ in lengths)
    read, kept, sizes = [], [], [0]
    for row, (prompt, response) in enumerate(lengths):
        if response:
            start, size = row * width + prompt_width - prompt, prompt + response - 1  # the last token predicts nothing
            kept.append(torch.arange(prompt - 1, size) + sum(sizes))
            read.append(torch.arange(start, start + size))
            sizes.append(size)
    device = input_ids.device
    index, bounds = moved(torch.cat(read), device), moved(torch.tensor(sizes, dtype=torch.int32).cumsum(0, dtype=torch.int32), device)
    return {
        "input_ids": input_ids.flatten().index_select(0, index)[None],
        "position_ids": position_ids.flatten().index_select(0, index)[None],
        "attention_mask": None,
        "logits_to_keep": moved(torch.cat(kept), device),
        "use_cache": False,
        **dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), bounds),
        **dict.fromkeys(("max_length_q", "max_length_k"), max(sizes)),
    }


def packs(model: PreTrainedModel) -> bool:
    """Whether rows of text are to be packed: within `flash_attention`."""
    return (model.config._attn_implementation or "").startswith("flash_attention")


@contextmanager
def flash_attention(model: PreTrainedModel) -> Iterator[None]:
    """Flash attention for a while, backward included, where it is installed and fits the model; else nothing changes."""
    name = _installed() if model.device.type == "cuda" and model.dtype == torch.bfloat16 and model._supports_flash_attn else None
    before = model.config._attn_implementation
    if name is None or model._is_stateful or model.config.get_text_config() is not model.config:
        yield
        return
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _installed() -> str | None:
    return "flash_attention_3" if is_flash_attn_3_available() else "flash_attention_2" if is_flash_attn_2_available() else None
