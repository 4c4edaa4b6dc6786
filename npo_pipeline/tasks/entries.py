"""Reasoning-gym entries, made and made again: in the worker processes only, so that nothing else waits for its import.

An entry's metadata does not survive JSON, so a problem stores how to make its entry again: its recipe. That works because
worker processes hash strings alike (npo_pipeline.tasks.judging.workers), and because the global random generators, which a few
datasets draw from, are seeded for each entry.
"""

import copy
import json
import random
from functools import lru_cache
from typing import Any

from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.tasks.fields import difficulty_label

RECIPE_KEYS = ("dataset", "parameters", "seed", "size", "index")
Recipe = dict[str, Any]  # RECIPE_KEYS: the metadata of a reasoning-gym problem
Made = tuple[int, str, str, str]  # index, question, answer ("" where the task has many and names none), difficulty


def make_block(recipe: Recipe, difficulty_key: str | None, start: int, stop: int) -> tuple[list[Made], str]:
    """The entries `start` to `stop` of the recipe's dataset, and the last error of an entry that could not be made ("" if none).

    Raises ConfigError if an entry has no metadata of the name `difficulty_key`.
    """
    made: list[Made] = []
    failure = ""
    for index in range(start, stop):
        try:
            entry = _entry(_key(recipe), index)
        except Exception as error:  # whatever a generator raises costs that entry only
            failure = f"{type(error).__name__}: {error}"
            continue
        made.append((index, str(entry["question"]), _answer(entry), _difficulty(entry["metadata"], difficulty_key)))
    return made, failure


def score(recipe: Recipe, reference: str, answer: str) -> float:
    """What the dataset's own scorer gives `answer`. Raises DataError if the entry made again is not the one the problem came from."""
    key = _key(recipe)
    entry = copy.deepcopy(_entry(key, recipe["index"]))  # some scorers change the entry
    if _answer(entry) != reference:
        raise DataError(
            f"task.name={recipe['dataset']}: entry {recipe['index']} was made again with the answer {_answer(entry)!r}, "
            f"expected {reference!r} as in problems.parquet; reasoning-gym has changed since: delete the prepare folder and run it again"
        )
    return float(_dataset(key).score_answer(answer, entry))


def _key(recipe: Recipe) -> str:
    return json.dumps({key: recipe[key] for key in RECIPE_KEYS if key != "index"}, sort_keys=True)


@lru_cache(maxsize=16)
def _dataset(key: str) -> Any:
    import reasoning_gym

    recipe = json.loads(key)
    _seed_globals(recipe["seed"])
    return reasoning_gym.create_dataset(recipe["dataset"], seed=recipe["seed"], size=recipe["size"], **recipe["parameters"])


@lru_cache(maxsize=4096)
def _entry(key: str, index: int) -> dict[str, Any]:
    dataset = _dataset(key)
    _seed_globals(dataset.seed + index)
    return dict(dataset[index])


def _seed_globals(seed: int) -> None:
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)


def _answer(entry: dict[str, Any]) -> str:
    return "" if entry["answer"] is None else str(entry["answer"])


def _difficulty(metadata: dict[str, Any], key: str | None) -> str:
    if key is not None and key not in metadata:
        raise ConfigError(
            f"task.difficulty_key={key!r}: the task's entries have no such metadata; expected null or one of {', '.join(sorted(metadata))}"
        )
    return difficulty_label(metadata[key] if key else None)
