"""The method `grpo_long`: nothing is mixed in; plain GRPO, with the steps that its YAML gives it."""

from pathlib import Path

from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, OnPolicy


def inputs(context: Context[GuidedStage]) -> list[Path]:
    return []


def make(context: Context[GuidedStage]) -> MakeMixer:
    return lambda trainer: OnPolicy()
