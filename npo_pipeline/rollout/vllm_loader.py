"""A way to start vLLM that loads nothing: the weights are handed over by the first update.

vLLM's own "dummy" format would do for parameters, but it also overwrites what a model computes for itself when it is built (Qwen3-VL's
normalisation of pixels), and no update brings that back.
"""

import torch
from torch import nn
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
    """vLLM's `worker_extension_cls`: it adds nothing, but makes every worker's process import this file and so know the format."""
