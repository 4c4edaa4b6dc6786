"""Averaged and live policies whose samples are known beforehand, as far as the tests of npo_ema and npo_within share them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from npo_pipeline.records import Trajectory


def trajectory(name: str, index: int, right: bool, length: int = 2) -> Trajectory:
    return Trajectory(name, index, (1,), (7,) * length, (-0.5,) * length, float(right), right, "stop", "")


class Swapped:
    """Counts how often the average is put in; the two policies agree in every log-prob."""

    def __init__(self) -> None:
        self.swaps, self.inside = 0, False
        self.seen: list[int] = []

    @contextmanager
    def acting(self) -> Iterator[None]:
        self.swaps, self.inside = self.swaps + 1, True
        yield
        self.inside = False

    def log_ratios(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        assert not self.inside
        return [[0.0] * len(t.response_token_ids) for t in trajectories]

    def see(self, step: int) -> None:
        self.seen.append(step)
