"""Problems from a dataset: which columns are question, answer and difficulty, and which rows train or evaluate.

Splits are fixed by `task.seed`. A question is used once, and an evaluation question never trains.
"""

import logging
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import DataError
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.hub import hub_commit
from npo_pipeline.tasks.fields import PREVIEW, difficulty_label, question_key, shown_question
from npo_pipeline.tasks.judging.extract import demonstrate, extract_answer
from npo_pipeline.tasks.prompts import TAG, check_tags
from npo_pipeline.tasks.raw import RawProblem, SourceImage
from npo_pipeline.tasks.rows.cells import as_text, is_blank, odd_kind
from npo_pipeline.tasks.rows.columns import other_columns
from npo_pipeline.tasks.rows.files import read_rows, resolve_path
from npo_pipeline.tasks.rows.messages import TURNS, Turn, as_question, read_turns, turns_in
from npo_pipeline.tasks.rows.pictures import source_images
from npo_pipeline.tasks.rows.texts import Row

EVAL_SHARE = 5  # at most one row in five is split off for evaluation
HASH = "####"
ODD_TAG = re.compile(r"<\|?\s*(?:image|img)[ _-]?\d*\s*/?\|?>", re.IGNORECASE)  # <image 1>, <|image|>, <img/>: other datasets' <image>

log = logging.getLogger(__name__)
_warn = cache(log.warning)  # once, although the rows are read again for the cold start

_Asked = tuple[str, tuple[SourceImage, ...]]  # question and images


@dataclass(frozen=True)
class _Row:
    question: str
    solution: str  # the answer column, whole
    difficulty: str
    images: tuple[SourceImage, ...]
    metadata: dict[str, Any]

    @cached_property
    def asked(self) -> _Asked:
        """What makes a row another one: the same question may be asked of another image."""
        return question_key(self.question), self.images

    @property
    def answer(self) -> str:
        return self.solution.rpartition(HASH)[2].strip()


def load_problems(task: TaskConfig) -> tuple[list[RawProblem], list[RawProblem]]:
    """Train and eval problems, in the order of their rows. Raises DataError naming file, row and column of what is wrong."""
    train, evaluation = _split(task)
    return _problems(train, "train"), _problems(evaluation, "eval")


def describe_sources(task: TaskConfig) -> dict[str, Any]:
    """Where train and eval rows come from, for the record: of a hub dataset the commit, null where the hub did not tell."""
    named = {"train": (task.train, task.train_split), "eval": (task.eval, task.eval_split)}
    return {kind: describe_source(name, split, task.revision) for kind, (name, split) in named.items() if name is not None}


def describe_source(name: str, split: str, revision: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "split": split}
    if resolve_path(name) is None:
        facts |= {"revision": revision, "commit": hub_commit(name.partition(":")[0], revision, "dataset")}
    return facts


def load_held_out(task: TaskConfig, split: str, key: str) -> list[RawProblem]:
    """`task.eval` alone, as problems of `split`. `key` is the configuration key that names it. Raises DataError."""
    rows = _unique(_read(task, str(task.eval), task.eval_split, key), f"{key}={task.eval}")
    return _problems(_sized(rows, task.eval_size, task, split), split)


def load_cold_start(task: TaskConfig, count: int) -> list[RawProblem]:
    """`count` demonstrations: the train rows, over again where they are fewer. Example: GSM8K's worked solutions, with their "#### 72".

    A row's whole solution is imitated if the extractor finds the reference answer in it, else that answer alone.
    """
    train, _ = _split(task)
    rows = [replace(row, solution=_demonstration(row, task.verifier.extract)) for row in train]
    picked = [rows[i % len(rows)] for i in range(count)]
    return [RawProblem(f"cold-{i:06d}", "cold", r.question, r.solution, r.difficulty, r.metadata, r.images) for i, r in enumerate(picked)]


def load_solutions(task: TaskConfig) -> dict[str, tuple[str, str]]:
    """Question and worked solution of each train problem, by its id: what stands before the answer's last ####, "" where nothing does.

    A pure function of the rows, as the problems are. Example: GSM8K's "48 / 2 = 24 in May. 48 + 24 = 72 in all." Raises DataError.
    """
    train, _ = _split(task)
    return {f"train-{i:06d}": (row.question, row.solution.rpartition(HASH)[0].strip()) for i, row in enumerate(train)}


