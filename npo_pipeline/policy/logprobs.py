"""Log-probs and entropy that a policy gives to responses, in float32.

A batch is prompts padded on the left and responses padded on the right, so that every response starts in the same column and
logits are computed for response tokens only. Rows of one prompt (a group's samples) share its forward and its backward.
A prompt with images is an `ImagePrompt` (npo_pipeline.policy.vision), as long as what a forward reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from npo_pipeline.policy.vision import ImagePrompt, forbid, image_inputs, image_positions

Sequences = Sequence[tuple[Sequence[int], Sequence[int]]]  # (prompt ids, response ids) per row


@dataclass(frozen=True)
class TokenBatch:
    """Padded rows: `input_ids`, `attention_mask`, `position_ids` [B, P+T]; `response_ids`, `response_mask` [B, T].

    With images in any row, `position_ids` is [3, B, P+T], and `prompts` keeps the rows' prompts, from which images are loaded.
    Example: prompts of 2 and 1 tokens, responses of 1 and 3: P=2, T=3; row 1 is [pad, p, r, r, r].
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    response_ids: Tensor
    response_mask: Tensor
    prompts: tuple[Sequence[int], ...] = ()

    def image_inputs(self, rows: Iterable[int]) -> dict[str, Tensor]:
        """What the model needs beside the tokens of some rows."""
        return image_inputs([self.prompts[row] for row in rows], self.input_ids.device) if self.prompts else {}


def collate(rows: Sequences, pad_id: int, device: torch.device) -> TokenBatch:
    """Pad rows into a batch. An empty response has an all-False row in `response_mask`."""
    prompts = tuple(row[0] for row in rows)
    prompt = _pad(prompts, pad_id, left=True)
    response = _pad([row[1] for row in rows], pad_id, left=False)
    prompt_mask = _pad([[1] * len(row) for row in prompts], 0, left=True)
    response_mask = _pad([[1] * len(row[1]) for row in rows], 0, left=False)
    attention = torch.cat([prompt_mask, response_mask], dim=1)
    positions = (attention.cumsum(dim=1) - 1).clamp(min=0)
    if not any(isinstance(row, ImagePrompt) for row in prompts):
        prompts = ()
    else:
        positions = image_positions(positions, prompts, prompt.shape[1])
    parts = (torch.cat([prompt, response], dim=1), attention, positions, response, response_mask.bool())
    ids, attention, positions, response, mask = (part.to(device) for part in parts)
    return TokenBatch(ids, attention, positions, response, mask, prompts)


