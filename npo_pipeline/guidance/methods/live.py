"""What a method that decides live asks of the loaded policy: new samples, log-ratios, entropies; spread over ranks where there are many."""

from collections.abc import Sequence

import numpy as np

from npo_pipeline.grpo.step import Trainer
from npo_pipeline.policy.logprobs import mean_entropy, score
from npo_pipeline.records import Draw, Trajectory
from npo_pipeline.rollout.sample import sample


def resample(trainer: Trainer, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
    """One more verified or failed try of the policy as it is, per draw."""
    return trainer.ranks.spread(
        lambda own: sample(trainer.engine, trainer.policy, trainer.verifier, own, "resample", trainer.seed, step), draws
    )


def log_ratios(trainer: Trainer, trajectories: Sequence[Trajectory]) -> list[list[float]]:
    """log pi_now - log pi_guide per token of each trajectory."""
    policy, temperature, budget = trainer.policy, _temperature(trainer), _budget(trainer)
    scored = trainer.ranks.spread(lambda own: score(policy.model, policy.rows(own), policy.pad_id, temperature, budget), trajectories)
    return [(np.array(now) - np.array(t.behaviour_logprobs)).tolist() for now, t in zip(scored, trajectories, strict=True)]


def entropies(trainer: Trainer, trajectories: Sequence[Trajectory]) -> list[float]:
    """Mean entropy per response token of each trajectory, in nats."""
    policy, temperature, budget = trainer.policy, _temperature(trainer), _budget(trainer)
    return trainer.ranks.spread(lambda own: mean_entropy(policy.model, policy.rows(own), policy.pad_id, temperature, budget), trajectories)


def _temperature(trainer: Trainer) -> float:
    return trainer.updater.sampling.temperature


def _budget(trainer: Trainer) -> int:
    return trainer.settings.micro_batch_tokens