def _demonstration(row: _Row, extract: str) -> str:
    return row.solution if extract_answer(row.solution, extract) == row.answer else demonstrate(row.answer, extract)


def _problems(rows: Sequence[_Row], split: str) -> list[RawProblem]:
    return [RawProblem(f"{split}-{i:06d}", split, r.question, r.answer, r.difficulty, r.metadata, r.images) for i, r in enumerate(rows)]


def _split(task: TaskConfig) -> tuple[list[_Row], list[_Row]]:
    train = _unique(_read(task, str(task.train), task.train_split, "task.train"), f"task.train={task.train}")
    if task.eval is None:
        train, evaluation = _split_off(train, task)
    else:
        evaluation = _unique(_read(task, task.eval, task.eval_split, "task.eval"), f"task.eval={task.eval}")
    evaluation = _sized(evaluation, task.eval_size, task, "eval")
    held_out = {row.asked: row for row in evaluation}
    _say_conflicts(train, held_out, f"task.train={task.train}", f"an evaluation question of task.eval={task.eval}, whose answer is kept")
    train = [row for row in train if row.asked not in held_out]
    if not train:
        raise DataError(
            f"task.train={task.train}: every question is an evaluation question too, expected others to train on; "
            "name different files or splits"
        )
    return _sized(train, task.train_size, task, "train"), evaluation


