"""What the methods share whose guide is the run's own averaged weights: what is asked of these, whether they lead, and a step's numbers."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.settings import VarianceConfig
from npo_pipeline.grpo.mixer import OnPolicy
from npo_pipeline.guidance.generate import first_verified
from npo_pipeline.guidance.lead import Lead, Paired
from npo_pipeline.records import Draw, Group, Problem, Trajectory
from npo_pipeline.storage.run_files import METRICS, read_jsonl

if TYPE_CHECKING:
    from npo_pipeline.guidance.signal import LogRatios

SIGNAL = ("q", "kl_token", "v", "s")  # of a step, in its metrics


class Compared(Protocol):
    """The settings of an average that acts where it is known to solve more than the live policy."""

    decay: float
    compared: float
    window: int
    certainty: float


def check_compared(settings: Compared, key: str) -> None:
    """Raises ConfigError for a value that cannot work."""
    require(0 <= settings.decay < 1, f"{key}.decay", settings.decay, "in [0, 1): the weight of the average before, such as 0.97")
    require(0 < settings.compared <= 1, f"{key}.compared", settings.compared, "in (0, 1]: a share of the prompts that fail")
    require(settings.window >= 1, f"{key}.window", settings.window, "at least 1 step")
    require(0.5 <= settings.certainty < 1, f"{key}.certainty", settings.certainty, "in [0.5, 1)")


class Future(Protocol):
    """What a mixer asks of the loaded policy (npo_pipeline.guidance.live)."""

    def acting(self) -> AbstractContextManager[None]:
        """Within the block the policy has its averaged weights."""
        ...

    def tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        """One trajectory per draw, while it has them."""
        ...

    def live_tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        """One trajectory per draw of the policy as it is, beside those of its own groups."""
        ...

    def own_samples(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        """One trajectory per draw of the policy as it is: those that its own groups have at these indices."""
        ...

    def log_ratios(self, trajectories: Sequence[Trajectory]) -> "LogRatios":
        """log pi_now - log pi_average per token of each trajectory."""
        ...

    def see(self, step: int) -> None:
        """Take the weights after the update of `step` into the average."""
        ...


class AveragedMixer(OnPolicy):
    """Keeps the average up to date, and the record of how it does against the live policy."""

    def __init__(self, future: Future, variance: VarianceConfig, lead: Lead) -> None:
        self.future, self.variance, self.lead = future, variance, lead

    def measured(self, leads: bool, pairs: Paired, tried: Sequence[Trajectory], groups: Sequence[Group]) -> dict[str, Any]:
        """The step's pairs, from which a resumed run comes to the same record; coverage over the window; Q, V and S of the step's tries."""
        from npo_pipeline.guidance.signal import signal

        total, solved = self.lead.total, first_verified(tried)
        asked = {trajectory.problem_id for trajectory in tried}
        failed = [group.problem.problem_id for group in groups if group.accuracy == 0.0 and group.problem.problem_id in asked]
        ratios = self.future.log_ratios(list(solved.values())) if solved else []
        found = signal(failed, [problem_id for problem_id in failed if problem_id in solved], ratios, self.variance)
        return {
            "average/leads": int(leads),
            "average/tries": len(tried),
            "average/verified": sum(trajectory.verified for trajectory in tried),
            "average/coverage": _share(total.both + total.won, total.prompts),
            "live/coverage": _share(total.both + total.lost, total.prompts),
            **{f"paired/{name}": value for name, value in vars(pairs).items()},
            **{f"average/{name}": found[name] for name in SIGNAL},
        }

    def observe(self, step: int, groups: Sequence[Group], metrics: dict[str, Any]) -> list[dict[str, Any]]:
        self.future.see(step)
        return []

    def restore(self, run: Path, step: int, first: int = 0) -> None:
        """The pairs are in the metrics; the average itself is in the saved state."""
        for row in read_jsonl(run / METRICS) if step > first else []:
            self.lead.see(Paired(**{name: row[f"paired/{name}"] for name in vars(Paired())}))


def paired(problems: Sequence[Problem], average: Mapping[str, bool], live: Mapping[str, bool]) -> Paired:
    """What a try of either policy made of those problems that both tried: verified or not, by problem."""
    both = [(average[p.problem_id], live[p.problem_id]) for p in problems if p.problem_id in average and p.problem_id in live]
    return Paired(len(both), both.count((True, True)), both.count((True, False)), both.count((False, True)))


def verdicts(trajectories: Sequence[Trajectory], index: int) -> dict[str, bool]:
    """Of the trajectories with this sample index, by problem."""
    return {trajectory.problem_id: trajectory.verified for trajectory in trajectories if trajectory.sample_index == index}


def _share(count: int, total: int) -> float:
    return count / total if total else math.nan
