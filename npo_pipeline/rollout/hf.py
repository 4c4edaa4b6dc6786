"""The embedded default engine: a decoding loop on the model's own forward, with randomness that belongs to each row.

transformers' `generate` samples from one global random stream, so a row's outcome would hang on its neighbours, and it forwards
every row until the last one ends. Here a token is drawn by inverse transform of one uniform number per (row, position), from what
came through temperature, top-k and top-p: so are the recorded log-probs. Samples of one prompt share its prefill, and a row that
has ended leaves the batch: at once on a CPU, on a GPU every few tokens, since the host has to wait for the device to know who has.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from npo_pipeline.configuration.settings import SamplingConfig
from npo_pipeline.policy.logprobs import TokenBatch, collate
from npo_pipeline.policy.policy import Policy
from npo_pipeline.policy.vision import forbid
from npo_pipeline.rollout.draw import draw
from npo_pipeline.rollout.engine import Completion, Request
from npo_pipeline.rollout.truncate import warpers

LOOK_EVERY = {"cpu": 1, "cuda": 16}  # tokens between two looks at which rows have ended


class Context:
    """What the model has read of each row that goes on: a mask [B, P+t] over left-padded prompts and their responses, and a cache.

    `next` [B] is the position of the next token; behind images it is not the number of tokens before it. `direct`: the model is
    given the mask of one more token as attention takes it, or none where no prompt is padded; else transformers asks the device, token
    by token, whether there is padding.
    """

    def __init__(self, model: PreTrainedModel, prompts: TokenBatch) -> None:
        self.model, self.mask = model, prompts.attention_mask
        self.axes = prompts.position_ids.shape[:-2]  # (): positions of text; (3,): of text and images
        self.next = prompts.position_ids.amax(dim=-1).reshape(-1, len(self.mask)).amax(dim=0) + 1
        self.cache = DynamicCache(config=model.config)
        self.padded = len(set(prompts.prompt_lengths)) > 1
        self.direct = self.mask.device.type != "cpu" and not self.axes and sees_all(model)

    def read(self, ids: Tensor, positions: Tensor, **images: Tensor) -> Tensor:
        """Read the last tokens `ids` [B, t] of the mask; returns the logits of the token after them, [B, V] in float32."""
        output = self.model(
            input_ids=ids,
            attention_mask=self._shown() if self.direct and ids.shape[1] == 1 < self.mask.shape[1] else self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            **images,
        )
        return output.logits[:, -1].float()

    def read_next(self, tokens: Tensor) -> Tensor:
        """Read one more token of every row, `tokens` [B]."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        positions, self.next = self.next[:, None], self.next + 1
        return self.read(tokens[:, None], positions.expand(*self.axes, -1, -1))

    def _shown(self) -> Tensor | None:
        """What one more token of every row sees: [B, 1, 1, P+t], or None: everything."""
        return self.mask.bool()[:, None, None] if self.padded else None

    def keep(self, rows: Tensor) -> None:
        """Go on with `rows` only; a row that is named twice is doubled."""
        self.mask, self.next = self.mask[rows], self.next[rows]
        self.cache.reorder_cache(rows)


class TransformersEngine:
    """Samples from `policy.model` itself, so an optimizer step is seen by the next call."""

    def __init__(self, policy: Policy, sampling: SamplingConfig, max_batch: int) -> None:
        self.policy, self.sampling, self.max_batch = policy, sampling, max_batch
        self._warpers = warpers(sampling)
        self._stop_ids = torch.tensor(policy.stop_ids, dtype=torch.long, device=policy.device)
        self.look_every = LOOK_EVERY[policy.device.type]

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        # Prompts of like length go together (less padding), equal ones side by side (one prefill).
        order = sorted(range(len(requests)), key=lambda i: _place(requests[i]))
        completions: dict[int, Completion] = {}
        for start in range(0, len(order), self.max_batch):
            batch = order[start : start + self.max_batch]
            completions.update(zip(batch, self._generate_batch([requests[i] for i in batch]), strict=True))
        return [completions[i] for i in range(len(requests))]

    @torch.inference_mode()
    def _generate_batch(self, requests: Sequence[Request]) -> list[Completion]:
        uniforms = _uniforms(requests, self.sampling.max_new_tokens).to(self.policy.device)
        tokens, logprobs = torch.zeros_like(uniforms, dtype=torch.long), torch.zeros_like(uniforms, dtype=torch.float32)
        rows = torch.arange(len(requests), device=self.policy.device)  # those that go on
        context, logits = self._prefill(requests)
        for t in range(self.sampling.max_new_tokens):
            if t > 0:
                logits = context.read_next(tokens[rows, t - 1])
            tokens[rows, t], logprobs[rows, t] = draw(self._scores(tokens[rows, :t], logits), uniforms[rows, t])
            if (t + 1) % self.look_every:
                continue
            going = self._going(tokens[rows, max(0, t + 1 - self.look_every) : t + 1])
            if len(going) == 0:
                break
            if len(going) < len(rows):
                context.keep(going)
                rows = rows[going]
        return [self._cut(*row) for row in zip(tokens.tolist(), logprobs.tolist(), strict=True)]

    def _going(self, last: Tensor) -> Tensor:
        """Which rows have no stop token among their `last` ones [B, t], those since the last look."""
        return torch.isin(last, self._stop_ids, invert=True).all(dim=1).nonzero().squeeze(1)

    def rest(self) -> None:
        """It has no memory of its own."""

    def _prefill(self, requests: Sequence[Request]) -> tuple[Context, Tensor]:
        """Read every distinct prompt once; returns the context and logits of one row per request."""
        asked = [(request.prompt_token_ids, request.images) for request in requests]
        index = {prompt: i for i, prompt in enumerate(dict.fromkeys(asked))}
        prompts = collate([(self.policy.prompt(*prompt), ()) for prompt in index], self.policy.pad_id, self.policy.device)
        context = Context(self.policy.model, prompts)
        logits = context.read(prompts.input_ids, prompts.position_ids, **prompts.image_inputs(range(len(index))))
        owner = torch.tensor([index[prompt] for prompt in asked], device=self.policy.device)
        context.keep(owner)
        return context, logits[owner]

    def _scores(self, tokens: Tensor, logits: Tensor) -> Tensor:
        """The logits that are sampled from, after `tokens` [B, t]."""
        return self._warpers(tokens, forbid(logits, self.policy.model.config))

    def _cut(self, tokens: list[int], logprobs: list[float]) -> Completion:
        """End at the first stop token, which belongs to the response."""
        end = next((i for i, token in enumerate(tokens) if token in self.policy.stop_ids), None)
        length = len(tokens) if end is None else end + 1
        return Completion(tuple(tokens[:length]), tuple(logprobs[:length]), "length" if end is None else "stop")


def sees_all(model: PreTrainedModel) -> bool:
    """Whether every layer attends to all tokens before, by torch's own attention: then one mask holds for all."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention" if getattr(config, "sliding_window", None) is None else "sliding"]
    return set(kinds) == {"full_attention"} and config._attn_implementation == "sdpa" and not model._is_stateful


def _place(request: Request) -> tuple[int, tuple[int, ...], tuple[str, ...]]:
    return len(request.prompt_token_ids), request.prompt_token_ids, tuple(image.sha256 for image in request.images)


def _uniforms(requests: Sequence[Request], length: int) -> Tensor:
    """Uniform numbers in [0, 1), [B, T]: a counter-based stream per request, keyed by its seed."""
    rows = [np.random.Generator(np.random.Philox(key=request.seed)).random(length) for request in requests]
    return torch.from_numpy(np.stack(rows))
