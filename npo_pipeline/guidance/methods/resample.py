"""The control `resample`: distance 0. The live policy itself tries the gated prompts again, and its success takes the guide's slot.

What NPO gains over this run is what the future gives; the rest is what more samples on failed prompts give.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from npo_pipeline.configuration.settings import ResampleConfig
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, Mixer, OnPolicy
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.generate import first_verified, sample_until_verified, tokens_of
from npo_pipeline.records import Draw, Group, GuideTrajectory, Trajectory

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer

SampleAt = Callable[[int, Sequence[Draw]], list[Trajectory]]  # of the live policy, at a step


def inputs(context: Context[GuidedStage]) -> list[Path]:
    return []


def make(context: Context[GuidedStage]) -> MakeMixer:
    method = context.config.method
    assert method is not None, "a method that decides live"
    settings, gate = method.resample, method.gate
    assert settings is not None, "checked with the configuration"

    def mixer(trainer: "Trainer") -> Mixer:
        from npo_pipeline.guidance.methods import live

        return ResampleMixer(settings, gate, partial(live.resample, trainer), context.config.replace)

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
