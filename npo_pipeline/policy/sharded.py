"""The policy as the optimizer of many processes sees it: a second model whose parameters are spread over them by FSDP2.

Every rank keeps the policy itself whole, for sampling, scoring and checkpoints, which then need no other rank; the sharded model
only makes gradients. Its parameters are float32 (the master copies), a forward computes in the policy's dtype, gradients are summed
in float32; after an optimizer step `update_policy` rounds them back into the whole policy, to the same bits on every rank. With LoRA
the frozen base keeps its dtype and only the adapters change.

Memory per rank, for P parameters of b bytes, n ranks, all of them trained: b P for the whole policy (as much again for an engine with
weights of its own), 16 P / n for masters, gradients and AdamW's two moments, and one decoder layer of b bytes a parameter at a time.
An image encoder and the embedding belong to the root, which is whole during a forward and backward.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from npo_pipeline.policy.lora import has_lora


class ShardedModel:
    """`model` is what to call; `update_policy` what to call after each optimizer step."""

    def __init__(self, whole: PreTrainedModel) -> None:
        """Shard a copy of `whole` over all ranks of torch's default group. No rank ever holds a second whole copy."""
        self.whole = whole
        self.model = _same_memory(whole)
        _shard(self.model, whole.dtype, whole.device.type)

    @torch.no_grad()
    def update_policy(self) -> None:
        """Put what was trained into the whole policy, in place. All ranks must call it."""
        for own, sharded in zip(self.whole.parameters(), self.model.parameters(), strict=True):
            if own.requires_grad:
                own.copy_(whole_tensor(sharded))


def whole_tensor(tensor: Tensor) -> Tensor:
    """A tensor that is spread over ranks, put together; any other as it is. All ranks must call it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def recompute_activations(model: PreTrainedModel) -> None:
    """Activation checkpointing: a decoder layer keeps its input alone, and is computed again in the backward.

    In place of its `forward`, so that no name of a parameter changes. Its forward must have no cache, which would be written twice.
    """
    for layer in model.get_decoder().layers:
        layer.forward = partial(_recomputed, layer.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


def _same_memory(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with parameters of its own on the memory of the original's, which sharding will leave alone; tied ones stay tied."""
    memo = {id(parameter): nn.Parameter(parameter.detach(), parameter.requires_grad) for parameter in model.parameters()}
    return copy.deepcopy(model, memo)


def _shard(model: PreTrainedModel, dtype: torch.dtype, device: str) -> None:
    """Layer by layer, so that a float32 copy of one layer at a time is whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.distributed_c10d import get_world_size
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device, (get_world_size(),))
    computed = None if has_lora(model) else dtype  # adapters compute in their own float32
    policy = MixedPrecisionPolicy(param_dtype=computed, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for module in (*model.get_decoder().layers, model):
        _as_masters(module)
        fully_shard(module, mesh=mesh, mp_policy=policy)
        assert isinstance(module, FSDPModule)
        # The loss is a sum over all ranks, so gradients are added, not averaged.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
        # A rank without an image, or with a dummy batch, takes part with gradients of zero.
        module.set_reduce_scatter_unused_params(True)


def _as_masters(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
