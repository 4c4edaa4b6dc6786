"""ExGRPO's experience replay (PAPER, the mixed-policy methods): the run's own past successes, in half of a step's groups.

A buffer keeps verified trajectories of partly solved prompts (0 < k of n), bucketed by the latest success count k. Once a step's
accuracy has passed `start_accuracy`, buckets are drawn with weight N(k; n/2, 1), prompts in them evenly; of a prompt's stored
trajectories the one with the lowest entropy under the current policy takes the last slot. A fully solved prompt retires.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, Mixer, OnPolicy
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.methods import Live
from npo_pipeline.records import Group, GuideTrajectory, Problem, Trajectory
from npo_pipeline.storage.run_files import METRICS, read_jsonl

if TYPE_CHECKING:
    import numpy as np

    from npo_pipeline.grpo.step import Trainer

MeanEntropy = Callable[[Sequence[Trajectory]], list[float]]  # per response token under the live policy, nats


@dataclass
class ReplayConfig:
    start_accuracy: float  # replay begins once a step's accuracy has reached this
    share: float  # of a step's prompts that are replayed ones
    keep: int  # stored trajectories per prompt, the latest


@dataclass
class Method(Live):
    replay: ReplayConfig = field(kw_only=True)

    @property
    def replaces(self) -> bool:
        """A replayed group is one with a sample fewer."""
        return False

    def check(self, key: str) -> None:
        replay, key = self.replay, f"{key}.replay"
        require(0 <= replay.start_accuracy <= 1, f"{key}.start_accuracy", replay.start_accuracy, "in [0, 1]")
        require(0 < replay.share <= 1, f"{key}.share", replay.share, "in (0, 1]: of a step's prompts")
        require(replay.keep >= 1, f"{key}.keep", replay.keep, "at least 1")

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        def mixer(trainer: "Trainer") -> Mixer:
            from npo_pipeline.guidance import live

            problems = {problem.problem_id: problem for problem in trainer.problems}
            entropies = partial(live.entropies, trainer)
            return ReplayMixer(self.replay, self.gate, trainer.settings.group_size, trainer.seed, problems, entropies)

        return mixer


@dataclass(frozen=True)
class Experience:
    """A prompt of the buffer: its latest success count, and its trajectories with the steps they were sampled at, oldest first."""

    latest: int
    trajectories: tuple[GuideTrajectory, ...]


class ReplayMixer(OnPolicy):
    def __init__(
        self, settings: ReplayConfig, gate: float, group_size: int, seed: int, problems: Mapping[str, Problem], entropy: MeanEntropy
    ) -> None:
        self.settings, self.gate, self.group_size, self.seed = settings, gate, group_size, seed
        self.problems, self.entropy = problems, entropy
        self.buffer: dict[str, Experience] = {}
        self.started = False
        self.replayed: list[str] = []  # problems of the present step that are replayed ones

    def batch(self, step: int, problems: Sequence[Problem]) -> Sequence[Problem]:
        import numpy as np

        count = int(self.settings.share * len(problems)) if self.started else 0
        known = {problem.problem_id for problem in problems}
        buckets = {problem_id: experience.latest for problem_id, experience in self.buffer.items() if problem_id not in known}
        self.replayed = draw(buckets, count, self.group_size, np.random.default_rng([self.seed, step, 1]))
        # A buffer that holds too little leaves more room to the problem order.
        return [*problems[: len(problems) - len(self.replayed)], *(self.problems[problem_id] for problem_id in self.replayed)]

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        return Mixed([self._mix(group) if group.problem.problem_id in self.replayed else group for group in groups])

    def _mix(self, group: Group) -> Group:
        stored = self.buffer[group.problem.problem_id].trajectories
        entropies = self.entropy([guide.trajectory for guide in stored])
        chosen = min(range(len(stored)), key=entropies.__getitem__)
        return mix(group, stored[chosen], self.gate, "shaped_recorded")

    def observe(self, step: int, groups: Sequence[Group], metrics: dict[str, Any]) -> list[dict[str, Any]]:
        for group in groups:
            self._learn(step, group)
        self.started |= metrics["accuracy"] >= self.settings.start_accuracy
        return []

    def _learn(self, step: int, group: Group) -> None:
        """Only what the roll-out file keeps is learned from, so that a resumed run comes to the same buffer."""
        problem_id, solved = group.problem.problem_id, round(group.accuracy * self.group_size)
        before = self.buffer.pop(problem_id, Experience(0, ()))
        own = [GuideTrajectory(s.trajectory, step) for s in group.slots if s.source == "on_policy" and s.trajectory.verified]
        kept = (*before.trajectories, *own)[-self.settings.keep :]
        if kept and solved < self.group_size:
            self.buffer[problem_id] = Experience(solved, kept)

    def restore(self, run: Path, step: int, first: int = 0) -> None:
        from npo_pipeline.storage.guides import read_groups

        metrics = read_jsonl(run / METRICS) if step > first else []
        for past, row in enumerate(metrics, first):
            self.observe(past, read_groups(run, past, self.problems), row)


def draw(buckets: Mapping[str, int], count: int, group_size: int, random: "np.random.Generator") -> list[str]:
    """Up to `count` different problems: first a bucket with weight N(k; n/2, 1) among those left, then a problem in it, evenly."""
    import numpy as np

    left: dict[int, list[str]] = {}
    for problem_id in sorted(buckets):
        left.setdefault(buckets[problem_id], []).append(problem_id)
    drawn: list[str] = []
    while left and len(drawn) < count:
        counts = sorted(left)
        weights = np.array([math.exp(-((k - group_size / 2) ** 2) / 2) for k in counts])
        k = counts[random.choice(len(counts), p=weights / weights.sum())]
        drawn.append(left[k].pop(random.integers(len(left[k]))))
        left = {k: ids for k, ids in left.items() if ids}
    return drawn
