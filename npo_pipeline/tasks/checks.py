"""Is the task's source one that exists? Asked when the configuration is read, before anything expensive runs.

Imports reasoning-gym (about a second) only for a task that uses it.
"""

import dataclasses
import difflib
import re
import traceback
from collections.abc import Iterable
from typing import Any

from npo_pipeline.configuration.reward_file import KEY, with_digest
from npo_pipeline.configuration.settings import BenchmarkConfig, TaskConfig, VerifierConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import short_repr
from npo_pipeline.tasks.easy_vqa import find_package
from npo_pipeline.tasks.judging.own_reward import LOAD_SECONDS, check_loaded
from npo_pipeline.tasks.judging.verify import Verifier
from npo_pipeline.tasks.judging.workers import Workers
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.rows.files import looks_like_path, resolve_path

PIPELINE_OWN = {"seed": "task.seed", "size": "task.train_size and task.eval_size"}


def check_source(task: TaskConfig) -> None:
    """Raises ConfigError naming the key: an unknown dataset or parameter, a value it refuses, a missing file, a bad pattern."""
    _check_pattern(task.question_pattern)
    check_function(task.verifier)
    if task.source == "reasoning_gym":
        _check_gym(task)
    elif task.source == "easy_vqa":
        find_package()
    else:
        for key, name in (("task.train", task.train), ("task.eval", task.eval)):
            _check_file(key, name)


def check_function(verifier: VerifierConfig) -> None:
    """Import a user's own reward function, in a worker process. Raises ConfigError for what is wrong with it."""
    if verifier.kind == "python":
        with Workers(verifier.kind, verifier=with_digest(verifier)) as workers:
            _told(workers.map(check_loaded, [()], 2 * LOAD_SECONDS)[0], verifier)


def try_function(verifier: VerifierConfig, problem: RawProblem) -> None:
    """Judge a problem's reference answer as if it were a response. Raises ConfigError if a user's own function cannot."""
    if verifier.kind != "python":
        return
    with Verifier(verifier) as judge:
        _, fault = judge.score_once((problem.metadata, problem.answer, problem.answer))
    if fault:
        raise ConfigError(
            f"{KEY}={verifier.function}: tried with the reference answer {short_repr(problem.answer)} of problem {problem.problem_id} "
            f"as the text, {fault}; mend the function"
        )


def _told(outcome: object, verifier: VerifierConfig) -> None:
    if isinstance(outcome, Exception):
        raise ConfigError(f"{KEY}={verifier.function}: importing its file ended the worker process, or never ended; mend it")


def check_benchmarks(benchmarks: dict[str, BenchmarkConfig]) -> None:
    """Raises ConfigError naming a benchmark whose file is missing."""
    for name, benchmark in benchmarks.items():
        _check_file(f"evaluate.benchmarks.{name}.data", benchmark.data)


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"task.question_pattern={pattern!r}: not a regular expression ({error}); mend it, or set it to null") from None
    if groups < 1:
        raise ConfigError(f"task.question_pattern={pattern!r}: has no group, expected one around the question, such as 'problem: (.*)'")


def _check_file(key: str, name: str | None) -> None:
    if name and looks_like_path(name) and resolve_path(name) is None:
        raise ConfigError(
            f"{key}={name}: no such file or folder, neither here nor below the project; "
            "mend the path (a hub name has no suffix and starts with a letter)"
        )


def _check_gym(task: TaskConfig) -> None:
    import reasoning_gym  # noqa: F401  registers the datasets
    from reasoning_gym.factory import DATASETS

    if task.name not in DATASETS:
        raise ConfigError(f"task.name={task.name}: no such reasoning-gym dataset{_nearest(task.name, DATASETS)}")
    config_class = DATASETS[task.name][1]
    _check_parameters("task.config", task.config, task.config, config_class)
    _check_parameters("task.cold_start_config", task.cold_start_config, task.config | task.cold_start_config, config_class)


def _check_parameters(key: str, given: dict[str, Any], together: dict[str, Any], config_class: Any) -> None:
    names = [field.name for field in dataclasses.fields(config_class) if field.name not in PIPELINE_OWN]
    for name in given:
        if name in PIPELINE_OWN:
            raise ConfigError(f"{key}.{name}: set by the pipeline; remove it and set {PIPELINE_OWN[name]}")
        if name not in names:
            raise ConfigError(f"{key}.{name}: no such parameter{_nearest(name, names)}; there are {', '.join(names)}")
    try:
        config_class(**together, seed=0, size=1).validate()
    except Exception as error:  # mostly an assertion, but a text where a number belongs raises anything
        raise ConfigError(f"{key}={given}: refused by the dataset: {_reason(error)}; mend the value") from None


def _reason(error: Exception) -> str:
    """What the dataset says, or, of a bare assertion, its source line."""
    source = traceback.extract_tb(error.__traceback__)[-1].line or ""
    return " ".join(str(error).split()) or f"it requires {source.removeprefix('assert ')}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
