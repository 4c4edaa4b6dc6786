"""Held-out benchmarks beside the task: evaluated, never trained on. Rows come as a dataset's evaluation rows do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from npo_pipeline.configuration.settings import BenchmarkConfig, TaskConfig
from npo_pipeline.records import Problem
from npo_pipeline.tasks.fields import question_key
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.rows.dataset import describe_source, load_held_out


def load_benchmark(name: str, settings: BenchmarkConfig, task: TaskConfig) -> list[RawProblem]:
    """Its problems, `<name>-000000` and on, of the split `<name>`. `size` of them are chosen by `task.seed`. Raises DataError."""
    return load_held_out(as_task(settings, task), name, f"evaluate.benchmarks.{name}.data")


def as_task(settings: BenchmarkConfig, task: TaskConfig) -> TaskConfig:
    """The benchmark as a task whose evaluation rows it is; prompt and verifier are the task's own."""
    return replace(
        task,
        source="dataset",
        train=None,
        eval=settings.data,
        eval_split=settings.split,
        eval_size=settings.size,
        revision=settings.revision,
        question_column=settings.question_column,
        answer_column=settings.answer_column,
        image_column=settings.image_column,
        difficulty_key=settings.difficulty_key,
        question_pattern=None,
    )


def describe_benchmark(settings: BenchmarkConfig, task: TaskConfig) -> dict[str, Any]:
    """Where its rows come from, for the record."""
    return describe_source(str(settings.data), settings.split, as_task(settings, task).revision)


def trained_on(problems: Mapping[str, Sequence[RawProblem]], training: Sequence[Problem]) -> dict[str, int]:
    """How many questions of each benchmark stand among the training questions, but for line ends, about the same images."""
    known = {_asked(problem) for problem in training}
    return {name: sum(_asked(raw) in known for raw in raws) for name, raws in problems.items()}


def _asked(problem: RawProblem | Problem) -> tuple[str, ...]:
    return question_key(problem.question), *(image.sha256 for image in problem.images)
