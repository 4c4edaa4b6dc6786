"""The control `resample`: distance 0. The live policy itself tries the gated prompts again, and its success takes the guide's slot.

What NPO gains over this run is what the future gives; the rest is what more samples on failed prompts give.
"""

from collections.abc import Callable, Sequence

from npo_pipeline.grpo.mixer import Mixed, OnPolicy
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.generate import first_verified, sample_until_verified
from npo_pipeline.records import Draw, Group, GuideTrajectory, Trajectory
from npo_pipeline.settings import ResampleConfig

SampleAt = Callable[[int, Sequence[Draw]], list[Trajectory]]  # of the live policy, at a step


class ResampleMixer(OnPolicy):
    def __init__(self, settings: ResampleConfig, gate: float, sample_at: SampleAt) -> None:
        self.settings, self.gate, self.sample_at = settings, gate, sample_at

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        if not self.settings.from_step <= step < self.settings.to_step:
            return Mixed(groups)
        gated = [group.problem for group in groups if group.accuracy <= self.gate]
        tried = sample_until_verified(gated, self.settings.samples, lambda draws: self.sample_at(step, draws))
        found = {problem_id: GuideTrajectory(trajectory, step) for problem_id, trajectory in first_verified(tried).items()}
        mixed = [mix(group, found.get(group.problem.problem_id), self.gate, "policy") for group in groups]
        return Mixed(mixed, sum(len(trajectory.response_token_ids) for trajectory in tried))
