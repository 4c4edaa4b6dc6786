"""vLLM's side of handing over weights: it starts without any, and its workers take over what each update brings.

vLLM's own "dummy" format would do for parameters, but it also overwrites what a model computes for itself when it is built (Qwen3-VL's
normalisation of pixels), and no update brings that back.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import ModelConfig
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.base_loader import BaseModelLoader

LOAD_FORMAT = "handed_over"


@register_model_loader(LOAD_FORMAT)
class HandedOver(BaseModelLoader):
    """Parameters are zero until they are handed over; buffers stay as the model made them."""

    def download_model(self, model_config: ModelConfig) -> None:
        pass

    @torch.no_grad()
    def load_weights(self, model: nn.Module, model_config: ModelConfig) -> None:
        for parameter in model.parameters():
            parameter.zero_()


class Worker:
    """vLLM's `worker_extension_cls`: mixed into the worker of every process, and so what makes each of them know the format above."""

    def take_over(self: Any, tensors: Sequence[tuple[str, Tensor]]) -> None:
        """Put weights, named as in a checkpoint, into the running model.

        A tied head is among them: vLLM packs it apart from the embedding, and without it silently keeps the old one. Models that
        have no head of their own (Gemma) refuse it.
        """
        modules = dict(self.get_model().named_modules(remove_duplicate=False))
        has_head = any(name.rpartition(".")[2] == "lm_head" for name in modules)
        wanted = [(name, tensor) for name, tensor in tensors if has_head or not name.endswith("lm_head.weight")]
        self.reload_weights(weights_iterator=wanted)
