"""A conversation as the question: a column of turns, [{role, content}, ...], as TRL takes them (`messages`, or `prompt`).

A chat template reads the turns as they are, and `task.prompt.system` where they have no system turn of their own;
`task.prompt.template` is not for them. Without a chat template the turns become one text, which is the question then, in that template.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from npo_pipeline.errors import DataError
from npo_pipeline.shown import is_text, short_repr
from npo_pipeline.tasks.rows.cells import is_blank

Turn = dict[str, str]  # {"role": "user", "content": "1 + 1 ="}

TURNS = "prompt_messages"  # the key of a problem's metadata under which its turns stand
ROLES = ("system", "user", "assistant")


def turns_of(metadata: dict[str, Any]) -> list[Turn]:
    """The turns of a problem; [] of one whose question is a text."""
    return list(metadata.get(TURNS, ()))


def read_turns(value: list[Any], place: str, column: str) -> list[Turn]:
    """The turns of a cell. `place` names its row. Raises DataError for what is no conversation that a user spoke last in."""
    turns = [_turn(turn, f"{place}: column {column!r}, turn {number}") for number, turn in enumerate(value, 1)]
    if not turns:
        raise DataError(f"{place}: column {column!r} is an empty list, expected turns; fill it in or remove the row")
    if turns[-1]["role"] != "user":
        raise DataError(
            f"{place}: column {column!r} ends with a turn of {turns[-1]['role']}, expected the user's, since the policy answers it; "
            "take the last turn away (its text may be the answer)"
        )
    return turns


def turns_in(text: str) -> list[Any] | None:
    """The conversation that a text spells as JSON, as tables without lists have it; None of any other text.

    Example: '[{"role": "user", "content": "1 + 1 ="}]' -> [{"role": "user", "content": "1 + 1 ="}].
    """
    if not re.match(r"\s*\[\s*\{", text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in value) else None


def as_question(turns: Sequence[Turn]) -> str:
    """The turns as one text. Example: one of "1 + 1 =" is that; with a system turn before it, "system: Be brief.\\nuser: 1 + 1 ="."""
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _turn(turn: Any, where: str) -> Turn:
    if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
        raise DataError(f"{where} is {short_repr(turn)}, expected {{role, content}}; mend it, or name another task.question_column")
    role, content = turn["role"], turn["content"]
    if role not in ROLES:
        raise DataError(f"{where} has the role {short_repr(role)}, expected one of {', '.join(ROLES)}; mend or remove the row")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text") or "") for part in content)
    if not isinstance(content, str):
        raise DataError(
            f"{where} has as content {short_repr(content)}, expected text; mend it (images are a column of their own: task.image_column)"
        )
    if is_blank(content) or not is_text(content):
        raise DataError(f"{where} has a content that is empty, or no text (half a surrogate pair); mend or remove the row")
    return {"role": role, "content": content}
