"""A virtual future within GRPO's own budget (method npo_within): the run's averaged weights finish the groups that fail so far.

The last `samples` of each group wait until the others are judged. Where one of those is right, the live policy draws the rest, with the
seeds that it has in plain GRPO. Where all are wrong, the moving average of the run's weights draws them (npo_pipeline.guidance.averaged),
and they stand in the group as they come, right or wrong. So a step samples and trains on as many responses as one of GRPO.

Whether the average solves more is measured as the run goes, without further samples: in a failed group that is *compared* it draws the
first of the waiting samples, and the live policy the others. All failed groups are compared while it does not lead
(npo_pipeline.guidance.lead), and the share `compared` of them while it does; the others are then the average's alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.settings import RootConfig, VarianceConfig
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, Mixer
from npo_pipeline.grpo.mixing import finish
from npo_pipeline.guidance.averaged import AveragedMixer, Future, check_compared, paired, verdicts
from npo_pipeline.guidance.generate import tokens_of
from npo_pipeline.guidance.lead import Lead
from npo_pipeline.guidance.methods import Live
from npo_pipeline.records import Draw, Group, Problem, Ratio, Slot, Trajectory

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer


@dataclass
class WithinConfig:
    decay: float  # of the moving average, per step
    samples: int  # of each group that wait for the others
    compared: float  # share of the failed groups on which average and live policy are compared, while the average leads
    window: int  # steps whose comparisons count
    certainty: float  # that the average solves more, above which it finishes failed groups alone


@dataclass
class Method(Live):
    scored_live: ClassVar[bool] = True
    averages: ClassVar[int] = 1

    within: WithinConfig = field(kw_only=True)

    @property
    def replaces(self) -> bool:
        return False

    def check(self, key: str) -> None:
        within, key = self.within, f"{key}.within"
        check_compared(within, key)
        require(
            within.samples >= 2, f"{key}.samples", within.samples, "at least 2: one of the average, and one of the live policy beside it"
        )

    def check_with(self, name: str, root: RootConfig) -> None:
        size = self.grpo.get("group_size", root.grpo.group_size)
        expected = f"less than the {size} samples of a group: the others say whether it fails; or a list method=[...] without {name}"
        require(self.within.samples < size, f"method.{name}.within.samples", self.within.samples, expected)

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        variance = context.config.variance
        assert variance is not None, "composed for this kind"

        def mixer(trainer: "Trainer") -> Mixer:
            from npo_pipeline.guidance import live

            future = live.AveragedPolicy(trainer, self.within.decay, None)
            return WithinMixer(self, variance, future, trainer.settings.group_size)

        return mixer


class WithinMixer(AveragedMixer):
    def __init__(self, method: Method, variance: VarianceConfig, future: Future, group_size: int) -> None:
        super().__init__(future, variance, Lead(method.within.window, method.within.certainty))
        self.gate, self.compared, self.held_back = method.gate, method.within.compared, method.within.samples
        self.waiting = range(group_size - self.held_back, group_size)
        self.ratio: Ratio = "recorded" if method.correction else "policy"

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        leads, failed = self.lead.leads, [group.problem for group in groups if group.accuracy <= self.gate]
        compared = failed[: math.ceil(self.compared * len(failed))] if leads else failed
        theirs = self._averages(failed, compared)
        taken = {(problem.problem_id, index) for problem, index in theirs}
        waiting = [(group.problem, index) for group in groups for index in self.waiting]
        own = self.future.own_samples(step, [draw for draw in waiting if (draw[0].problem_id, draw[1]) not in taken])
        tried = self._tries(step, theirs)
        first = self.waiting.start
        pairs = paired(compared, verdicts(tried, first), verdicts(own, first + 1))
        self.lead.see(pairs)
        return Mixed(self._finished(step, groups, own, tried), tokens_of(tried), self.measured(leads, pairs, tried, groups), own)

    def _averages(self, failed: Sequence[Problem], compared: Sequence[Problem]) -> list[Draw]:
        """What the average draws: of a compared group the first of the waiting samples, of another failed one all."""
        alone = failed[len(compared) :]
        return [(p, self.waiting.start) for p in compared] + [(p, index) for p in alone for index in self.waiting]

    def _tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        if not draws:
            return []
        with self.future.acting():
            return self.future.tries(step, draws)

    def _finished(self, step: int, groups: Sequence[Group], own: Sequence[Trajectory], tried: Sequence[Trajectory]) -> list[Group]:
        mine, theirs = (by_problem(trajectories) for trajectories in (own, tried))
        slots = {key: [Slot(trajectory, "guide", step, self.ratio) for trajectory in some] for key, some in theirs.items()}
        return [finish(group, mine.get(group.problem.problem_id, []), slots.get(group.problem.problem_id, [])) for group in groups]


def by_problem(trajectories: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    found: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        found.setdefault(trajectory.problem_id, []).append(trajectory)
    return found
