"""AdamW whose arithmetic is float32 whatever the policy's dtype.

A bfloat16 weight cannot hold the change of one small step, so the optimizer updates a float32 master copy and rounds it back.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from npo_pipeline.configuration.settings import GrpoConfig
from npo_pipeline.errors import NumericalError
from npo_pipeline.grpo.learning_rate import Warmup, learning_rate
from npo_pipeline.policy.sharded import whole_tensor

PIECE = 2**25  # elements of gradients that are float32 at once


class PolicyOptimizer:
    """Clips the gradient, takes an AdamW step, and can hand out and take back its state as named tensors."""

    def __init__(self, model: nn.Module, settings: GrpoConfig) -> None:
        self.settings = settings
        self.run_steps = 1  # of the whole run: where a learning rate that decays ends (npo_pipeline.grpo.run)
        self.fresh: Warmup | None = None  # of moments that began anew in the middle of a run
        self.parameters: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.exact = all(p.dtype == torch.float32 for p in self.parameters)  # they are their own masters
        self.masters = self.parameters if self.exact else [p.detach().float().clone() for p in self.parameters]
        self.adam = torch.optim.AdamW(
            self.masters,
            lr=settings.learning_rate,
            betas=(settings.adam_betas[0], settings.adam_betas[1]),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.kept: dict[str, Sequence[Tensor]] = {}  # by name: what a method keeps of every master, saved and restored with them

    def learning_rate(self, step: int) -> float:
        return learning_rate(self.settings, step, self.run_steps, self.fresh)

    def step(self, step: int) -> float:
        """Apply the accumulated gradients; returns their norm before clipping. A norm that is not finite changes nothing.

        Raises NumericalError where weights are not finite afterwards: they are lost then.
        """
        total = self._clip() if self.exact else self._norm()
        norm = whole_tensor(total).item()
        if math.isfinite(norm):
            for group in self.adam.param_groups:
                group["lr"] = self.learning_rate(step)
            if self.exact:
                self.adam.step()
            else:
                self._step_in_pieces(total)
            self._check_weights(step, norm)
        self.clear()
        return norm

    def _clip(self) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(self.masters, self.settings.max_grad_norm)

    def _norm(self) -> Tensor:
        """Of the gradients, in float32 whatever their dtype."""
        norms = [torch.linalg.vector_norm(p.grad, dtype=torch.float32) for p in self.parameters if p.grad is not None]
        return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())

    @torch.no_grad()
    def _step_in_pieces(self, total: Tensor) -> None:
        """An AdamW step with float32 gradients, clipped, for some parameters at a time: no float32 copy of all of them is ever alive."""
        scale = (self.settings.max_grad_norm / (total + 1e-6)).clamp(max=1.0)
        for piece in _pieces([i for i, parameter in enumerate(self.parameters) if parameter.grad is not None], self.parameters):
            parameters, masters = [self.parameters[i] for i in piece], [self.masters[i] for i in piece]
            for master, parameter in zip(masters, parameters, strict=True):
                master.grad, parameter.grad = parameter.grad.float().mul_(scale), None  # type: ignore[union-attr]
            self.adam.step()  # leaves alone what has no gradient
            torch._foreach_copy_(parameters, masters)
            for master in masters:
                master.grad = None

    def state_tensors(self) -> dict[str, Tensor]:
        """Moments, step counts, master copies and what is kept beside them, by name."""
        tensors = {f"{key}.{i}": value for i, p in enumerate(self.masters) for key, value in self.adam.state[p].items()}
        return tensors | {f"{key}.{i}": tensor for key, beside in self._beside().items() for i, tensor in enumerate(beside)}

    def _beside(self) -> dict[str, Sequence[Tensor]]:
        return {"master": self.masters, **self.kept}

    def blank_state_tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors of those names that a saved state can be read into, spread over ranks as the masters are."""
        masters = {str(i): master for i, master in enumerate(self.masters)}
        kinds = {name: name.partition(".") for name in names}
        return {
            name: torch.zeros(()) if kind == "step" else torch.zeros_like(masters[number], requires_grad=False)
            for name, (kind, _, number) in kinds.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state_tensors`: masters, and through them the policy's weights, what is kept beside them, and the moments."""
        with torch.no_grad():
            for name, beside in self._beside().items():
                for i, tensor in enumerate(beside):
                    tensor.copy_(tensors[f"{name}.{i}"])
            for i, master in enumerate(self.masters):
                keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{i}" in tensors]
                found = {key: tensors[f"{key}.{i}"].to(master.device, copy=True) for key in keys}
                if found:
                    self.adam.state[master] = found
            if not self.exact:
                torch._foreach_copy_(self.parameters, self.masters)

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


def _pieces(picked: Sequence[int], parameters: Sequence[Tensor]) -> Iterator[list[int]]:
    """Consecutive ones of up to PIECE elements together, or a single larger one."""
    piece: list[int] = []
    size = 0
    for i in picked:
        if piece and size + parameters[i].numel() > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(i)
        size += parameters[i].numel()
    if piece:
        yield piece
