"""Log-probs and entropy of tokens by the shorter way: from whole logits where they are few, else without ever making them whole."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from npo_pipeline.policy.device import moved
from npo_pipeline.policy.online_softmax import head_logprobs
from npo_pipeline.policy.tiling import is_whole, whole_tokens
from npo_pipeline.policy.vision import forbidden_ids

_CHANGED: WeakSet[nn.Module] = WeakSet()  # models that do something to logits: scale or cap them


class LogitsAreChanged(Exception):
    """A model's logits are not what its head makes of hidden states."""


def plain_head(model: PreTrainedModel) -> nn.Linear | None:
    """The output head, unless logits are more than a linear function of hidden states."""
    head = None if model in _CHANGED else model.get_output_embeddings()
    return head if type(head) is nn.Linear else None


class TiledHead:
    """Calls the model with its head's `forward` replaced, so that log-probs and entropy are made where logits would be.

    Within the model's own forward, since there the weights of a sharded model are whole. A model that changes what the head returns
    (Gemma's soft-capping, Granite's scaling) is recognised by that: LogitsAreChanged, and from then on it has no `plain_head`.
    `chosen` [B, T] are the response tokens, `lengths` how many of each row are no padding: the head is spared the rest.
    """

    def __init__(
        self, model: PreTrainedModel, head: nn.Linear, chosen: Tensor, lengths: Sequence[int], temperature: float, entropy_gradient: bool
    ) -> None:
        self.model, self.head, self.chosen, self.lengths = model, head, chosen, lengths
        self.temperature, self.entropy_gradient = temperature, entropy_gradient
        self.forbidden = forbidden_ids(model.config)

    def __call__(self, columns: range, rows: Tensor | None, **read: Any) -> Tensor:
        """Log-prob and entropy, [B, len(columns), 2], of some columns of the response; `rows` [B] are taken of what the model reads."""
        made: list[Tensor] = []

        def forward(hidden: Tensor) -> Tensor:
            made.append(self._score(hidden[:, : len(columns)] if rows is None else hidden.index_select(0, rows), columns))
            return made[0]

        self.head.forward = forward  # type: ignore[method-assign, assignment]
        try:
            output = self.model(**read)
        finally:
            del self.head.forward
        if not made or output.logits is not made[0]:
            _CHANGED.add(self.model)
            raise LogitsAreChanged
        return made[0]

    def _score(self, hidden_BTH: Tensor, columns: range) -> Tensor:
        hidden_NH, chosen_N = hidden_BTH.flatten(0, 1), self.chosen[:, columns.start : columns.stop].flatten()
        kept_BT = torch.arange(columns.start, columns.stop) < torch.tensor(self.lengths)[:, None]
        kept = None if kept_BT.all() else moved(kept_BT.flatten().nonzero().squeeze(1), hidden_BTH.device)
        if kept is not None:
            hidden_NH, chosen_N = hidden_NH.index_select(0, kept), chosen_N.index_select(0, kept)
        logprobs, entropy = head_logprobs(hidden_NH, self.head.weight, self.head.bias, chosen_N, self.temperature, self.forbidden)
        both = torch.stack([logprobs, entropy if self.entropy_gradient else entropy.detach()], dim=1)
        if kept is not None:
            both = both.new_zeros(kept_BT.numel(), 2).index_copy(0, kept, both)
        return both.unflatten(0, (len(self.lengths), len(columns)))


def whole_logprobs(logits_BTV: Tensor, chosen_BT: Tensor, temperature: float, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
    """Log-prob of each chosen token and entropy, both [B, T] in nats; of many logits in pieces, each made anew in the backward."""
    if is_whole(chosen_BT.numel(), logits_BTV.shape[-1]):
        return _distribution(logits_BTV, chosen_BT, temperature, entropy_gradient)
    tokens = whole_tokens(logits_BTV.shape[-1])
    pieces = zip(logits_BTV.flatten(0, 1).split(tokens), chosen_BT.flatten().split(tokens), strict=True)
    again = partial(checkpoint, _distribution, use_reentrant=False, preserve_rng_state=False)
    found = [again(*piece, temperature, entropy_gradient) for piece in pieces]
    logprobs, entropy = (torch.cat(column).view_as(chosen_BT) for column in zip(*found, strict=True))
    return logprobs, entropy


def _distribution(logits: Tensor, chosen: Tensor, temperature: float, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    normaliser = scaled.logsumexp(dim=-1)
    logit = scaled.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        probabilities = torch.exp(scaled - normaliser.unsqueeze(-1))
        entropy = normaliser - (probabilities * scaled).sum(dim=-1)
    return logit - normaliser, entropy
