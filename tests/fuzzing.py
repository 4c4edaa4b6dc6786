"""What the fuzz tests share: hostile values, damage to a good document or file, and what a parser may do with it.

`pytest tests/property` tries some hundred cases of each parser, the same ones in every run; `pytest tests/property
--hypothesis-profile=fuzz --timeout=0` tries 20,000 new ones.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from npo_pipeline.errors import NpoError

Found = TypeVar("Found")

PATHS = ["../../etc/passwd", "/etc/passwd", "", ".", "..", "a/../b", "~", "a\nb", "\x00", "\x1b[2J", "\ud800", "\u202e"]
WORDS = [
    "1e999999",
    "9" * 5000,
    "{" * 50,
    "'",
    '"',
    "{wildcard}",
    "*",
    ";rm -rf /",
    "$(x)",
    "`x`",
    "<script>",
    "null",
    "-1",
    "${oc.env:HOME}",
]
TEXTS = st.one_of(st.text(max_size=12), st.sampled_from(PATHS), st.sampled_from(WORDS))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6)


def cases(share: int = 1) -> settings:
    """200 of them, or what the fuzz profile asks for; of parsers that take long one where the others have `share`."""
    return settings(max_examples=max(200, settings.default.max_examples) // share)


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """A copy of a document of dicts and lists, in which up to three values are replaced, removed or added."""
    found = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        parents = list(_containers(found))
        parent = draw(st.sampled_from(parents))
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if action == "add" or not keys:
            _add(parent, draw(TEXTS), draw(VALUES))
        elif action == "remove":
            del parent[draw(st.sampled_from(keys))]
        else:
            parent[draw(st.sampled_from(keys))] = draw(VALUES)
    return found


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


def _add(parent: Any, key: str, value: Any) -> None:
    if isinstance(parent, dict):
        parent[key] = value
    else:
        parent.append(value)


@st.composite
def damaged_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """A copy that is cut, has bytes changed, or has some put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        action = draw(st.sampled_from(["cut", "change", "change", "insert"]))
        if action == "cut":
            del content[place:]
        elif action == "insert":
            content[place:place] = draw(st.binary(max_size=9))
        elif place < len(content):
            content[place] = draw(st.integers(0, 255))
    return bytes(content)


def read_or_refuse(read: Callable[[], Found], *names: str | Path) -> Found | None:
    """What `read` makes of it, or None where it refuses with one of the project's errors, in one line that holds one of `names`.

    Any other exception is a finding.
    """
    try:
        return read()
    except NpoError as error:
        message = str(error)
        assert "\n" not in message, message
        assert not names or any(str(name) in message for name in names), message
        return None
