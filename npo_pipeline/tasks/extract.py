"""Where the answer stands in a response: pure functions from text to text, linear in its length.

Text from a model is data: it is cut, never evaluated. Each function returns None where its marker is absent or holds nothing.
`demonstrate` is the inverse: a response in which an extractor finds a given answer.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator

# Alternatives exclude each other within a bounded number of characters, so a scan is linear whatever the text.
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(rf"(?<![0-9])-?(?:{_WHOLE}(?:\.[0-9]+)?|(?<![.\w])\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_BRACES = re.compile(r"(?P<box>\\{1,2}boxed\s*\{)|\\.|[{}]", re.DOTALL)


def whole(text: str) -> str | None:
    """All of it, without the white space around it."""
    return text.strip() or None


def last_line(text: str) -> str | None:
    """The last line that is not empty."""
    lines = text.rstrip().splitlines()
    return lines[-1].strip() or None if lines else None


def answer_tag(text: str) -> str | None:
    """Between the last `<answer>` that is closed and its `</answer>`."""
    start = text.rfind("<answer>", 0, max(0, text.rfind("</answer>")))
    if start < 0:
        return None
    start += len("<answer>")
    return text[start : text.find("</answer>", start)].strip() or None


def after_hash(text: str) -> str | None:
    """After the last `####`, up to the end of its line, as GSM8K writes it."""
    _, marker, tail = text.rpartition("####")
    lines = tail.splitlines() if marker else []
    return lines[0].strip() or None if lines else None


def boxed(text: str) -> str | None:
    """Inside the last `\\boxed{...}` whose braces balance; escaped braces do not count."""
    span = max(_boxed_spans(text), default=None)
    return text[slice(*span)].strip() or None if span else None


def last_number(text: str) -> str | None:
    """The last number, with its sign, thousands separators, decimals and exponent. Example: "5-3 = 1,200." -> "1,200"."""
    matches = deque(_NUMBER.finditer(text), maxlen=1)
    return matches[0].group() if matches else None


def auto(text: str) -> str | None:
    """The first of hash, answer_tag, boxed and last_number that is present; else the last line."""
    found = (extract(text) for extract in (after_hash, answer_tag, boxed, last_number, last_line))
    return next((answer for answer in found if answer is not None), None)


def _boxed_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of the content of each closed box. The stack holds, per open brace, where a box's content starts, or None."""
    open_braces: list[int | None] = []
    for match in _BRACES.finditer(text):
        if match["box"] or match.group() == "{":
            open_braces.append(match.end() if match["box"] else None)
        elif match.group() == "}" and open_braces and (start := open_braces.pop()) is not None:
            yield start, match.start()


_BY_KIND: dict[str, Callable[[str], str | None]] = {
    "auto": auto,
    "whole": whole,
    "last_line": last_line,
    "answer_tag": answer_tag,
    "hash": after_hash,
    "boxed": boxed,
    "last_number": last_number,
}


def extract_answer(text: str, kind: str) -> str | None:
    """The answer in a response, stripped, or None if it holds none. `kind` is one of npo_pipeline.configuration.settings.EXTRACTORS."""
    return _BY_KIND[kind](text)


def demonstrate(answer: str, kind: str) -> str:
    """A response in which `extract_answer(..., kind)` finds `answer`: what a cold start imitates. Example: ("72", "hash") -> "#### 72"."""
    forms = {"answer_tag": "<answer>{}</answer>", "hash": "#### {}", "boxed": "\\boxed{{{}}}"}
    return forms.get(kind, "{}").format(answer)
