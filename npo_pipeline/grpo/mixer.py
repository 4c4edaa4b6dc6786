"""What a guided run does to its groups: the seam between the training loop and the methods of `npo_pipeline.guidance`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from npo_pipeline.records import Group, Problem, Trajectory

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer


@dataclass(frozen=True)
class Mixed:
    """The groups to train on, in the order of those sampled; the tokens that were sampled beside them to make them.

    `metrics` are the method's own numbers of the step, for its line in metrics.jsonl.
    """

    groups: Sequence[Group]
    sampled_tokens: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    own: Sequence[Trajectory] = ()  # of the live policy, held back and then drawn


class Mixer(Protocol):
    """Asked once per step in this order: which problems, how to mix, and, when the step is over, what it makes of it."""

    @property
    def held_back(self) -> int:
        """Samples of each group that are not drawn before `mix`, which draws them or has others do it."""
        ...

    def batch(self, step: int, problems: Sequence[Problem]) -> Sequence[Problem]:
        """The problems of the step, given those that the problem order holds for it; as many."""
        ...

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        """The groups with guides in them."""
        ...

    def observe(self, step: int, groups: Sequence[Group], metrics: dict[str, Any]) -> list[dict[str, Any]]:
        """See the step's mixed groups and metrics, after the update; returns decisions, one mapping each, for interventions.jsonl."""
        ...

    @property
    def wants_back(self) -> bool:
        """Whether, after the step that was observed last, it may be better to go back and take some steps again."""
        ...

    def go_back(self, run: Path, now: int) -> int | None:
        """Decide that before step `now`: write a segment's decision into the run's folder (npo_pipeline.grpo.rewind), and return the
        step to go back to; None to go on."""
        ...

    def restore(self, run: Path, step: int, first: int = 0) -> None:
        """Before a run that began at step `first` goes on at `step`, perhaps the same: come to the state of a run that never stopped,
        from the run's own files."""
        ...


class OnPolicy:
    """Plain GRPO: nothing is mixed in. The methods override what they do otherwise."""

    held_back = 0

    def batch(self, step: int, problems: Sequence[Problem]) -> Sequence[Problem]:
        return problems

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        return Mixed(groups)

    def observe(self, step: int, groups: Sequence[Group], metrics: dict[str, Any]) -> list[dict[str, Any]]:
        return []

    wants_back = False

    def go_back(self, run: Path, now: int) -> int | None:
        return None

    def restore(self, run: Path, step: int, first: int = 0) -> None:
        pass


MakeMixer = Callable[["Trainer"], Mixer]  # the loaded trainer comes last: what a method reads is read and checked before it
