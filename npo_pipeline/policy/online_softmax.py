"""Log-probs and entropy straight from hidden states and the output head's weight, tile by tile over the vocabulary.

softmax(hidden W^T + b) is never whole: the forward folds each tile of logits into running sums (the online softmax of Milakov and
Gimelshein 2018, arXiv 1805.02867), the backward makes the tile again. Logits are rounded to the policy's dtype, as a model's own are;
all that follows is float32, the sum over tiles of the gradient of `hidden` included. Suffixes: _N tokens, _H hidden, _V vocabulary.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from npo_pipeline.policy.tiling import tile_width
from npo_pipeline.policy.vision import RULED_OUT

_NOT_COMPILED: set[str] = set()  # functions whose compilation failed on this machine


def head_logprobs(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    chosen_N: Tensor,
    temperature: float,
    forbidden: tuple[int, ...] = (),
    width: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-prob of each chosen token and entropy, both [N] in nats, of softmax(logits / temperature) without `forbidden` tokens.

    `width`: words of a tile; None: as the device likes it. Both results have a gradient, which costs nothing where it is not asked for.
    """
    width = width or tile_width(len(hidden_NH), len(weight_VH), hidden_NH.device.type)
    logprobs, entropy = _HeadLogprobs.apply(hidden_NH, weight_VH, bias_V, chosen_N, temperature, forbidden, width)
    return logprobs, entropy


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        chosen: Tensor,
        temperature: float,
        forbidden: tuple[int, ...],
        width: int,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)  # an entropy that is only logged has no gradient, and costs none
        exact = torch.promote_types(hidden.dtype, torch.float32)
        folded = tuple(hidden.new_full((len(hidden),), value, dtype=exact) for value in (-torch.inf, 0.0, 0.0, 0.0))
        for start, tile in _tiles(hidden, weight, bias, forbidden, width):
            folded = _run(_fold, tile, chosen - start, *folded, temperature)
        largest, total, weighted, logit = folded
        normaliser = largest + total.log()
        entropy = normaliser - weighted / total
        ctx.save_for_backward(hidden, weight, bias, chosen, normaliser, entropy)
        ctx.settings = temperature, forbidden, width
        return logit - normaliser, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, chosen, normaliser, entropy = ctx.saved_tensors
        temperature, forbidden, width = ctx.settings
        asked = ctx.needs_input_grad
        of_hidden = torch.zeros_like(hidden, dtype=normaliser.dtype) if asked[0] else None
        of_weight, of_bias = (torch.empty_like(tensor) if needed else None for tensor, needed in ((weight, asked[1]), (bias, asked[2])))
        for start, tile in _tiles(hidden, weight, bias, forbidden, width):
            words = slice(start, start + tile.shape[1])
            slope = _run(_slope, tile, chosen - start, normaliser, entropy, *slopes, temperature)
            if of_hidden is not None:
                _add_product(of_hidden, slope, weight[words])
            if of_weight is not None:
                torch.mm(slope.T, hidden, out=of_weight[words])
            if of_bias is not None:
                of_bias[words] = slope.sum(dim=0)
        rounded = None if of_hidden is None else of_hidden.to(hidden.dtype)
        return rounded, of_weight, of_bias, None, None, None, None


def _tiles(hidden: Tensor, weight: Tensor, bias: Tensor | None, forbidden: tuple[int, ...], width: int) -> Iterator[tuple[int, Tensor]]:
    """(first word, logits [N, width]) of each tile."""
    for start in range(0, len(weight), width):
        words = slice(start, start + width)
        tile = torch.nn.functional.linear(hidden, weight[words], None if bias is None else bias[words])
        for token in forbidden:
            if start <= token < start + tile.shape[1]:
                tile[:, token - start] = RULED_OUT
        yield start, tile


def _fold(
    tile: Tensor, chosen: Tensor, largest: Tensor, total: Tensor, weighted: Tensor, logit: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Add a tile to the running maximum, sum of exp, sum of exp times logit, and logit of the chosen token, which may be elsewhere."""
    scaled = tile.to(largest.dtype) / temperature
    new = torch.maximum(largest, scaled.amax(dim=1))
    shrunk, exponentials = (largest - new).exp(), (scaled - new[:, None]).exp_()
    found = scaled.gather(1, chosen.clamp(0, tile.shape[1] - 1)[:, None]).squeeze(1)
    logit = torch.where((chosen >= 0) & (chosen < tile.shape[1]), found, logit)
    total = total * shrunk + exponentials.sum(dim=1)
    return new, total, weighted * shrunk + exponentials.mul_(scaled).sum(dim=1), logit


def _slope(
    tile: Tensor,
    chosen: Tensor,
    normaliser: Tensor,
    entropy: Tensor,
    of_logprob: Tensor | None,
    of_entropy: Tensor | None,
    temperature: float,
) -> Tensor:
    """The gradient of a tile of logits z = T x: d log p_c / d x_v = [v = c] - p_v, and d H / d x_v = -p_v (log p_v + H)."""
    logprobs = (tile.to(normaliser.dtype) / temperature).sub_(normaliser[:, None])
    of_logprob = torch.zeros_like(normaliser) if of_logprob is None else of_logprob / temperature
    if of_entropy is None:
        slope = logprobs.exp_().mul_(-of_logprob[:, None])
    else:
        factor = (logprobs + entropy[:, None]).mul_(of_entropy[:, None] / temperature).add_(of_logprob[:, None])
        slope = logprobs.exp_().mul_(factor).neg_()
    here = (chosen >= 0) & (chosen < tile.shape[1])
    at = chosen.clamp(0, tile.shape[1] - 1)[:, None]
    return slope.scatter_add_(1, at, torch.where(here, of_logprob, 0.0)[:, None]).to(tile.dtype)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b in the dtype of `total`, without rounding the product to a lower one first."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    elif a.is_cuda:
        total.add_(torch.mm(a, b, out_dtype=total.dtype))
    else:
        total.addmm_(a.to(total.dtype), b.to(total.dtype))


def _run(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function`, which changes no argument; on a GPU as one fused kernel, which is what it takes to keep up with the products."""
    if not arguments[0].is_cuda or function.__name__ in _NOT_COMPILED:
        return function(*arguments)
    try:
        return _compiled(function)(*arguments)
    except Exception as error:  # no compiler, or one that is not made for this GPU: slower, but right
        logging.getLogger(__name__).warning("log-probs are computed unfused: torch.compile failed (%s)", type(error).__name__)
        _NOT_COMPILED.add(function.__name__)
        return function(*arguments)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)
