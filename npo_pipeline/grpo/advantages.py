"""Group advantages: each reward against the other rewards of its group (PAPER: A_i = (r_i - mean) / (std + eps))."""

from torch import Tensor


def group_advantages(rewards_PG: Tensor, kind: str, eps: float) -> Tensor:
    """Advantages [P, G] of rewards [P, G]; each row is a group.

    kind "std": (r - mean) / (std + eps) with the sample standard deviation (n - 1), as TRL and verl compute it.
    kind "mean": r - mean. A group whose rewards are all equal has advantage 0 exactly.
    """
    centred = rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
    equal = (rewards_PG == rewards_PG[:, :1]).all(dim=1, keepdim=True)
    if kind == "std":
        centred = centred / (rewards_PG.std(dim=1, keepdim=True) + eps)
    return centred.masked_fill(equal, 0.0)
