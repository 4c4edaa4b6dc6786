"""A self-check of engines: are the log-probs that an engine reports those of the policy it is to sample from?

An engine with a copy of the weights can go stale without a word: with tied embeddings, vLLM keeps its packed head if an update does
not name it, and samples on from a mixture of two policies. So the first call and every N-th after it are compared with the policy
itself, on a few of the responses that were sampled anyway: no sample is drawn for it, and nothing else changes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from npo_pipeline.configuration.settings import EngineConfig, SamplingConfig
from npo_pipeline.errors import NumericalError
from npo_pipeline.policy.logprobs import collate, response_logits
from npo_pipeline.policy.policy import Policy
from npo_pipeline.rollout.engine import Completion, Engine, Request
from npo_pipeline.rollout.truncate import warpers

RESPONSES, TOKENS = 8, 64  # compared per check, at most: spread over the call; the first tokens of each
LARGEST_GAP = 1.0  # nats that one token counts at most: rounding moves tokens over the border of a truncated distribution
# Mean gap. Seen between correct engines on a CPU: 1e-6, and 6e-3 to 3e-2. A GPU's float32 kernels may multiply in TF32, of 10 bits.
TOLERANCE = {("cpu", torch.float32): 1e-3, ("cuda", torch.float32): 1e-2, ("cpu", torch.bfloat16): 5e-2, ("cuda", torch.bfloat16): 5e-2}


class CheckedEngine:
    """An engine whose first call and every `settings.check_every`-th after it are compared with the policy."""

    def __init__(self, engine: Engine, policy: Policy, sampling: SamplingConfig, settings: EngineConfig) -> None:
        self.engine, self.policy, self.sampling, self.settings = engine, policy, sampling, settings
        self.calls = 0

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Raises NumericalError if the engine's log-probs are not the policy's."""
        completions = self.engine.generate(requests)
        if requests and self.settings.check_every and self.calls % self.settings.check_every == 0:
            self._check(requests, completions)
        self.calls += 1
        return completions

    def rest(self) -> None:
        self.engine.rest()

    def _check(self, requests: Sequence[Request], completions: Sequence[Completion]) -> None:
        picked = range(0, len(requests), max(1, len(requests) // RESPONSES))[:RESPONSES]
        gaps = torch.cat([token_gaps(self.policy, self.sampling, requests[i], completions[i]) for i in picked])
        tolerance = self.settings.check_tolerance or TOLERANCE[self.policy.device.type, self.policy.model.dtype]
        if not gaps.mean() <= tolerance:  # not a number is no agreement either
            raise NumericalError(
                f"engine {self.settings.name}, call {self.calls}: its log-probs differ from the policy's by {gaps.mean():.3g} nats on "
                f"average over {len(gaps)} tokens (largest {gaps.max():.3g}), engine.check_tolerance allows {tolerance:g}. It samples from "
                "other weights, or by other arithmetic. Run again, it resumes; if it comes back, take engine=transformers, or raise "
                "engine.check_tolerance where the difference is the dtype's rounding"
            )


@torch.no_grad()
def token_gaps(policy: Policy, sampling: SamplingConfig, request: Request, completion: Completion) -> Tensor:
    """|engine - policy| in nats of the first tokens of a response [T], both under the distribution that was sampled."""
    response = completion.token_ids[:TOKENS]
    batch = collate([(policy.prompt(request.prompt_token_ids, request.images), response)], policy.pad_id, policy.device)
    logits_TV = response_logits(policy.model, batch)[0].float()
    logprobs_TV = warpers(sampling)(batch.response_ids.T, logits_TV).log_softmax(dim=-1)
    expected = logprobs_TV.gather(1, batch.response_ids.T).squeeze(1)
    found = torch.tensor(completion.logprobs[:TOKENS], device=expected.device)
    return (found - expected).abs().clamp(max=LARGEST_GAP)
