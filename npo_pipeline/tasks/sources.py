"""Where problems come from: reasoning-gym, a dataset, or the images of easy-vqa, as `task.source` says.

All are a pure function of the task's configuration (and of the file it names): fixed splits, the same problems in every run.
"""

from typing import Any

from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.tasks import easy_vqa, gym
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.rows import dataset

SOURCES = {"reasoning_gym": gym, "dataset": dataset, "easy_vqa": easy_vqa}


def load_problems(task: TaskConfig) -> tuple[list[RawProblem], list[RawProblem]]:
    """Train and eval problems, at least one each; no question (about the same images) occurs twice. Raises DataError, ConfigError."""
    return SOURCES[task.source].load_problems(task)


def describe_sources(task: TaskConfig) -> dict[str, Any]:
    """What the prepare stage records of where its problems come from; {} where they come out of a pinned package."""
    return dataset.describe_sources(task) if task.source == "dataset" else {}


def load_cold_start(task: TaskConfig, count: int) -> list[RawProblem]:
    """`count` demonstrations for the cold start: the `answer` of each is the response to imitate, in which the extractor finds
    the reference answer. No evaluation question is among them; training questions may be. Raises DataError, ConfigError."""
    return SOURCES[task.source].load_cold_start(task, count)
