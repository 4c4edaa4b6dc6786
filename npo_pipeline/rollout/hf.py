"""The embedded default engine: transformers' own `generate`, with a sampler whose randomness belongs to each row.

`generate` samples from one global random stream, so a row's outcome would hang on its neighbours. Here the last logits
processor draws the token itself, by inverse transform of one uniform number per (row, position), and leaves `generate` nothing
to choose but that token. What it draws from is what came through temperature, top-k and top-p: so are the recorded log-probs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from npo_pipeline.config import SamplingConfig
from npo_pipeline.policy.policy import Policy
from npo_pipeline.rollout.engine import Completion, Request


class SeededSampler(LogitsProcessor):
    """Chooses the next token of row i at position t by the uniform number `uniforms[i, t]`; keeps tokens and log-probs."""

    def __init__(self, uniforms: Tensor) -> None:
        self.uniforms = uniforms
        self.tokens: list[Tensor] = []  # one [B] per position
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logprobs = scores.float().log_softmax(dim=-1)
        cumulative = logprobs.double().exp().cumsum(dim=-1)
        # Scaling by the total keeps the draw below the last cumulative value, whatever the rounding.
        drawn = self.uniforms[:, len(self.tokens), None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, drawn, right=True).clamp(max=scores.shape[-1] - 1)
        self.tokens.append(token.squeeze(1))
        self.logprobs.append(logprobs.gather(1, token).squeeze(1))
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


class TransformersEngine:
    """Samples from `policy.model` itself, so an optimizer step is seen by the next call."""

    def __init__(self, policy: Policy, sampling: SamplingConfig, max_batch: int) -> None:
        self.policy, self.sampling, self.max_batch = policy, sampling, max_batch
        self._warpers = _warpers(sampling)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        # Prompts of like length go together: less padding.
        order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt_token_ids), i))
        completions: dict[int, Completion] = {}
        for start in range(0, len(order), self.max_batch):
            batch = order[start : start + self.max_batch]
            completions.update(zip(batch, self._generate_batch([requests[i] for i in batch]), strict=True))
        return [completions[i] for i in range(len(requests))]

    @torch.inference_mode()
    def _generate_batch(self, requests: Sequence[Request]) -> list[Completion]:
        width = max(len(request.prompt_token_ids) for request in requests)
        pads = [width - len(request.prompt_token_ids) for request in requests]
        ids = [[self.policy.pad_id] * pad + list(request.prompt_token_ids) for pad, request in zip(pads, requests, strict=True)]
        mask = [[0] * pad + [1] * (width - pad) for pad in pads]
        sampler = SeededSampler(_uniforms(requests, self.sampling.max_new_tokens).to(self.policy.device))
        self.policy.model.generate(
            torch.tensor(ids, device=self.policy.device),
            attention_mask=torch.tensor(mask, device=self.policy.device),
            do_sample=False,
            max_new_tokens=self.sampling.max_new_tokens,
            logits_processor=LogitsProcessorList([*self._warpers, sampler]),
        )
        return self._completions(sampler)

    def _completions(self, sampler: SeededSampler) -> list[Completion]:
        tokens_BT = torch.stack(sampler.tokens, dim=1).tolist()
        logprobs_BT = torch.stack(sampler.logprobs, dim=1).tolist()
        return [self._cut(tokens, logprobs) for tokens, logprobs in zip(tokens_BT, logprobs_BT, strict=True)]

    def _cut(self, tokens: list[int], logprobs: list[float]) -> Completion:
        """End at the first stop token, which belongs to the response; what a finished row drew later is nobody's."""
        end = next((i for i, token in enumerate(tokens) if token in self.policy.stop_ids), None)
        length = len(tokens) if end is None else end + 1
        return Completion(tuple(tokens[:length]), tuple(logprobs[:length]), "length" if end is None else "stop")


def _uniforms(requests: Sequence[Request], length: int) -> Tensor:
    """Uniform numbers in [0, 1), [B, T]: a counter-based stream per request, keyed by its seed."""
    rows = [np.random.Generator(np.random.Philox(key=request.seed)).random(length) for request in requests]
    return torch.from_numpy(np.stack(rows))


def _warpers(sampling: SamplingConfig) -> list[LogitsProcessor]:
    warpers: list[LogitsProcessor] = []
    if sampling.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k > 0:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers
