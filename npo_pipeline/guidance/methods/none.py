"""The method `grpo_long`: nothing is mixed in; plain GRPO, with the steps that its YAML gives it."""

from dataclasses import dataclass

from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, OnPolicy
from npo_pipeline.guidance.methods import Live


@dataclass
class Method(Live):
    @property
    def replaces(self) -> bool:
        return False

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        return lambda trainer: OnPolicy()
