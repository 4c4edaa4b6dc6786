"""The mixer of each kind of method, from its configuration and the files of earlier stages.

Files are read at once and torch is not imported, so that a wrong one is found before a model is loaded; what a method asks of
the loaded policy (`npo_pipeline.stages.live`) comes with the trainer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from npo_pipeline.config import GuidedStage
from npo_pipeline.grpo.mixer import Mixer, OnPolicy
from npo_pipeline.guidance.demonstrated import DemonstrationMixer
from npo_pipeline.guidance.online import OnlineMixer
from npo_pipeline.guidance.replay import ReplayMixer
from npo_pipeline.guidance.resample import ResampleMixer
from npo_pipeline.guidance.schedule import check_owner, read_schedule
from npo_pipeline.guidance.scheduled import ScheduledMixer
from npo_pipeline.settings import MethodConfig
from npo_pipeline.stages.cli import Context
from npo_pipeline.stages.shards import load_demonstrations, load_guides
from npo_pipeline.storage.manifest import read_manifest

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer

MakeMixer = Callable[["Trainer"], Mixer]


def mixer_maker(context: Context[GuidedStage]) -> MakeMixer:
    """Reads what the method learns from. Raises ArtifactError or DataError naming a file that is wrong."""
    method = context.config.method
    makers = {"online": _online, "resample": _resample, "replay": _replay, "demonstrations": _demonstrations}
    if method is None:
        return _scheduled(context)
    return makers[method.kind](context) if method.kind in makers else lambda trainer: OnPolicy()


def _method(context: Context[GuidedStage]) -> MethodConfig:
    assert context.config.method is not None, "a method that decides live"
    return context.config.method


def _scheduled(context: Context[GuidedStage]) -> MakeMixer:
    config, layout = context.config, context.layout
    guide = read_manifest(layout.guide)
    schedule = read_schedule(layout.schedule(config.name), config.steps, guide["guide_steps"], guide["lookback"])
    check_owner(layout.schedule(config.name), schedule, config.name, layout.seed)
    supply, _ = load_guides(layout, {window.guide_step for window in schedule.windows}, config.sampling.max_new_tokens)
    return lambda trainer: ScheduledMixer(schedule, supply)


def _online(context: Context[GuidedStage]) -> MakeMixer:
    method, variance = _method(context), context.config.variance
    assert variance is not None, "composed for this kind"
    guide_steps = set(read_manifest(context.layout.guide)["guide_steps"])
    supply, tried = load_guides(context.layout, guide_steps, context.config.sampling.max_new_tokens)

    def make(trainer: Trainer) -> Mixer:
        from npo_pipeline.stages import live

        return OnlineMixer(method, variance, supply, tried, partial(live.log_ratios, trainer))

    return make


def _resample(context: Context[GuidedStage]) -> MakeMixer:
    method = _method(context)
    settings, gate = method.resample, method.gate
    assert settings is not None, "checked with the configuration"

    def make(trainer: Trainer) -> Mixer:
        from npo_pipeline.stages import live

        return ResampleMixer(settings, gate, partial(live.resample, trainer))

    return make


def _replay(context: Context[GuidedStage]) -> MakeMixer:
    method = _method(context)
    settings, gate = method.replay, method.gate
    assert settings is not None, "checked with the configuration"

    def make(trainer: Trainer) -> Mixer:
        from npo_pipeline.stages import live

        problems = {problem.problem_id: problem for problem in trainer.problems}
        return ReplayMixer(settings, gate, trainer.settings.group_size, trainer.seed, problems, partial(live.entropies, trainer))

    return make


def _demonstrations(context: Context[GuidedStage]) -> MakeMixer:
    method = _method(context)
    settings = method.demonstrations
    assert settings is not None, "checked with the configuration"
    longest = context.config.sampling.max_new_tokens
    found = load_demonstrations(context.layout, context.config.name, settings.wanted, longest)
    mixer = DemonstrationMixer(settings, method.gate, found)
    return lambda trainer: mixer
