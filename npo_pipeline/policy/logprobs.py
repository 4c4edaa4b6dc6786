"""Log-probs and entropy that a policy gives to responses, in float32.

A batch is prompts padded on the left and responses padded on the right, so that every response starts in the same column and
logits are computed for response tokens only. Rows of one prompt (a group's samples) share its forward and its backward.
A prompt with images is an `ImagePrompt` (npo_pipeline.policy.vision), as long as what a forward reads.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from npo_pipeline.policy.device import moved
from npo_pipeline.policy.head import LogitsAreChanged, TiledHead, plain_head, whole_logprobs
from npo_pipeline.policy.packing import packed_inputs, packs
from npo_pipeline.policy.tiling import is_whole
from npo_pipeline.policy.vision import ImagePrompt, forbid, image_inputs, image_positions

Sequences = Sequence[tuple[Sequence[int], Sequence[int]]]  # (prompt ids, response ids) per row


@dataclass(frozen=True)
class TokenBatch:
    """Padded rows: `input_ids`, `attention_mask`, `position_ids` [B, P+T]; `response_ids`, `response_mask` [B, T].

    With images in any row, `position_ids` is [3, B, P+T], and `prompts` keeps the rows' prompts, from which images are loaded.
    `prompt_lengths` and `lengths` are without padding, `first` [D] is one row of each distinct prompt, `owner` [B] every row's index
    into those: known before anything is on a device, which need not be asked then.
    Example: prompts of 2 and 1 tokens, responses of 1 and 3: P=2, T=3; row 1 is [pad, p, r, r, r].
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    response_ids: Tensor
    response_mask: Tensor
    prompt_lengths: tuple[int, ...]
    lengths: tuple[int, ...]
    first: tuple[int, ...]
    owner: Tensor
    prompts: tuple[Sequence[int], ...] = ()

    def image_inputs(self, rows: Iterable[int]) -> dict[str, Tensor]:
        """What the model needs beside the tokens of some rows."""
        return image_inputs([self.prompts[row] for row in rows], self.input_ids.device) if self.prompts else {}


def collate(rows: Sequences, pad_id: int, device: torch.device) -> TokenBatch:
    """Pad rows into a batch. An empty response has an all-False row in `response_mask`."""
    prompts = tuple(row[0] for row in rows)
    prompt = _pad(prompts, pad_id, left=True)
    response = _pad([row[1] for row in rows], pad_id, left=False)
    lengths = tuple(len(row[1]) for row in rows)
    response_mask = torch.arange(response.shape[1]) < torch.tensor(lengths)[:, None]
    prompt_lengths = tuple(map(len, prompts))
    prompt_mask = torch.arange(prompt.shape[1], 0, -1) <= torch.tensor(prompt_lengths)[:, None]
    attention = torch.cat([prompt_mask, response_mask], dim=1).long()
    positions = (attention.cumsum(dim=1) - 1).clamp(min=0)
    first, owner = _distinct(prompts)
    if not any(isinstance(row, ImagePrompt) for row in prompts):
        prompts = ()
    else:
        positions = image_positions(positions, prompts, prompt.shape[1])
    parts = (torch.cat([prompt, response], dim=1), attention, positions, response, response_mask, owner)
    ids, attention, positions, response, mask, owner = (moved(part, device) for part in parts)
    return TokenBatch(ids, attention, positions, response, mask, prompt_lengths, lengths, first, owner, prompts)


def response_logprobs(
    model: PreTrainedModel, batch: TokenBatch, temperature: float, entropy_gradient: bool = False, share_prompts: bool = True
) -> tuple[Tensor, Tensor]:
    """Log-prob of each response token and entropy of its distribution, both [B, T] in nats, float32; 0 where padded.

    Both are of the distribution softmax(logits / temperature), without tokens that stand for pixels, as it is sampled. The entropy
    is only logged, unless it is optimised too. `share_prompts`: in two forwards, where the batch has rows of one prompt; else in one.
    Few logits are made whole, many tile by tile (npo_pipeline.policy.online_softmax).
    """
    head = plain_head(model)
    if head is None or is_whole(batch.response_ids.numel(), len(head.weight)):
        logits = response_logits(model, batch, share_prompts)
        logprobs, entropy = whole_logprobs(logits, batch.response_ids, temperature, entropy_gradient)
    else:
        tiled = TiledHead(model, head, batch.response_ids, batch.lengths, temperature, entropy_gradient)
        try:
            if packs(model) and not batch.prompts and any(batch.lengths):
                lengths = list(zip(batch.prompt_lengths, batch.lengths, strict=True))
                both = tiled.packed(**packed_inputs(batch.input_ids, batch.position_ids, lengths))
            else:
                both = _read(model, batch, share_prompts, tiled)
        except LogitsAreChanged:  # noted, so that the next call does not try
            return response_logprobs(model, batch, temperature, entropy_gradient, share_prompts)
        logprobs, entropy = both.unbind(dim=-1)
    padded = ~batch.response_mask
    return logprobs.masked_fill(padded, 0.0), entropy.masked_fill(padded, 0.0)


