"""One GRPO update over a step's slots: ratios, losses, gradients, and the statistics that go into the log.

The loss is a sum of token losses with fixed weights (`loss.token_weights`), so how rows are cut into micro-batches changes it
by rounding only, over ranks or one after the other. Rows whose advantage is zero have no gradient (as long as there is no KL term):
they are only measured. Over many ranks every one knows all rows, works on its share of them, and ends up with the whole result.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from npo_pipeline.configuration.settings import GrpoConfig, SamplingConfig
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.grpo.dealing import MicroBatch, deal
from npo_pipeline.grpo.loss import clipped_surrogate, engine_correction, kl_to_reference, shaped_surrogate, token_weights
from npo_pipeline.grpo.optimizer import PolicyOptimizer
from npo_pipeline.grpo.terms import Rows, Terms
from npo_pipeline.policy.logprobs import Sequences, TokenBatch, collate, micro_batches, response_logprobs, score
from npo_pipeline.policy.lora import without_adapter
from npo_pipeline.policy.packing import flash_attention
from npo_pipeline.policy.policy import Policy
from npo_pipeline.policy.sharded import ShardedModel, recompute_activations
from npo_pipeline.records import Slot


@dataclass
class Measured:
    """What was seen of each row under the policy that sampled it, before the update. Lists run over rows."""

    logprobs: list[list[float]]  # the trainer's log-probs per response token, nats
    entropy: list[float]  # sum over response tokens, nats

    def join(self, others: "Sequence[Measured]") -> None:
        """Take over what others have seen."""
        for i in range(len(self.logprobs)):
            seen = max(others, key=lambda other: len(other.logprobs[i]))
            self.logprobs[i], self.entropy[i] = seen.logprobs[i], seen.entropy[i]


@dataclass
class UpdateResult:
    """`losses` and `grad_norms` hold one number per optimizer step that was taken; `skipped` says why, of each that was not."""

    measured: Measured
    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    clipped_tokens: int = 0
    tokens: int = 0
    kl_sum: float = 0.0


@dataclass
class Seen:
    """What one micro-batch leaves on the device: of `rows` log-probs [B, T] and summed entropies [B]; its loss, clipped tokens, KL."""

    rows: Sequence[int]  # none of a dummy
    lengths: Sequence[tuple[int, int]]
    logprobs: Tensor
    entropy: Tensor
    loss: Tensor | None = None
    clipped: Tensor | None = None
    kl: Tensor | None = None


class Updater:
    """Turns slots and advantages into optimizer steps.

    `reference` is the initial policy where kl_coef > 0, else None; with LoRA the policy's own model, read without its adapter.
    `recompute`: activations are computed again in the backward instead of kept.
    """

    def __init__(
        self,
        policy: Policy,
        settings: GrpoConfig,
        sampling: SamplingConfig,
        reference: PreTrainedModel | None = None,
        ranks: Ranks | None = None,
        recompute: bool = False,
    ) -> None:
        self.policy, self.settings, self.sampling, self.reference = policy, settings, sampling, reference
        self.ranks = ranks or Ranks()
        self.sharded = ShardedModel(policy.model) if self.ranks.size > 1 else None
        self.model = self.sharded.model if self.sharded else policy.model  # what gradients are made with
        self.optimizer = PolicyOptimizer(self.model, settings)
        # Ranks must call a sharded model equally often, and a layer that is computed twice must not write to a cache.
        self.share_prompts = self.sharded is None and not recompute
        if recompute:
            recompute_activations(self.model)

    def update(self, slots: Sequence[Slot], advantages: Sequence[float], seed: int, step: int) -> UpdateResult:
        """Run epochs x minibatches optimizer steps; one whose loss or gradient is not finite is skipped.

        All of them are, if a log-prob of a row is not finite before the first. Raises NumericalError if an update spoils the weights.
        """
        sequences = self.policy.rows([slot.trajectory for slot in slots])
        rows = Rows(slots, advantages, sequences, self._reference_logprobs(sequences))
        result = UpdateResult(Measured([[] for _ in slots], [0.0] * len(slots)))
        single = self.settings.epochs * self.settings.minibatches == 1
        # With a single optimizer step the training forward itself measures the policy: the ratio is 1 by construction.
        self._measure(rows, [i for i in range(len(slots)) if not (single and self._moves(advantages[i]))], result)
        if not all(map(math.isfinite, chain.from_iterable(result.measured.logprobs))):
            result.skipped = ["log-probs that are not finite"] * (self.settings.epochs * self.settings.minibatches)
            return result
        for minibatch in self._minibatches(len(slots), seed, step):
            active = [i for i in minibatch if self._moves(advantages[i])]
            count = self._count(rows, minibatch)
            measured = None if single else result.measured.logprobs
            with flash_attention(self.model):
                seen = [self._backward(rows, batch, count, measured) for batch in self._dealt(rows, active)]
            self._step(self.ranks.total(_fetch(seen, result, single)), step, result)
        self._join(result)
        return result

    def take_over(self) -> None:
        """Put the trained weights into the policy, where it has a memory of its own."""
        if self.sharded:
            self.sharded.update_policy()

    def _join(self, result: UpdateResult) -> None:
        """From this rank's part to the whole."""
        if self.ranks.size > 1:
            result.measured.join(self.ranks.gather(result.measured))
            counts = self.ranks.gather((result.clipped_tokens, result.tokens, result.kl_sum))
            result.clipped_tokens, result.tokens, result.kl_sum = (sum(column) for column in zip(*counts, strict=True))

    def _moves(self, advantage: float) -> bool:
        return advantage != 0.0 or self.settings.kl_coef > 0.0 or self.settings.entropy_coef > 0.0

    def _count(self, rows: Rows, minibatch: Sequence[int]) -> int:
        """What the loss is a mean over: responses, or their tokens."""
        lengths = [response for _, response in rows.lengths(minibatch)]
        return sum(lengths) if self.settings.aggregation == "token" else len(lengths)

    def _minibatches(self, rows: int, seed: int, step: int) -> Iterator[list[int]]:
        for epoch in range(self.settings.epochs):
            order = np.random.default_rng([seed, step, epoch]).permutation(rows)
            for piece in np.array_split(order, self.settings.minibatches):
                yield sorted(int(i) for i in piece)

    def _cut(self, rows: Rows, picked: Sequence[int]) -> Iterator[list[int]]:
        for batch in micro_batches(rows.lengths(picked), self.settings.micro_batch_tokens):
            yield [picked[i] for i in batch]

    def _dealt(self, rows: Rows, picked: Sequence[int]) -> Iterator[MicroBatch]:
        for batch in deal(rows.lengths(picked), self.settings.micro_batch_tokens, self.ranks.rank, self.ranks.size):
            yield replace(batch, rows=[picked[i] for i in batch.rows])

    def _batch(self, rows: Rows, picked: Sequence[int]) -> TokenBatch:
        return collate([rows.sequences[i] for i in picked], self.policy.pad_id, self.policy.device)

    @torch.no_grad()
    def _measure(self, rows: Rows, picked: Sequence[int], result: UpdateResult) -> None:
        seen = []
        for batch in self._cut(rows, self.ranks.share(picked)):
            logprobs, entropy = response_logprobs(self.policy.model, self._batch(rows, batch), self.sampling.temperature)
            seen.append(Seen(batch, rows.lengths(batch), logprobs, entropy.sum(dim=1)))
        _fetch(seen, result, True)
        self._join(result)

    def _reference_logprobs(self, sequences: Sequences) -> list[list[float]] | None:
        if self.reference is None:
            return None
        with without_adapter(self.reference):
            temperature, budget = self.sampling.temperature, self.settings.micro_batch_tokens
            return self.ranks.spread(lambda own: score(self.reference, own, self.policy.pad_id, temperature, budget), sequences)

    def _backward(self, rows: Rows, dealt: MicroBatch, count: int, measured: Sequence[Sequence[float]] | None) -> "Seen":
        """Accumulate the gradient of one micro-batch, and ask the device for nothing."""
        picked, batch = dealt.rows, self._batch(rows, dealt.rows)
        if dealt.dummy:
            batch = replace(batch, response_mask=torch.zeros_like(batch.response_mask))
        bonus = self.settings.entropy_coef
        logprobs, entropy = response_logprobs(self.model, batch, self.sampling.temperature, bonus > 0, self.share_prompts)
        now = logprobs.detach()
        seen = Seen([] if dealt.dummy else picked, rows.lengths(picked), now, entropy.detach().sum(dim=1))
        weights = token_weights(batch.response_mask, count, self.settings.aggregation, self.sampling.max_new_tokens)
        terms = Terms(rows, picked, now, measured)
        losses = self._token_losses(terms, logprobs, batch.response_mask, seen) - bonus * entropy
        loss = (losses * weights).sum()
        loss.backward()
        seen.loss = loss.detach()
        return seen

    def _token_losses(self, terms: "Terms", logprobs: Tensor, mask: Tensor, seen: "Seen") -> Tensor:
        """Surrogate, and KL where there is a reference, per token [B, T]; clipped tokens and KL are noted in `seen`."""
        old, advantages, settings = terms.old(), terms.advantages(), self.settings
        losses, clipped = clipped_surrogate(logprobs, old, advantages, settings.clip_low, settings.clip_high)
        if (shaped := terms.shaped()) is not None:
            losses = torch.where(shaped[:, None], shaped_surrogate(logprobs, old, advantages), losses)
            clipped &= ~shaped[:, None]
        if settings.engine_correction_cap is not None:
            losses = losses * engine_correction(terms.measured(), terms.engine(), settings.engine_correction_cap)
        seen.clipped = (clipped & mask).sum()
        if (reference := terms.reference()) is None:
            return losses
        kl = kl_to_reference(logprobs, reference) * mask
        seen.kl = kl.detach().sum()
        return losses + settings.kl_coef * kl

    def _step(self, loss: float, step: int, result: UpdateResult) -> None:
        norm = self.optimizer.step(step) if math.isfinite(loss) else math.nan
        if math.isfinite(norm):
            self.take_over()
            result.losses.append(loss)
            result.grad_norms.append(norm)
            return
        self.optimizer.clear()
        result.skipped.append(f"a gradient norm of {norm}" if math.isfinite(loss) else f"a loss of {loss}")


def _fetch(seen: Sequence[Seen], result: UpdateResult, measures: bool) -> float:
    """Take what micro-batches left over into `result`, once all of them are under way; returns the sum of their losses."""
    for part in (part for part in seen if measures and part.rows):
        for i, (_, length), values, entropy in zip(part.rows, part.lengths, part.logprobs.tolist(), part.entropy.tolist(), strict=True):
            result.measured.logprobs[i], result.measured.entropy[i] = values[:length], entropy
    trained = [part for part in seen if part.loss is not None]
    result.tokens += sum(length for part in trained if part.rows for _, length in part.lengths)
    result.clipped_tokens += sum(_numbers([part.clipped for part in trained]))
    result.kl_sum += sum(_numbers([part.kl for part in trained if part.kl is not None]))
    return sum(_numbers([part.loss for part in trained]))


def _numbers(scalars: Sequence[Any]) -> list[Any]:
    return torch.stack(tuple(scalars)).tolist() if scalars else []
