"""Policy gradients of single groups, as short sketches that keep their inner products.

A gradient has as many entries as the model has parameters; what a variance needs of it are inner products only. So each one is
kept as a count-sketch (Charikar, Chen, Farach-Colton 2002): entries, with random signs, summed into SIZE cells. The inner product of
two sketches is that of the gradients in expectation over the signs, with an error of about 1 / sqrt(SIZE) of the product of norms.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from npo_pipeline.configuration.settings import GrpoConfig, SamplingConfig
from npo_pipeline.grpo.loss import clipped_surrogate, token_weights
from npo_pipeline.policy.logprobs import collate, response_logprobs
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Trajectory

SIZE = 16381  # a prime, so that columns of a weight matrix do not all fall into the same cells; error below 1%

Floats = NDArray[np.float32]


class Sketch:
    """Sketches of gradients of `parameters` [size]."""

    def __init__(self, parameters: Sequence[Tensor], size: int = SIZE) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.count = sum(parameter.numel() for parameter in self.parameters)
        self.size = size
        rows = -(-self.count // size)
        generator = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, (rows * size,), generator=generator, dtype=torch.int8) * 2 - 1
        self.signs = signs.to(self.parameters[0].device)

    def gradient(self, loss: Tensor, keep_graph: bool = False) -> Floats:
        """The sketched gradient of `loss`."""
        gradients = torch.autograd.grad(loss, self.parameters, retain_graph=keep_graph, materialize_grads=True)
        flat = torch.cat([gradient.detach().reshape(-1).float() for gradient in gradients])
        padded = torch.nn.functional.pad(flat, (0, len(self.signs) - self.count))
        return (padded * self.signs).view(-1, self.size).sum(dim=0).cpu().numpy()


class SlotGradients:
    """Gradients of the GRPO surrogate loss of slots of one problem, under `policy` as the policy that acts (its own ratio is 1)."""

    def __init__(self, policy: Policy, grpo: GrpoConfig, sampling: SamplingConfig) -> None:
        self.policy, self.grpo, self.sampling = policy, grpo, sampling
        self.sketch = Sketch(list(policy.model.parameters()))

    def on_policy(self, slots: Sequence[Trajectory], advantages: Sequence[float]) -> Floats:
        """Of some slots of a group, each with its advantage; 0 where no advantage moves it."""
        moved = [(slot, a) for slot, a in zip(slots, advantages, strict=True) if a != 0.0]
        if not moved:
            return np.zeros(self.sketch.size, dtype=np.float32)
        logprobs, weights = self._forward([slot for slot, _ in moved])
        gains = torch.tensor([a for _, a in moved], device=logprobs.device)
        losses, _ = clipped_surrogate(logprobs, logprobs.detach(), gains, self.grpo.clip_low, self.grpo.clip_high)
        return self.sketch.gradient((losses * weights).sum())

    def guide(self, trajectory: Trajectory) -> tuple[dict[str, Floats], list[float]]:
        """Of one guide slot of advantage 1, by how it is corrected, and log pi_t - log pi_g per token.

        "uncorrected": as if pi_t had sampled it. "importance": each token weighted by pi_t / pi_g. "clipped": so, with the clip.
        """
        logprobs, weights = self._forward([trajectory])
        recorded = torch.tensor([trajectory.behaviour_logprobs], device=logprobs.device, dtype=logprobs.dtype)
        one, clip = torch.ones(1, device=logprobs.device), (self.grpo.clip_low, self.grpo.clip_high)
        losses = {
            "uncorrected": clipped_surrogate(logprobs, logprobs.detach(), one, *clip)[0],
            "importance": -torch.exp(logprobs - recorded),
            "clipped": clipped_surrogate(logprobs, recorded, one, *clip)[0],
        }
        gradients = {kind: self.sketch.gradient((loss * weights).sum(), keep_graph=True) for kind, loss in losses.items()}
        return gradients, (logprobs.detach() - recorded)[0].tolist()

    def _forward(self, slots: Sequence[Trajectory]) -> tuple[Tensor, Tensor]:
        """Log-probs, and each token's weight in the loss of the whole group: [B, T]."""
        batch = collate(self.policy.rows(slots), self.policy.pad_id, self.policy.device)
        logprobs, _ = response_logprobs(self.policy.model, batch, self.sampling.temperature)
        size, tokens = self.grpo.group_size, int(batch.response_mask.sum())  # of a guide alone: as if all of the group were as long
        count = size * tokens // len(slots) if self.grpo.aggregation == "token" else size
        weights = token_weights(batch.response_mask, count, self.grpo.aggregation, self.sampling.max_new_tokens)
        return logprobs, weights
