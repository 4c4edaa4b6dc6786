"""Foreign text in a message, a log or a report: nothing hides in it, breaks its line, or is longer than anybody reads.

Models, datasets and files that a person edited may hold terminal control codes, text that runs backwards, megabytes, and lists
that hold themselves.
"""

import reprlib
import unicodedata

LONGEST = 1000  # characters of a message

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 120
_repr.maxlevel, _repr.maxlist, _repr.maxdict, _repr.maxtuple = 3, 4, 4, 4


def spelt(text: str) -> str:
    """Text in which control and direction characters are spelt out, other than new lines and tabs. Example: "\\x1b[2J" -> "\\u001b[2J"."""
    return "".join(f"\\u{ord(character):04x}" if _invisible(character) else character for character in text)


def one_line(text: str) -> str:
    """The same in one line, its white space collapsed, cut in the middle where it is longer than a message should be."""
    line = spelt(" ".join(text.split()))
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[:half]} [...] {line[-half:]}"


def short_repr(value: object) -> str:
    """A repr that is short however deep, wide or cyclic the value is. Example: [[1, 2, 3], ...]."""
    try:
        return _repr.repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes
        return f"a {type(value).__name__} too large to show"


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair, which JSON may spell, cannot."""
    return not any(unicodedata.category(character) == "Cs" for character in text)


def _invisible(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn")
