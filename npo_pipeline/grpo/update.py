"""One GRPO update over a step's slots: ratios, losses, gradients, and the statistics that go into the log.

The loss is a sum of token losses with fixed weights (`loss.token_weights`), so how rows are cut into micro-batches changes it
by rounding only, over ranks or one after the other. Rows whose advantage is zero have no gradient (as long as there is no KL term):
they are only measured. Over many ranks every one knows all rows, works on its share of them, and ends up with the whole result.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from npo_pipeline.configuration.settings import GrpoConfig, SamplingConfig
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.grpo.dealing import MicroBatch, deal
from npo_pipeline.grpo.loss import clipped_surrogate, engine_correction, kl_to_reference, shaped_surrogate, token_weights
from npo_pipeline.grpo.optimizer import PolicyOptimizer
from npo_pipeline.policy.logprobs import Sequences, TokenBatch, collate, micro_batches, response_logprobs, score
from npo_pipeline.policy.lora import without_adapter
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


@dataclass(frozen=True)
class Rows:
    """What an update is made from; lists run over rows. `reference` holds the initial policy's log-probs where kl_coef > 0."""

    slots: Sequence[Slot]
    advantages: Sequence[float]
    sequences: Sequences
    reference: list[list[float]] | None

    def lengths(self, picked: Sequence[int]) -> list[tuple[int, int]]:
        """Of prompt and response."""
        return [(len(prompt), len(response)) for prompt, response in (self.sequences[i] for i in picked)]


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
            loss = sum(self._backward(rows, batch, len(minibatch), result) for batch in self._dealt(rows, active))
            self._step(self.ranks.total(loss), step, result)
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
        for batch in self._cut(rows, self.ranks.share(picked)):
            logprobs, entropy = response_logprobs(self.policy.model, self._batch(rows, batch), self.sampling.temperature)
            _record(result.measured, rows, batch, logprobs, entropy)
        self._join(result)

    def _reference_logprobs(self, sequences: Sequences) -> list[list[float]] | None:
        if self.reference is None:
            return None
        with without_adapter(self.reference):
            temperature, budget = self.sampling.temperature, self.settings.micro_batch_tokens
            return self.ranks.spread(lambda own: score(self.reference, own, self.policy.pad_id, temperature, budget), sequences)

    def _backward(self, rows: Rows, dealt: MicroBatch, responses: int, result: UpdateResult) -> float:
        """Accumulate the gradient of one micro-batch; returns its share of the loss."""
        picked, batch = dealt.rows, self._batch(rows, dealt.rows)
        if dealt.dummy:
            batch = replace(batch, response_mask=torch.zeros_like(batch.response_mask))
        bonus = self.settings.entropy_coef
        logprobs, entropy = response_logprobs(self.model, batch, self.sampling.temperature, bonus > 0, self.share_prompts)
        new = [k for k, i in enumerate(picked) if not (result.measured.logprobs[i] or dealt.dummy)]
        _record(result.measured, rows, [picked[k] for k in new], logprobs.detach()[new], entropy.detach()[new])
        weights = token_weights(batch.response_mask, responses, self.settings.aggregation, self.sampling.max_new_tokens)
        losses = self._token_losses(rows, picked, logprobs, batch.response_mask, result) - bonus * entropy
        loss = (losses * weights).sum()
        loss.backward()
        return loss.item()

    def _token_losses(self, rows: Rows, picked: Sequence[int], logprobs: Tensor, mask: Tensor, result: UpdateResult) -> Tensor:
        """Surrogate, and KL where there is a reference, per token [B, T]; counts clipped tokens and KL into `result`."""
        old = _padded([self._old_logprobs(rows.slots[i], result.measured.logprobs[i]) for i in picked], logprobs)
        advantages = torch.tensor([rows.advantages[i] for i in picked], device=logprobs.device)
        losses, clipped = clipped_surrogate(logprobs, old, advantages, self.settings.clip_low, self.settings.clip_high)
        if (shaped := torch.tensor([rows.slots[i].ratio.startswith("shaped") for i in picked], device=logprobs.device)).any():
            losses = torch.where(shaped[:, None], shaped_surrogate(logprobs, old, advantages), losses)
            clipped &= ~shaped[:, None]
        if self.settings.engine_correction_cap is not None:
            losses = losses * self._engine_weights([rows.slots[i] for i in picked], [result.measured.logprobs[i] for i in picked], losses)
        result.clipped_tokens += int((clipped & mask).sum())
        result.tokens += int(mask.sum())
        if rows.reference is None:
            return losses
        kl = kl_to_reference(logprobs, _padded([rows.reference[i] for i in picked], logprobs)) * mask
        result.kl_sum += kl.sum().item()
        return losses + self.settings.kl_coef * kl

    def _engine_weights(self, slots: Sequence[Slot], measured: Sequence[Sequence[float]], like: Tensor) -> Tensor:
        """Correction [B, T] of what the engine sampled for this step; 1 for tokens of others."""
        assert self.settings.engine_correction_cap is not None
        own = [slot.source == "on_policy" for slot in slots]
        engine = [slot.trajectory.behaviour_logprobs if mine else now for slot, now, mine in zip(slots, measured, own, strict=True)]
        return engine_correction(_padded(measured, like), _padded(engine, like), self.settings.engine_correction_cap)

    @staticmethod
    def _old_logprobs(slot: Slot, measured: Sequence[float]) -> Sequence[float]:
        """The logarithm of the ratio's denominator (records.Slot)."""
        if slot.ratio == "shaped":
            return [0.0] * len(measured)
        return measured if slot.ratio == "policy" else slot.trajectory.behaviour_logprobs

    def _step(self, loss: float, step: int, result: UpdateResult) -> None:
        norm = self.optimizer.step(step) if math.isfinite(loss) else math.nan
        if math.isfinite(norm):
            self.take_over()
            result.losses.append(loss)
            result.grad_norms.append(norm)
            return
        self.optimizer.clear()
        result.skipped.append(f"a gradient norm of {norm}" if math.isfinite(loss) else f"a loss of {loss}")


def _record(measured: Measured, rows: Rows, picked: Sequence[int], logprobs: Tensor, entropy: Tensor) -> None:
    for i, values, summed in zip(picked, logprobs.tolist(), entropy.sum(dim=1).tolist(), strict=True):
        measured.logprobs[i] = values[: len(rows.slots[i].trajectory.response_token_ids)]
        measured.entropy[i] = summed


def _padded(rows: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Rows of numbers as a tensor of the shape of `like`, 0 where padded."""
    filled = torch.zeros_like(like, requires_grad=False)
    for i, row in enumerate(rows):
        filled[i, : len(row)] = torch.tensor(row, dtype=like.dtype, device=like.device)
    return filled
