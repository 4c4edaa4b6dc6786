"""What a method that decides live asks of the loaded policy: new samples, log-ratios, entropies; spread over ranks where there are many."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from npo_pipeline.configuration.settings import PromptConfig
from npo_pipeline.grpo.step import Trainer
from npo_pipeline.policy.average import MovingAverage, acting
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.logprobs import mean_entropy, score
from npo_pipeline.policy.policy import Policy
from npo_pipeline.policy.sharded import whole_tensor
from npo_pipeline.records import Draw, Problem, Trajectory
from npo_pipeline.rollout.sample import sample
from npo_pipeline.tasks.prompts import render_prompt


def tries(trainer: Trainer, purpose: str, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
    """One try per draw, verified or failed, of the policy as it is. `purpose` keeps their seeds apart from those of other tries."""
    return trainer.ranks.spread(
        lambda own: sample(trainer.engine, trainer.policy, trainer.verifier, own, purpose, trainer.seed, step), draws
    )


def rendered(policy: Policy, settings: PromptConfig, problem: Problem, question: str) -> Problem:
    """The problem as this policy reads it when it is asked another question in the place of its own."""
    placeholder = policy.vision.placeholder if policy.vision else ""
    prompt, ids = render_prompt(question, settings, policy.tokenizer, len(problem.images), placeholder, policy.stop_ids)
    return replace(problem, prompt=prompt, prompt_token_ids=ids)


class AveragedPolicy:
    """A trainer's policy with the moving average of its weights, or what lies beyond them as seen from there.

    The average is kept with the optimizer's masters, and so in the saved state. Engines see the weights change as after an update.
    """

    KEPT = "average"

    def __init__(self, trainer: Trainer, decay: float, extrapolate: float | None) -> None:
        self.trainer, self.extrapolate, self.optimizer = trainer, extrapolate, trainer.updater.optimizer
        self.average = MovingAverage(self.optimizer.masters, decay)
        self.optimizer.kept[self.KEPT] = self.average.tensors

    def acting(self) -> AbstractContextManager[None]:
        """All ranks must call it."""
        beyond = self.extrapolate
        weights = self.average.tensors if beyond is None else self.average.beyond(self.optimizer.masters, beyond)
        return acting(self.trainer.policy.model, map(whole_tensor, weights))

    def tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        return tries(self.trainer, "average", step, draws)

    def live_tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        return tries(self.trainer, "resample", step, draws)

    def own_samples(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        return tries(self.trainer, "rollout", step, draws)

    def log_ratios(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        return log_ratios(self.trainer, trajectories)

    def see(self, step: int) -> None:
        """The first weights were seen when it was made, so those after the update of the run's first step are the second."""
        self.average.see(self.optimizer.masters, step - self.trainer.first + 2)


def log_ratios(trainer: Trainer, trajectories: Sequence[Trajectory]) -> list[list[float]]:
    """log pi_now - log pi_guide per token of each trajectory."""
    policy, temperature, budget = trainer.policy, _temperature(trainer), _budget(trainer)
    scored = trainer.ranks.spread(lambda own: score(policy.model, policy.rows(own), policy.pad_id, temperature, budget), trajectories)
    return [(np.array(now) - np.array(t.behaviour_logprobs)).tolist() for now, t in zip(scored, trajectories, strict=True)]


def log_ratios_at(trainer: Trainer, run: Path, step: int, trajectories: Sequence[Trajectory]) -> list[list[float]]:
    """log pi_kept - log pi_guide per token, of the checkpoint that the run kept at `step`: loaded beside the live policy for a while."""
    kept = Walk(run, step, str(trainer.policy.device)).policy
    temperature, budget = _temperature(trainer), _budget(trainer)
    scored = trainer.ranks.spread(lambda own: score(kept.model, kept.rows(own), kept.pad_id, temperature, budget), trajectories)
    return [(np.array(then) - np.array(t.behaviour_logprobs)).tolist() for then, t in zip(scored, trajectories, strict=True)]


def entropies(trainer: Trainer, trajectories: Sequence[Trajectory]) -> list[float]:
    """Mean entropy per response token of each trajectory, in nats."""
    policy, temperature, budget = trainer.policy, _temperature(trainer), _budget(trainer)
    return trainer.ranks.spread(lambda own: mean_entropy(policy.model, policy.rows(own), policy.pad_id, temperature, budget), trajectories)


def _temperature(trainer: Trainer) -> float:
    return trainer.updater.sampling.temperature


def _budget(trainer: Trainer) -> int:
    return trainer.settings.micro_batch_tokens
