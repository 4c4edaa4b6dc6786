"""Where problems come from: reasoning-gym or a dataset, as `task.source` says.

Both are a pure function of the task's configuration (and of the file it names): fixed splits, the same problems in every run.
"""

from typing import Any

from npo_pipeline.settings import TaskConfig
from npo_pipeline.tasks import dataset, gym
from npo_pipeline.tasks.raw import RawProblem


def load_problems(task: TaskConfig) -> tuple[list[RawProblem], list[RawProblem]]:
    """Train and eval problems, at least one each; no question occurs twice, in a split or across. Raises DataError, ConfigError."""
    return gym.load_problems(task) if task.source == "reasoning_gym" else dataset.load_problems(task)


def describe_sources(task: TaskConfig) -> dict[str, Any]:
    """What the prepare stage records of where its problems come from; {} for reasoning-gym, which is pinned with the package."""
    return {} if task.source == "reasoning_gym" else dataset.describe_sources(task)


def load_cold_start(task: TaskConfig, count: int) -> list[RawProblem]:
    """`count` demonstrations for the cold start: the `answer` of each is the response to imitate, in which the extractor finds
    the reference answer. No evaluation question is among them; training questions may be. Raises DataError, ConfigError."""
    return gym.load_cold_start(task, count) if task.source == "reasoning_gym" else dataset.load_cold_start(task, count)
