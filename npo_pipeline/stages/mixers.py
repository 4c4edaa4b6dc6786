"""The mixer of each kind of method, from its configuration and the files of earlier stages."""

from collections.abc import Sequence

import numpy as np

from npo_pipeline.config import GuidedStage
from npo_pipeline.grpo.mixer import OnPolicy
from npo_pipeline.grpo.step import Trainer
from npo_pipeline.guidance.demonstrated import DemonstrationMixer
from npo_pipeline.guidance.online import OnlineMixer
from npo_pipeline.guidance.replay import ReplayMixer
from npo_pipeline.guidance.resample import ResampleMixer
from npo_pipeline.guidance.schedule import read_schedule
from npo_pipeline.guidance.scheduled import ScheduledMixer
from npo_pipeline.policy.logprobs import mean_entropy, score
from npo_pipeline.records import Trajectory
from npo_pipeline.rollout.sample import Draw, sample
from npo_pipeline.stages.cli import Context
from npo_pipeline.stages.shards import load_demonstrations, load_guides
from npo_pipeline.stages.training import MakeMixer
from npo_pipeline.storage.manifest import read_manifest


def mixer_maker(context: Context[GuidedStage]) -> MakeMixer:
    """Files are read now, so that a wrong one is found before a model is loaded; what needs the loaded policy comes with it."""
    method = context.config.method
    makers = {"online": _online, "resample": _resample, "replay": _replay, "demonstrations": _demonstrations}
    if method is None:
        return _scheduled(context)
    return makers.get(method.kind, _on_policy)(context)


def _on_policy(context: Context[GuidedStage]) -> MakeMixer:
    return lambda trainer: OnPolicy()


def _scheduled(context: Context[GuidedStage]) -> MakeMixer:
    config, layout = context.config, context.layout
    guide = read_manifest(layout.guide)
    schedule = read_schedule(layout.schedule(config.name), config.steps, guide["guide_steps"], guide["lookback"])
    supply, _ = load_guides(layout, {window.guide_step for window in schedule.windows})
    return lambda trainer: ScheduledMixer(schedule, supply)


def _online(context: Context[GuidedStage]) -> MakeMixer:
    method, variance = context.config.method, context.config.variance
    assert method is not None
    assert variance is not None
    supply, tried = load_guides(context.layout, set(read_manifest(context.layout.guide)["guide_steps"]))
    return lambda trainer: OnlineMixer(method, variance, supply, tried, lambda found: live_log_ratios(trainer, found))


def live_log_ratios(trainer: Trainer, trajectories: Sequence[Trajectory]) -> list[list[float]]:
    """log pi_now - log pi_guide per token."""
    policy, settings = trainer.policy, trainer.updater
    rows = [(t.prompt_token_ids, t.response_token_ids) for t in trajectories]
    scored = score(policy.model, rows, policy.pad_id, settings.sampling.temperature, trainer.settings.micro_batch_tokens)
    return [(np.array(now) - np.array(t.behaviour_logprobs)).tolist() for now, t in zip(scored, trajectories, strict=True)]


def _resample(context: Context[GuidedStage]) -> MakeMixer:
    method = context.config.method
    assert method is not None
    assert method.resample is not None
    settings, gate = method.resample, method.gate

    def make(trainer: Trainer) -> ResampleMixer:
        def sample_at(step: int, draws: Sequence[Draw]) -> list[Trajectory]:
            return sample(trainer.engine, trainer.policy, trainer.verifier, draws, "resample", trainer.seed, step)

        return ResampleMixer(settings, gate, sample_at)

    return make


def _replay(context: Context[GuidedStage]) -> MakeMixer:
    method = context.config.method
    assert method is not None
    assert method.replay is not None
    settings, gate = method.replay, method.gate

    def make(trainer: Trainer) -> ReplayMixer:
        problems = {problem.problem_id: problem for problem in trainer.problems}
        return ReplayMixer(
            settings, gate, trainer.settings.group_size, trainer.seed, problems, lambda stored: live_entropy(trainer, stored)
        )

    return make


def live_entropy(trainer: Trainer, trajectories: Sequence[Trajectory]) -> list[float]:
    rows = [(t.prompt_token_ids, t.response_token_ids) for t in trajectories]
    sampling, budget = trainer.updater.sampling, trainer.settings.micro_batch_tokens
    return mean_entropy(trainer.policy.model, rows, trainer.policy.pad_id, sampling.temperature, budget)


def _demonstrations(context: Context[GuidedStage]) -> MakeMixer:
    method = context.config.method
    assert method is not None
    assert method.demonstrations is not None
    settings, gate = method.demonstrations, method.gate
    found = load_demonstrations(context.layout, context.config.name, settings.wanted)
    return lambda trainer: DemonstrationMixer(settings, gate, found)
