"""The verifier: is a response's answer right? Strict: the answer is extracted first, and only a full score is verified.

A user's own function (kind "python") is given the whole response, and its reward may be a share; verified is 1.0 and nothing less.
What it raises, or returns that is no reward, counts as 0: the first such fault of a run is told at once, their number at the end.

Answers travel to worker processes in chunks. A chunk whose worker dies or is stuck is judged again answer by answer, so that the one
to blame is judged wrong and no other.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.errors import DataError
from npo_pipeline.records import Problem
from npo_pipeline.tasks.entries import RECIPE_KEYS
from npo_pipeline.tasks.judging.extract import extract_answer
from npo_pipeline.tasks.judging.own_reward import LOAD_SECONDS
from npo_pipeline.tasks.judging.scoring import Item, Score, judge_chunk, reward_chunk
from npo_pipeline.tasks.judging.workers import Workers

CHUNK = 64  # answers per message to a worker
PATIENCE = 10  # seconds by the clock, for each second of CPU that a last answer may take, until a worker counts as stuck

log = logging.getLogger(__name__)

Key = tuple[str, str, str]  # problem id, reference answer, extracted answer: equal ones are judged once


@dataclass(frozen=True)
class Verdict:
    """Example: `Verdict(1.0, True)`. Verified: a reward of 1.0. Any other is 0.0, or of kind "python" a share."""

    reward: float
    verified: bool


class Verifier:
    """Judges responses as `task.verifier` says: a context manager, since it may own `workers` processes."""

    def __init__(self, config: VerifierConfig, workers: int = 1) -> None:
        self.config = config
        self._workers = Workers(config.kind, workers, config)
        self._faults = Faults(f"task.verifier.function={config.function}")

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._workers.__exit__(kind, error, trace)
        self._faults.close()

    def judge(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict per (problem, response text), in order. Raises DataError if a problem cannot be judged by this kind of verifier."""
        keys = [self._key(problem, text) for problem, text in items]
        todo = {key: (problem.metadata, key[1], key[2]) for key, (problem, _) in zip(keys, items, strict=True) if key}
        rewards = dict(zip(todo, self._rewards(list(todo.values())), strict=True))
        return [Verdict(reward, reward == 1.0) for reward in (0.0 if key is None else rewards[key] for key in keys)]

    def score_once(self, item: Item) -> Score:
        """The reward of one response, and what went wrong with it. Of kind "python", to try the function."""
        return next(self._scores([item]))

    def _key(self, problem: Problem, text: str) -> Key | None:
        if self.config.kind == "reasoning_gym":
            _check_recipe(problem)
        if self.config.kind == "python":
            return problem.problem_id, problem.answer, text
        answer = extract_answer(text, self.config.extract)
        return None if answer is None else (problem.problem_id, problem.answer, answer)

    def _rewards(self, items: list[Item]) -> list[float]:
        if self.config.kind == "exact":
            return [float(reference.split() == answer.split()) for _, reference, answer in items]
        scores = list(self._scores(items))
        if self.config.kind == "python":
            self._faults.count([fault for _, fault in scores])
        return [reward for reward, _ in scores]

    def _scores(self, items: list[Item]) -> Iterator[Score]:
        chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
        for chunk, outcome in zip(chunks, self._judged(chunks), strict=True):
            yield from self._settle(chunk, outcome)

    def _settle(self, chunk: list[Item], outcome: list[Any] | Exception) -> Iterator[Score]:
        if isinstance(outcome, list):
            yield from map(_as_score, outcome)
            return
        for single in self._judged([[item] for item in chunk]):
            yield _as_score(single[0]) if isinstance(single, list) else (0.0, "it ended its worker process, or was stopped by the clock")

    def _judged(self, chunks: list[list[Item]]) -> list[Any]:
        """For each chunk its verdicts, or the exception that it came to."""
        seconds = self.config.timeout_seconds
        limit = (max(map(len, chunks), default=0) + PATIENCE) * seconds
        if self.config.kind == "python":
            return self._workers.map(reward_chunk, [(seconds, chunk) for chunk in chunks], limit + LOAD_SECONDS)
        return self._workers.map(judge_chunk, [(self.config.kind, seconds, chunk) for chunk in chunks], limit)


class Faults:
    """Counts what went wrong in a user's function, and tells it: the first at once, how many at the end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first, self.found, self.judged = "", 0, 0

    def count(self, faults: Sequence[str]) -> None:
        """`faults` of responses just judged, "" where there was none."""
        self.judged += len(faults)
        self.found += sum(map(bool, faults))
        if not self.first and self.found:
            self.first = next(filter(None, faults))
            log.warning("%s: a response has reward 0: %s; others like it are counted, and told of at the end", self.name, self.first)

    def close(self) -> None:
        if self.found:
            log.warning("%s: %d of %d responses have reward 0 for such a fault; first: %s", self.name, self.found, self.judged, self.first)
            self.first, self.found, self.judged = "", 0, 0


def _as_score(outcome: bool | Score) -> Score:
    return outcome if isinstance(outcome, tuple) else (float(outcome), "")


def _check_recipe(problem: Problem) -> None:
    if missing := [key for key in RECIPE_KEYS if key not in problem.metadata]:
        raise DataError(
            f"problem {problem.problem_id}: metadata has no {missing[0]!r}, expected a reasoning-gym problem; "
            "set task.verifier.kind to exact or math, or make the problems with task.source=reasoning_gym"
        )
