"""The other columns of a dataset's row: the metadata that a user's own reward function is given."""

import datetime
import json
from typing import Any

from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.tasks.rows.cells import Unreadable, as_text
from npo_pipeline.tasks.rows.messages import TURNS


def other_columns(task: TaskConfig, values: dict[str, Any]) -> dict[str, Any]:
    """All but question, answer and images, as JSON can say them; {} where no function asks for them. Left out: columns of bytes."""
    if task.verifier.kind != "python":
        return {}
    used = (task.question_column, task.answer_column, task.image_column, TURNS)
    return {str(key): _plain(value) for key, value in values.items() if key not in used and not isinstance(value, bytes)}


def _plain(value: Any) -> Any:
    """Dates and decimals become text, and so does what JSON has no word for."""
    return json.loads(json.dumps(value, default=_text, skipkeys=True))


def _text(value: Any) -> str | float | None:
    if isinstance(value, Unreadable | bytes):
        return value.stored if isinstance(value, Unreadable) else None
    if isinstance(value, datetime.datetime):  # whole, also at midnight: a function reads a column's times by one form
        return str(value)
    try:
        return as_text(value)
    except ValueError:
        return str(value)
