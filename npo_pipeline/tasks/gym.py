"""Problems from any reasoning-gym dataset: generated in a worker process, so that a generator that hangs can be stopped.

Entry i of a dataset with seed s is entry 0 of seed s + i in reasoning-gym, so neighbouring seeds overlap. Seeds are therefore
spread by a hash, evaluation and training problems come from one stream without repeats, and the cold start has its own.
"""

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import DataError
from npo_pipeline.tasks.entries import make_block
from npo_pipeline.tasks.fields import shown_question
from npo_pipeline.tasks.judging.extract import demonstrate
from npo_pipeline.tasks.judging.workers import Workers
from npo_pipeline.tasks.raw import RawProblem

BLOCK = 64  # entries generated per call: a slow generator makes few too many
BLOCK_SECONDS = 600.0
SPARE = 1000  # tries beyond four per problem, before a question space counts as exhausted

log = logging.getLogger(__name__)


def load_problems(task: TaskConfig) -> tuple[list[RawProblem], list[RawProblem]]:
    """Train and eval problems, all questions different. Fewer than asked for (with a warning) where the dataset has no more.

    Raises DataError if there are not even two questions, ConfigError if `task.difficulty_key` is unknown.
    """
    eval_size, train_size = task.eval_size or 1, task.train_size or 1
    asked = eval_size + train_size
    unique: dict[str, RawProblem] = {}
    for problem in _stream(task, task.config, "problems", asked):
        unique.setdefault(problem.question, problem)
        if len(unique) == asked:
            break
    if len(unique) < 2:
        raise DataError(
            f"task.name={task.name}: found {len(unique)} different questions, expected at least 2, "
            "one to train on and one to evaluate; widen task.config"
        )
    if len(unique) < asked:
        log.warning(
            "task.name=%s: only %d different questions, %d were asked for; widen task.config for more", task.name, len(unique), asked
        )
        eval_size = min(max(1, len(unique) * eval_size // asked), len(unique) - 1)
    found = list(unique.values())
    return _named(found[eval_size:], "train"), _named(found[:eval_size], "eval")


def load_cold_start(task: TaskConfig, count: int) -> list[RawProblem]:
    """`count` demonstrations from `task.config | task.cold_start_config`, none of an evaluation question; questions may repeat."""
    avoid = {problem.question for problem in load_problems(task)[1]}
    found: list[RawProblem] = []
    for problem in _stream(task, task.config | task.cold_start_config, "cold start", count):
        if problem.question not in avoid and problem.answer:
            found.append(problem)
        if len(found) == count:
            break
    if not found:
        raise DataError(
            f"task.name={task.name}: found no question with a reference answer for the cold start that is not an evaluation question; "
            "widen task.cold_start_config, or set policy.cold_start.steps=0"
        )
    return _named([found[i % len(found)] for i in range(count)], "cold", task.verifier.extract)


def _stream(task: TaskConfig, parameters: dict[str, Any], purpose: str, asked: int) -> Iterator[RawProblem]:
    """Problems in the order of the dataset, without ids: at most four tries per problem asked for, and some to spare."""
    size = 4 * asked + SPARE
    recipe = {"dataset": task.name, "parameters": parameters, "seed": _seed(task.seed, purpose), "size": size}
    failure, any_made = "", False
    with Workers("reasoning_gym") as workers:
        for start in range(0, size, BLOCK):
            call = (recipe, task.difficulty_key, start, min(start + BLOCK, size))
            made, failure = _made(task, workers.map(make_block, [call], BLOCK_SECONDS)[0])
            any_made |= bool(made)
            for index, question, answer, difficulty in made:
                shown = shown_question(question, task.question_pattern, f"task.name={task.name}, entry {index}")
                yield RawProblem("", "", shown, answer, difficulty, recipe | {"index": index})
    if not any_made:
        raise DataError(f"task.name={task.name}: reasoning-gym made no entry, the last try ended in {failure}; mend task.config")


def _made(task: TaskConfig, outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise DataError(
            f"task.name={task.name}: generating {BLOCK} entries ended in {outcome!r}, "
            f"expected them within {BLOCK_SECONDS:.0f} s; make task.config easier"
        )
    return outcome


def _seed(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big") // 2


def _named(problems: list[RawProblem], split: str, extract: str | None = None) -> list[RawProblem]:
    return [
        RawProblem(f"{split}-{i:06d}", split, p.question, demonstrate(p.answer, extract) if extract else p.answer, p.difficulty, p.metadata)
        for i, p in enumerate(problems)
    ]