def response_logprobs(
    model: PreTrainedModel, batch: TokenBatch, temperature: float, entropy_gradient: bool = False, share_prompts: bool = True
) -> tuple[Tensor, Tensor]:
    """Log-prob of each response token and entropy of its distribution, both [B, T] in nats, float32; 0 where padded.

    Both are of the distribution softmax(logits / temperature), without tokens that stand for pixels, as it is sampled. The entropy
    is only logged, unless it is optimised too. `share_prompts`: in two forwards, where the batch has rows of one prompt; else in one.
    """
    scaled = response_logits(model, batch, share_prompts).float() / temperature
    normaliser = scaled.logsumexp(dim=-1)
    chosen = scaled.gather(-1, batch.response_ids.unsqueeze(-1)).squeeze(-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        probabilities = torch.exp(scaled - normaliser.unsqueeze(-1))
        entropy = normaliser - (probabilities * scaled).sum(dim=-1)
    padded = ~batch.response_mask
    return (chosen - normaliser).masked_fill(padded, 0.0), entropy.masked_fill(padded, 0.0)


def response_logits(model: PreTrainedModel, batch: TokenBatch, share_prompts: bool = True) -> Tensor:
    """The logits that each response token was drawn from, [B, T, V]; tokens that stand for pixels are ruled out."""
    return forbid(_response_logits(model, batch, share_prompts), model.config)


def _response_logits(model: PreTrainedModel, batch: TokenBatch, share_prompts: bool) -> Tensor:
    length = batch.response_ids.shape[1]
    first, owner = _distinct_prompts(batch)
    read = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
    # A recurrent state is overwritten in place, which a backward through it does not survive.
    if not share_prompts or length < 2 or len(first) == len(owner) or model._is_stateful:
        images = batch.image_inputs(range(len(owner)))
        return model(**read, **images, logits_to_keep=length + 1, use_cache=False).logits[:, :-1]
    cache = DynamicCache(config=model.config)
    prompts = {name: part[..., first, :-length] for name, part in read.items()} | batch.image_inputs(first.tolist())
    start = model(**prompts, logits_to_keep=1, past_key_values=cache, use_cache=True)
    cache.reorder_cache(owner)
    rest = model(
        input_ids=batch.response_ids[:, :-1],
        attention_mask=batch.attention_mask[:, :-1],
        position_ids=batch.position_ids[..., -length:-1],
        past_key_values=cache,
        use_cache=True,
    )
    return torch.cat([start.logits[owner], rest.logits], dim=1)


def _distinct_prompts(batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """One row of each distinct prompt [D], and the index into those that every row has [B]."""
    width = batch.input_ids.shape[1] - batch.response_ids.shape[1]
    # Padding is marked: the id that pads may occur in a prompt, too.
    marked = batch.input_ids[:, :width].masked_fill(batch.attention_mask[:, :width] == 0, -1)
    if batch.prompts:
        marked = torch.cat([marked, _image_numbers(batch.prompts).to(marked.device)], dim=1)
    distinct, owner = marked.unique(dim=0, return_inverse=True)
    first = owner.new_zeros(len(distinct)).scatter_(0, owner, torch.arange(len(owner), device=owner.device))
    return first, owner


def _image_numbers(prompts: Sequence[Sequence[int]]) -> Tensor:
    """A number for each row, [B, 1], equal where the images are: the same question may be asked of another image."""
    shown = [tuple(image.sha256 for image in row.images) if isinstance(row, ImagePrompt) else () for row in prompts]
    numbers = {images: number for number, images in enumerate(dict.fromkeys(shown))}
    return torch.tensor([[numbers[images]] for images in shown])


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


@torch.no_grad()
def score(model: PreTrainedModel, rows: Sequences, pad_id: int, temperature: float, budget: int) -> list[list[float]]:
    """Log-probs of every row's response tokens, in the order of `rows`."""
    scored: list[list[float]] = [[] for _ in rows]
    for batch in micro_batches([(len(prompt), len(response)) for prompt, response in rows], budget):
        logprobs, _ = response_logprobs(model, collate([rows[i] for i in batch], pad_id, model.device), temperature)
        for i, values in zip(batch, logprobs.tolist(), strict=True):
            scored[i] = values[: len(rows[i][1])]
    return scored


@torch.no_grad()
def mean_entropy(model: PreTrainedModel, rows: Sequences, pad_id: int, temperature: float, budget: int) -> list[float]:
    """The entropy per response token, in nats, of every row, in the order of `rows`; 0 for an empty response."""
    found = [0.0] * len(rows)
    for batch in micro_batches([(len(prompt), len(response)) for prompt, response in rows], budget):
        _, entropy = response_logprobs(model, collate([rows[i] for i in batch], pad_id, model.device), temperature)
        for i, total in zip(batch, entropy.sum(dim=1).tolist(), strict=True):
            found[i] = total / max(len(rows[i][1]), 1)
    return found


def _pad(rows: Sequence[Sequence[int]], value: int, left: bool) -> Tensor:
    width = max(len(row) for row in rows)
    filled = [[value] * (width - len(row)) + list(row) if left else list(row) + [value] * (width - len(row)) for row in rows]
    return torch.tensor(filled, dtype=torch.long).reshape(len(rows), width)
