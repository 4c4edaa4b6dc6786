"""The verifier: is a response's answer right? Strict: the answer is extracted first, and only a full score is verified.

Answers travel to worker processes in chunks. A chunk whose worker dies or is stuck is judged again answer by answer, so that the one
to blame is judged wrong and no other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.errors import DataError
from npo_pipeline.records import Problem
from npo_pipeline.tasks.entries import RECIPE_KEYS
from npo_pipeline.tasks.extract import extract_answer
from npo_pipeline.tasks.scoring import Item, judge_chunk
from npo_pipeline.tasks.workers import Workers

CHUNK = 64  # answers per message to a worker
PATIENCE = 10  # seconds by the clock, for each second of CPU that a last answer may take, until a worker counts as stuck

Key = tuple[str, str, str]  # problem id, reference answer, extracted answer: equal ones are judged once


@dataclass(frozen=True)
class Verdict:
    """Example: `Verdict(1.0, True)`; the reward is 1.0 if verified, else 0.0."""

    reward: float
    verified: bool


class Verifier:
    """Judges responses as `task.verifier` says: a context manager, since it may own `workers` processes."""

    def __init__(self, config: VerifierConfig, workers: int = 1) -> None:
        self.config = config
        self._workers = Workers(config.kind, workers)

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._workers.__exit__(kind, error, trace)

    def judge(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict per (problem, response text), in order. Raises DataError if a problem cannot be judged by this kind of verifier."""
        keys = [self._key(problem, text) for problem, text in items]
        todo = {key: (problem.metadata, key[1], key[2]) for key, (problem, _) in zip(keys, items, strict=True) if key}
        verified = dict(zip(todo, self._verified(list(todo.values())), strict=True))
        return [Verdict(float(right), right) for right in (key is not None and verified[key] for key in keys)]

    def _key(self, problem: Problem, text: str) -> Key | None:
        if self.config.kind == "reasoning_gym":
            _check_recipe(problem)
        answer = extract_answer(text, self.config.extract)
        return None if answer is None else (problem.problem_id, problem.answer, answer)

    def _verified(self, items: list[Item]) -> list[bool]:
        if self.config.kind == "exact":
            return [reference.split() == answer.split() for _, reference, answer in items]
        chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
        outcomes = self._judged(chunks)
        return [right for chunk, outcome in zip(chunks, outcomes, strict=True) for right in self._settle(chunk, outcome)]

    def _settle(self, chunk: list[Item], outcome: list[bool] | Exception) -> Iterator[bool]:
        if isinstance(outcome, list):
            yield from outcome
            return
        for single in self._judged([[item] for item in chunk]):
            yield isinstance(single, list) and single[0]

    def _judged(self, chunks: list[list[Item]]) -> list[Any]:
        """For each chunk its verdicts, or the exception that it came to."""
        seconds = self.config.timeout_seconds
        limit = (max(map(len, chunks), default=0) + PATIENCE) * seconds
        return self._workers.map(judge_chunk, [(self.config.kind, seconds, chunk) for chunk in chunks], limit)


def _check_recipe(problem: Problem) -> None:
    if missing := [key for key in RECIPE_KEYS if key not in problem.metadata]:
        raise DataError(
            f"problem {problem.problem_id}: metadata has no {missing[0]!r}, expected a reasoning-gym problem; "
            "set task.verifier.kind to exact or math, or make the problems with task.source=reasoning_gym"
        )
