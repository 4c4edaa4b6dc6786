"""The control `resample`: distance 0. The live policy itself tries the gated prompts again, and its success takes the guide's slot.

What NPO gains over this run is what the future gives; the rest is what more samples on failed prompts give.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.grid import as_steps
from npo_pipeline.configuration.settings import Foreseen, Further, Place, StepLike
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.errors import ConfigError
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, Mixer, OnPolicy
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.generate import first_verified, sample_until_verified, tokens_of
from npo_pipeline.guidance.methods import Live
from npo_pipeline.records import Draw, Group, GuideTrajectory, Trajectory

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer

SampleAt = Callable[[int, Sequence[Draw]], list[Trajectory]]  # of the live policy, at a step


@dataclass
class ResampleConfig:
    samples: int  # further tries of the live policy per gated prompt, in rounds of 1, 1, 2, 4, ... until one is verified
    from_step: StepLike  # in the steps [from_step, to_step)
    to_step: StepLike


@dataclass
class Method(Live):
    resample: ResampleConfig = field(kw_only=True)

    def check(self, key: str) -> None:
        require(self.resample.samples >= 1, f"{key}.resample.samples", self.resample.samples, "at least 1")

    def resolved(self, key: str, place: Place) -> Self:
        start = as_steps(self.resample.from_step, place.steps, f"{key}.resample.from_step", least=0)
        end = as_steps(self.resample.to_step, place.steps, f"{key}.resample.to_step")
        if start >= end:
            raise ConfigError(f"{key}.resample: [{start}, {end}) is empty; expected from_step < to_step")
        return replace(self, resample=replace(self.resample, from_step=start, to_step=end))

    def further(self, run: Foreseen) -> Further:
        steps = self.resample.to_step - self.resample.from_step
        return Further(tries=run.seeds * steps * run.prompts * self.resample.samples)

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        def mixer(trainer: "Trainer") -> Mixer:
            from npo_pipeline.guidance import live

            return ResampleMixer(self.resample, self.gate, partial(live.tries, trainer, "resample"), context.config.replace)

        return mixer


class ResampleMixer(OnPolicy):
    def __init__(self, settings: ResampleConfig, gate: float, sample_at: SampleAt, replaced: str = "last") -> None:
        self.settings, self.gate, self.sample_at, self.replaced = settings, gate, sample_at, replaced

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        if not self.settings.from_step <= step < self.settings.to_step:
            return Mixed(groups)
        gated = [group.problem for group in groups if group.accuracy <= self.gate]
        tried = sample_until_verified(gated, self.settings.samples, lambda draws: self.sample_at(step, draws))
        found = {problem_id: GuideTrajectory(trajectory, step) for problem_id, trajectory in first_verified(tried).items()}
        mixed = [mix(group, found.get(group.problem.problem_id), self.gate, "policy", self.replaced) for group in groups]
        return Mixed(mixed, tokens_of(tried))