def response_logits(model: PreTrainedModel, batch: TokenBatch, share_prompts: bool = True) -> Tensor:
    """The logits that each response token was drawn from, [B, T, V]; tokens that stand for pixels are ruled out."""

    def logits(columns: range, rows: Tensor | None, **read: Any) -> Tensor:
        made = model(**read).logits[:, : len(columns)]
        return made if rows is None else made[rows]

    return forbid(_read(model, batch, share_prompts, logits), model.config)


def _read(model: PreTrainedModel, batch: TokenBatch, share_prompts: bool, head: Callable[..., Tensor]) -> Tensor:
    """Run the model over a batch; what `head` makes of the columns of the response, [B, T, ...].

    `head(columns, rows, **inputs)` calls the model and returns [B, len(columns), ...]; `rows` [B] are taken of what the model has read.
    """
    length = batch.response_ids.shape[1]
    read = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
    # A recurrent state is overwritten in place, which a backward through it does not survive.
    if not share_prompts or length < 2 or len(batch.first) == len(batch.lengths) or model._is_stateful:
        images = batch.image_inputs(range(len(batch.lengths)))
        return head(range(length), None, **read, **images, logits_to_keep=length + 1, use_cache=False)
    cache = DynamicCache(config=model.config)
    first = moved(torch.tensor(batch.first), batch.input_ids.device)
    prompts = {name: part[..., first, :-length] for name, part in read.items()} | batch.image_inputs(batch.first)
    start = head(range(1), batch.owner, **prompts, logits_to_keep=1, past_key_values=cache, use_cache=True)
    cache.reorder_cache(batch.owner)
    rest = head(
        range(1, length),
        None,
        input_ids=batch.response_ids[:, :-1],
        attention_mask=batch.attention_mask[:, :-1],
        position_ids=batch.position_ids[..., -length:-1],
        past_key_values=cache,
        use_cache=True,
    )
    return torch.cat([start, rest], dim=1)


def _distinct(prompts: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], Tensor]:
    """One row of each distinct prompt, and the index into those that every row has [B]. The same question may be asked of another image."""
    images = [tuple(image.sha256 for image in row.images) if isinstance(row, ImagePrompt) else () for row in prompts]
    numbers = {shown: number for number, shown in enumerate(dict.fromkeys(images))}
    keys = [(len(row), tuple(row), numbers[shown]) for row, shown in zip(prompts, images, strict=True)]
    rows = {key: row for row, key in enumerate(keys)}
    index = {key: i for i, key in enumerate(sorted(rows))}
    return tuple(rows[key] for key in index), torch.tensor([index[key] for key in keys])


def micro_batches(lengths: Sequence[tuple[int, int]], budget: int) -> Iterator[list[int]]:
    """Cut rows of (prompt, response) lengths into batches of at most `budget` padded tokens; yields row indices.

    Rows are taken in order of length, so that little is padding. A row longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row][0] + lengths[row][1], row))
    batch: list[int] = []
    width_prompt = width_response = 0
    for row in order:
        prompt, response = max(width_prompt, lengths[row][0]), max(width_response, lengths[row][1])
        if batch and (prompt + response) * (len(batch) + 1) > budget:
            yield batch
            batch, prompt, response = [], *lengths[row]
        batch.append(row)
        width_prompt, width_response = prompt, response
    if batch:
        yield batch


def score(model: PreTrainedModel, rows: Sequences, pad_id: int, temperature: float, budget: int) -> list[list[float]]:
    """Log-probs of every row's response tokens, in the order of `rows`."""
    found = _per_row(model, rows, pad_id, temperature, budget, lambda logprobs, _: logprobs)
    return [values[: len(response)] for values, (_, response) in zip(found, rows, strict=True)]


def mean_entropy(model: PreTrainedModel, rows: Sequences, pad_id: int, temperature: float, budget: int) -> list[float]:
    """The entropy per response token, in nats, of every row, in the order of `rows`; 0 for an empty response."""
    found = _per_row(model, rows, pad_id, temperature, budget, lambda _, entropy: entropy.sum(dim=1))
    return [total / max(len(response), 1) for total, (_, response) in zip(found, rows, strict=True)]


@torch.no_grad()
def _per_row(
    model: PreTrainedModel, rows: Sequences, pad_id: int, temperature: float, budget: int, keep: Callable[[Tensor, Tensor], Tensor]
) -> list[Any]:
    """What is kept of each row's log-probs and entropies; fetched from the device once all is under way."""
    batches = list(micro_batches([(len(prompt), len(response)) for prompt, response in rows], budget))
    kept = [keep(*response_logprobs(model, collate([rows[i] for i in batch], pad_id, model.device), temperature)) for batch in batches]
    found: list[Any] = [None] * len(rows)
    for batch, values in zip(batches, kept, strict=True):
        for i, value in zip(batch, values.tolist(), strict=True):
            found[i] = value
    return found


def _pad(rows: Sequence[Sequence[int]], value: int, left: bool) -> Tensor:
    width = max(len(row) for row in rows)
    filled = [[value] * (width - len(row)) + list(row) if left else list(row) + [value] * (width - len(row)) for row in rows]
    return torch.tensor(filled, dtype=torch.long).reshape(len(rows), width)
