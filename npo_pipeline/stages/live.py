"""What a method that decides live asks of the loaded policy: new samples, log-ratios, entropies."""

from collections.abc import Sequence

import numpy as np

from npo_pipeline.grpo.step import Trainer
from npo_pipeline.policy.logprobs import mean_entropy, score
from npo_pipeline.records import Draw, Trajectory
from npo_pipeline.rollout.sample import sample


def resample(trainer: Trainer, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
    """One more verified or failed try of the policy as it is, per draw."""
    return sample(trainer.engine, trainer.policy, trainer.verifier, draws, "resample", trainer.seed, step)


def log_ratios(trainer: Trainer, trajectories: Sequence[Trajectory]) -> list[list[float]]:
    """log pi_now - log pi_guide per token of each trajectory."""
    policy = trainer.policy
    scored = score(policy.model, policy.rows(trajectories), policy.pad_id, _temperature(trainer), _budget(trainer))
    return [(np.array(now) - np.array(t.behaviour_logprobs)).tolist() for now, t in zip(scored, trajectories, strict=True)]


def entropies(trainer: Trainer, trajectories: Sequence[Trajectory]) -> list[float]:
    """Mean entropy per response token of each trajectory, in nats."""
    return mean_entropy(
        trainer.policy.model, trainer.policy.rows(trajectories), trainer.policy.pad_id, _temperature(trainer), _budget(trainer)
    )


def _temperature(trainer: Trainer) -> float:
    return trainer.updater.sampling.temperature


def _budget(trainer: Trainer) -> int:
    return trainer.settings.micro_batch_tokens
