"""The step that a checkpoint's name tells, in what the wild parts of a pattern stand for. No file is touched.

checkpoint-*    checkpoint-200                the only number there
step_*          step_100_loss_0.53            the number after "step" (or "iter"), whatever else is there
step*-v2        step100-v2                    what the pattern writes out does not count
*               2024-05-01, 1k, 1e3, 0.5      several numbers, or none that is whole: refused, as any of them may be meant
"""

import re
from collections.abc import Sequence

WILD = re.compile(r"\*\*/|\*+|\?|\[!?\]?[^]]*\]")
# A number with all that makes it another one: decimals, thousands in groups, and the suffixes of thousands and powers.
NUMBER = re.compile(r"\d+(?:[.,]\d+|_\d{3}(?!\d))*(?:[kmb](?![a-z])|e[+-]?\d+)?", re.IGNORECASE)
STEP = re.compile(r"(?:step|iter|iteration)s?[-_=. ]?$", re.IGNORECASE)
CHECKPOINT = re.compile(r"(?:step|iter|iteration|checkpoint|ckpt)s?[-_=. ]?$", re.IGNORECASE)


def step_in(name: str, pattern: str) -> int | None:
    """None for a name without a number there, as a hub's `main`. Raises ValueError, in words, where it is not clear."""
    spans = _open_parts(name, pattern)
    numbers = list(NUMBER.finditer(name))
    left_open = [number for number in numbers if _is_in(number.span(), spans)]
    fixed = [number for number in numbers if number not in left_open]
    if not left_open:
        return None
    named = [number for number in left_open if STEP.search(name, 0, number.start())]
    if not named and (other := [number[0] for number in fixed if CHECKPOINT.search(name, 0, number.start())]):
        raise ValueError(f"the pattern leaves {left_open[0][0]} open, but {other[0]} is called the step")
    return _only(named or left_open)


def _only(numbers: Sequence[re.Match[str]]) -> int:
    shown = [number[0] for number in numbers]
    if len(shown) > 1:
        raise ValueError(f"{' and '.join(shown[:3])} may each be its step")
    if not shown[0].isdecimal():
        raise ValueError(f"{shown[0]} is no whole number in digits")
    return int(shown[0])


def _open_parts(name: str, pattern: str) -> list[tuple[int, int]]:
    """Where in `name` the wild parts of `pattern` lie; all of it where the two do not fit."""
    regex, end = "", 0
    for wild in WILD.finditer(pattern):
        regex += re.escape(pattern[end : wild.start()]) + _regex(wild[0])
        end = wild.end()
    found = re.fullmatch(regex + re.escape(pattern[end:]), name, re.DOTALL)
    return list(found.regs[1:]) if found else [(0, len(name))]


def _regex(wild: str) -> str:
    """What it may stand for. The name is known to match: this only has to find out where."""
    if wild == "**/":
        return "(.*/)?"
    return "(.*)" if wild.startswith("*") else "(.)"


def _is_in(number: tuple[int, int], spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a wild part holds a digit of it, or stands for nothing right beside it, as in checkpoint-1* for checkpoint-1."""
    return any(max(start, number[0]) < min(end, number[1]) or (start == end and start in number) for start, end in spans if start >= 0)