def _split_off(rows: list[_Row], task: TaskConfig) -> tuple[list[_Row], list[_Row]]:
    """Train and eval rows, chosen by `task.seed`."""
    if len(rows) < 2:
        raise DataError(
            f"task.train={task.train}: found 1 question, expected at least 2 since evaluation problems are split off; "
            "add rows, or set task.eval"
        )
    share = max(1, len(rows) // EVAL_SHARE)
    chosen = _chosen(len(rows), min(task.eval_size or share, share), task.seed, "eval")
    return [row for i, row in enumerate(rows) if i not in chosen], [row for i, row in enumerate(rows) if i in chosen]


def _sized(rows: list[_Row], size: int | None, task: TaskConfig, split: str) -> list[_Row]:
    """`size` of the rows, chosen by `task.seed` (a file may be sorted by difficulty), in their order."""
    if size is not None and size > len(rows):
        log.warning(
            "task.%s_size=%d: only %d different questions for it in task.train=%s, task.eval=%s",
            split,
            size,
            len(rows),
            task.train,
            task.eval,
        )
    if size is None or size >= len(rows):
        return rows
    chosen = _chosen(len(rows), size, task.seed, split)
    return [row for i, row in enumerate(rows) if i in chosen]


def _chosen(rows: int, size: int, seed: int, purpose: str) -> set[int]:
    return set(random.Random(f"{seed}/{purpose}").sample(range(rows), size))


def _unique(rows: list[_Row], source: str) -> list[_Row]:
    """The first row of each question."""
    first: dict[_Asked, _Row] = {}
    for row in rows:
        first.setdefault(row.asked, row)
    _say_conflicts(rows, first, source, "a question of an earlier row, whose answer is kept")
    return list(first.values())


def _say_conflicts(rows: list[_Row], kept: dict[_Asked, _Row], source: str, of: str) -> None:
    """A repeated question is no fault; one with another answer is a fault of the data that nobody else will notice."""
    repeats = [(row, kept[row.asked]) for row in rows if row.asked in kept]
    if others := [(row, first) for row, first in repeats if row.answer != first.answer]:
        row, first = others[0]
        example = one_line(f"{row.question[:PREVIEW]!r}: {first.answer[:PREVIEW]!r}, then {row.answer[:PREVIEW]!r}")
        _warn(f"{source}: {len(others)} of {len(rows)} rows repeat {of}, with another answer ({example}); mend or remove them")
    if others := [(row, first) for row, first in repeats if row.answer == first.answer and _differing(row, first)]:
        row, first = others[0]
        column = _differing(row, first)[0]
        values = ", then ".join(short_repr(one.metadata.get(column)) for one in (first, row))
        example = one_line(f"{row.question[:PREVIEW]!r}: {column[:PREVIEW]!r} {values}")
        _warn(
            f"{source}: {len(others)} of {len(rows)} rows repeat {of}, but differ in a column of the reward function's ({example}); "
            "only the kept row's counts: say the difference in the question, or remove them"
        )


def _differing(row: _Row, first: _Row) -> list[str]:
    """The columns, given to a reward function of one's own, in which two rows differ."""
    names = [name for name in {**first.metadata, **row.metadata} if name != TURNS]
    pairs = {name: (row.metadata.get(name), first.metadata.get(name)) for name in names}
    return [name for name, (one, other) in pairs.items() if one != other and repr(one) != repr(other)]  # NaN is unequal to itself


def _say_odd_tags(rows: list[_Row], source: str) -> None:
    """Another dataset's tag is read as text, and its images stand in front."""
    asked = [row.question for row in rows if row.images]
    if found := [tags[0] for question in asked if (tags := [tag for tag in ODD_TAG.findall(question) if tag != TAG])]:
        _warn(
            f"{source}: {len(found)} of {len(asked)} questions with images say {found[0]!r} or the like, which is read as text; the tag of "
            f"an image's place is {TAG}, once for each image; replace it"
        )


def _read(task: TaskConfig, name: str, split: str, key: str) -> list[_Row]:
    path = resolve_path(name)
    folder = path if path is None or path.is_dir() else path.parent
    rows = [_fields(task, row, folder) for row in read_rows(name, split, task.revision, key)]
    _say_odd_tags(rows, f"{key}={name}")
    return rows


def _fields(task: TaskConfig, row: Row, folder: Path | None) -> _Row:
    place, _ = row
    turns = _turns(task, row)
    asked = as_question(turns) if turns else _text(row, task.question_column, "task.question_column")
    question = asked if turns else shown_question(asked, task.question_pattern, place)
    images = source_images(cell(row, task.image_column, "task.image_column"), folder, place) if task.image_column else ()
    check_tags(question, len(images), place)
    metadata = other_columns(task, row[1]) | ({TURNS: turns} if turns else {})
    fields = _Row(question, _text(row, task.answer_column, "task.answer_column"), _difficulty(task, row), images, metadata)
    if is_blank(fields.answer):
        raise DataError(
            f"{place}: column {task.answer_column!r} holds nothing after the last {HASH}, expected the answer there; mend or remove the row"
        )
    return fields


def _turns(task: TaskConfig, row: Row) -> list[Turn]:
    """The conversation that the question is; [] where it is a text."""
    value = cell(row, task.question_column, "task.question_column")
    if isinstance(value, str) and task.question_pattern is None:  # a pattern takes the question out of such a text itself
        value = turns_in(value)
    if not isinstance(value, list):
        return []
    turns = read_turns(value, row[0], task.question_column)
    if task.question_pattern is not None:
        raise DataError(f"{row[0]}: column {task.question_column!r} holds turns, which are asked whole; set task.question_pattern to null")
    return turns


def _text(row: Row, column: str, key: str) -> str:
    place, value = row[0], cell(row, column, key)
    try:
        text = as_text(value)
    except ValueError as error:
        raise DataError(f"{place}: column {column!r} holds {error}, expected text or a number; set {key} to another column") from None
    if is_blank(text):
        raise DataError(f"{place}: column {column!r} is empty, expected text or a number; fill it in or remove the row")
    if kind := odd_kind(value):
        _warn(f"{place.rpartition(', ')[0]}: column {column!r} holds a {kind}, read as True or 2026-01-31 are; write text to have another")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place}: column {column!r} holds half a surrogate pair at character {error.start}, which is no text; mend or remove the row"
        ) from None
    return text


def _difficulty(task: TaskConfig, row: Row) -> str:
    value = cell(row, task.difficulty_key, "task.difficulty_key") if task.difficulty_key else None
    try:
        return difficulty_label(value if isinstance(value, (list, dict)) else as_text(value) or None)
    except ValueError as error:
        raise DataError(f"{row[0]}: column {task.difficulty_key!r} holds {error}; set task.difficulty_key to another column") from None


def cell(row: Row, column: str, key: str) -> Any:
    """The column's value; "reward_model.ground_truth" and "prompt.0.content" reach into nested ones, as files made for verl have them."""
    place, values = row
    if column in values:
        return values[column]
    value: Any = values
    for part in column.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and re.fullmatch(r"-?\d+", part) and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            has = value if isinstance(value, dict) else values
            raise DataError(
                f"{place}: no column {column!r}, {'the row' if has is values else 'it'} has {', '.join(map(repr, has)) or 'none'}; "
                f"set {key} to one of them, or mend the row"
            )
    return value
