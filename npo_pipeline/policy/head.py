"""Log-probs and entropy of tokens by the shorter way: from whole logits where they are few, else without ever making them whole."""

from collections.abc import Callable, Sequence
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

        def score(hidden_BTH: Tensor) -> Tensor:
            hidden_BTH = hidden_BTH[:, : len(columns)] if rows is None else hidden_BTH.index_select(0, rows)
            kept = self._kept(columns)
            hidden_NH = hidden_BTH.flatten(0, 1)
            return self._score(hidden_NH if kept is None else hidden_NH.index_select(0, kept), columns, kept)

        return self._call(score, read)

    def packed(self, **read: Any) -> Tensor:
        """The same [B, T, 2] of all columns, where the model keeps no token but those that are no padding, all in one row."""
        columns = range(self.chosen.shape[1])
        return self._call(lambda hidden: self._score(hidden.squeeze(0), columns, self._kept(columns)), read)

    def _call(self, score: Callable[[Tensor], Tensor], read: dict[str, Any]) -> Tensor:
        made: list[Tensor] = []

        def forward(hidden: Tensor) -> Tensor:
            made.append(score(hidden))
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

    def _kept(self, columns: range) -> Tensor | None:
        """Which of the flattened [B * len(columns)] are no padding; None if all."""
        kept = (torch.arange(columns.start, columns.stop) < torch.tensor(self.lengths)[:, None]).flatten()
        return None if kept.all() else moved(kept.nonzero().squeeze(1), self.chosen.device)

    def _score(self, hidden_NH: Tensor, columns: range, kept: Tensor | None) -> Tensor:
        chosen = self.chosen[:, columns.start : columns.stop].flatten()
        chosen_N = chosen if kept is None else chosen.index_select(0, kept)
        logprobs, entropy = head_logprobs(hidden_NH, self.head.weight, self.head.bias, chosen_N, self.temperature, self.forbidden)
        both = torch.stack([logprobs, entropy if self.entropy_gradient else entropy.detach()], dim=1)
        if kept is not None:
            both = both.new_zeros(len(chosen), 2).index_copy(0, kept, both)
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
