"""A virtual future in one pass (methods npo_ema, npo_extrapolate): the run's own averaged weights try what the live policy failed.

Beside the float32 masters lies their exponential moving average. After a step's groups are sampled, and before the update, it is put
into the policy once, tries the gated prompts in rounds of 1, 1, 2, ... until one try is verified, and is taken out again; a success
takes a slot, as a guide's does. `extrapolate: a` puts in theta + a (theta - average) instead.

Whether that beats the live policy is measured as the run goes: on a share of the gated prompts (`compared`) both policies have one
fresh try each, and the average tries the others, and again, only while it leads (npo_pipeline.guidance.lead). All tries of a step
together take at most the share `share` of the tokens of its own samples. Verified tries of the live policy are used where the average
has none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.settings import Foreseen, Further, VarianceConfig
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, Mixer
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.averaged import AveragedMixer, Future, check_compared, paired, verdicts
from npo_pipeline.guidance.generate import Room, first_verified, sample_until_verified, tokens_of
from npo_pipeline.guidance.lead import Lead
from npo_pipeline.guidance.methods import Live
from npo_pipeline.records import Group, GuideTrajectory, Problem, Ratio, Trajectory

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer


@dataclass
class EmaConfig:
    decay: float  # of the moving average, per step
    extrapolate: float | None  # null: the average tries; a: theta + a (theta - average) does
    tries: int  # most per gated prompt, in rounds of 1, 1, 2, 4, ... until one is verified
    share: float  # most tokens of all tries of a step, as a share of those of its own samples
    compared: float  # share of the gated prompts on which average and live policy are compared, by a try each
    window: int  # steps whose comparisons count
    certainty: float  # that the average solves more, above which it may try the other prompts, and more than once


@dataclass
class Method(Live):
    scored_live: ClassVar[bool] = True
    averages: ClassVar[int] = 1

    ema: EmaConfig = field(kw_only=True)

    def check(self, key: str) -> None:
        ema, key = self.ema, f"{key}.ema"
        check_compared(ema, key)
        require(ema.tries >= 1, f"{key}.tries", ema.tries, "at least 1")
        require(ema.share > 0, f"{key}.share", ema.share, "more than 0: a share of the step's own tokens")

    def further(self, run: Foreseen) -> Further:
        """The tries of average and live policy, as far as its share of the tokens goes."""
        return Further(tries=min(self.ema.share * run.responses, run.seeds * run.steps * run.prompts * (self.ema.tries + 1.0)))

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        variance = context.config.variance
        assert variance is not None, "composed for this kind"

        def mixer(trainer: "Trainer") -> Mixer:
            from npo_pipeline.guidance import live

            future = live.AveragedPolicy(trainer, self.ema.decay, self.ema.extrapolate)
            return EmaMixer(self, variance, future, context.config.replace)

        return mixer


class EmaMixer(AveragedMixer):
    def __init__(self, method: Method, variance: VarianceConfig, future: Future, replaced: str = "last") -> None:
        super().__init__(future, variance, Lead(method.ema.window, method.ema.certainty))
        self.settings, self.gate, self.replaced = method.ema, method.gate, replaced
        self.ratio: Ratio = "recorded" if method.correction else "policy"

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        gated = [group for group in groups if group.accuracy <= self.gate]
        leads, purse = self.lead.leads, Purse(self.settings.share, groups, gated)
        compared = [group.problem for group in gated][: min(math.ceil(self.settings.compared * len(gated)), purse.room() // 2)]
        lived = self.future.live_tries(step, [(problem, 0) for problem in compared]) if compared else []
        tried = self._tries(step, [group.problem for group in gated] if leads else compared, leads, partial(purse.room, lived))
        pairs = paired(compared, verdicts(tried, 0), verdicts(lived, 0))
        self.lead.see(pairs)
        found = first_verified(lived) | first_verified(tried)
        guides = {problem_id: GuideTrajectory(trajectory, step) for problem_id, trajectory in found.items()}
        mixed = [mix(group, guides.get(group.problem.problem_id), self.gate, self.ratio, self.replaced) for group in groups]
        return Mixed(mixed, tokens_of(lived) + tokens_of(tried), self.measured(leads, pairs, tried, groups))

    def _tries(self, step: int, problems: Sequence[Problem], leads: bool, room: Room) -> list[Trajectory]:
        """Of the average: until one is verified while it leads, else one each."""
        if not problems:
            return []
        tries = self.settings.tries if leads else 1
        with self.future.acting():
            return sample_until_verified(problems, tries, lambda draws: self.future.tries(step, draws), room=room)


class Purse:
    """The tokens that a step's tries may take: a share of those of its own samples."""

    def __init__(self, share: float, groups: Sequence[Group], gated: Sequence[Group]) -> None:
        own, hard = ([slot.trajectory for group in some for slot in group.slots] for some in (groups, gated))
        self.most = share * tokens_of(own)
        self.each = max(1.0, tokens_of(hard) / max(1, len(hard)))  # what one try will take, as far as one can tell

    def room(self, *spent: Sequence[Trajectory]) -> int:
        """For how many more tries, after those `spent`."""
        return max(0, math.floor((self.most - sum(map(tokens_of, spent))) / self.each))
