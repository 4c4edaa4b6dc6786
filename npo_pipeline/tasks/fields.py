"""What a task derives: the difficulty label, the question that is shown, and what makes two questions one. Shared by all sources."""

import re
from typing import Any

from npo_pipeline.errors import DataError
from npo_pipeline.shown import one_line

ALL = "all"
LABEL = 24  # characters of a text that is a label itself
PREVIEW = 80  # characters of a question that an error message shows


def difficulty_label(value: Any) -> str:
    """A number labels itself, and so does a short text; a list counts its items, a longer text its lines; null is "all".

    Labels go into tables, figures and file names of columns: control characters in them are spelt out.

    Example: 3 -> "3", "Level 5" -> "Level 5", [5, 1, 2] -> "3", "one line\\nanother" -> "2".
    """
    if value is None:
        return ALL
    if isinstance(value, (list, tuple)):
        return str(len(value))
    if isinstance(value, str):
        lines = value.splitlines()
        return one_line(value) if len(lines) == 1 and len(value) <= LABEL else str(max(1, len(lines)))
    return one_line(str(value))


def shown_question(question: str, pattern: str | None, where: str) -> str:
    """The first group of `task.question_pattern` in the question, or all of it. `where` names the row in errors. Raises DataError."""
    if pattern is None:
        return question
    match = re.search(pattern, question)
    if match is None or not (match.group(1) or "").strip():
        raise DataError(
            f"{where}: task.question_pattern={pattern!r} finds no question in {question[:PREVIEW]!r}; "
            "mend the pattern, or set it to null to show the question whole"
        )
    return str(match.group(1))


def question_key(question: str) -> str:
    """The same text for questions that differ only in line ends and in white space around them or at their lines' ends.

    Inner spaces and indentation may be what is asked about. Example: " 1 + 1 =\\r\\n" -> "1 + 1 =".
    """
    lines = question.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()
