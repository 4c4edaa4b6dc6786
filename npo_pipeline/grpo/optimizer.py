"""AdamW whose arithmetic is float32 whatever the policy's dtype.

A bfloat16 weight cannot hold the change of one small step, so the optimizer updates a float32 master copy and rounds it back.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from npo_pipeline.configuration.settings import GrpoConfig
from npo_pipeline.errors import NumericalError
from npo_pipeline.policy.sharded import whole_tensor


class PolicyOptimizer:
    """Clips the gradient, takes an AdamW step, and can hand out and take back its state as named tensors."""

    def __init__(self, model: nn.Module, settings: GrpoConfig) -> None:
        self.settings = settings
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.masters = [p if p.dtype == torch.float32 else p.detach().float().clone() for p in self.parameters]
        self.adam = torch.optim.AdamW(
            self.masters,
            lr=settings.learning_rate,
            betas=(settings.adam_betas[0], settings.adam_betas[1]),
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def learning_rate(self, step: int) -> float:
        """Linear warm-up over `warmup_steps`, then constant."""
        warm = min(1.0, (step + 1) / self.settings.warmup_steps) if self.settings.warmup_steps else 1.0
        return self.settings.learning_rate * warm

    def step(self, step: int) -> float:
        """Apply the accumulated gradients; returns their norm before clipping. A norm that is not finite changes nothing.

        Raises NumericalError where weights are not finite afterwards: they are lost then.
        """
        for master, parameter in zip(self.masters, self.parameters, strict=True):
            if master is not parameter:
                master.grad = None if parameter.grad is None else parameter.grad.float()
        norm = whole_tensor(torch.nn.utils.clip_grad_norm_(self.masters, self.settings.max_grad_norm)).item()
        if math.isfinite(norm):
            for group in self.adam.param_groups:
                group["lr"] = self.learning_rate(step)
            self.adam.step()
            self._round_back()
            self._check_weights(step, norm)
        self.clear()
        return norm

    def state_tensors(self) -> dict[str, Tensor]:
        """Moments, step counts and master copies, by name."""
        tensors = {f"{key}.{i}": value for i, p in enumerate(self.masters) for key, value in self.adam.state[p].items()}
        return tensors | {f"master.{i}": master for i, master in enumerate(self.masters)}

    def blank_state_tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors of those names that a saved state can be read into, spread over ranks as the masters are."""
        masters = {str(i): master for i, master in enumerate(self.masters)}
        kinds = {name: name.partition(".") for name in names}
        return {
            name: torch.zeros(()) if kind == "step" else torch.zeros_like(masters[number], requires_grad=False)
            for name, (kind, _, number) in kinds.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state_tensors`: masters, and through them the policy's weights, and the moments."""
        with torch.no_grad():
            for i, master in enumerate(self.masters):
                master.copy_(tensors[f"master.{i}"])
                keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{i}" in tensors]
                found = {key: tensors[f"{key}.{i}"].to(master.device, copy=True) for key in keys}
                if found:
                    self.adam.state[master] = found
        self._round_back()

    @torch.no_grad()
    def _round_back(self) -> None:
        for master, parameter in zip(self.masters, self.parameters, strict=True):
            if master is not parameter:
                parameter.copy_(master)

    @torch.no_grad()
    def _check_weights(self, step: int, norm: float) -> None:
        largest = whole_tensor(torch.nn.utils.get_total_norm(self.parameters, float("inf"))).item()
        if not math.isfinite(largest):
            raise NumericalError(
                f"step {step}: the update left weights that are not finite (learning rate {self.learning_rate(step):g}, gradient norm "
                f"{norm:g}); none of it was saved, the last saved state is from before. Lower grpo.learning_rate"
            )

    def clear(self) -> None:
        """Forget the accumulated gradients."""
        for tensor in (*self.masters, *self.parameters):
            tensor.grad = None
