"""Where the answer stands in a response: pure functions from text to text, linear in its length.

Text from a model is data: it is cut, never evaluated. Each function returns None where its marker is absent or holds nothing.
`demonstrate` is the inverse: a response in which an extractor finds a given answer.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator

# Alternatives exclude each other within a bounded number of characters, so a scan is linear whatever the text.
_GROUPING = r"(?:,(?:\\!)?|\{,\}|\\,|['\N{THIN SPACE}\N{NARROW NO-BREAK SPACE}\N{NO-BREAK SPACE}])"
_WHOLE = rf"(?:[0-9]{{1,3}}(?:{_GROUPING}[0-9]{{3}})+(?![0-9])|[0-9]+)"
_REPEATING = r"\\(?:overline|bar)\s?\{[0-9]{1,40}\}"
_PLAIN = rf"(?:{_WHOLE}(?:\.[0-9]+(?:{_REPEATING})?|\.{_REPEATING})?|(?<![.\w])\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_DASH = "[-\N{MINUS SIGN}\N{EN DASH}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{SMALL HYPHEN-MINUS}\N{FULLWIDTH HYPHEN-MINUS}]"
_SIGN = rf"(?:{_DASH}(?:\\?[$€£])?|(?<=[=:][ ]){_DASH}[ ])?"  # "-$5", "x = - 5"
_INNER = r"\{(?:[^{}]|\{[^{}]{0,40}+\}){0,60}+\}"
_BRACED = rf"\{{(?:[^{{}}]|{_INNER}){{1,60}}+\}}"  # to three levels: "{\sqrt{\frac{3}{4}}}"
_TIMES = "[x\N{MULTIPLICATION SIGN}\N{MIDDLE DOT}]"
_RAISED = rf"(?:\s?\^\s?(?:{_BRACED}|{_DASH}?[0-9]{{1,9}})|[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,9}})"
_POWER = rf"(?:\s?(?:\\times|\\cdot|\*|{_TIMES})\s?10{_RAISED})"
_BASE = r"(?:_(?:\{[0-9]{1,2}\}|[0-9]{1,2}(?![\w])))"
_LATEX = rf"\\[dtc]?frac\s?(?:{_BRACED}|[0-9])\s?(?:{_BRACED}|[0-9])"
_ROOT = rf"\\sqrt\s?(?:\[[^][{{}}]{{1,9}}\]\s?)?(?:{_BRACED}|[0-9])|√\s?(?:[0-9]+|\([^()\n]{{1,40}}\))"
_MIXED = rf"(?:[0-9]{{1,9}}\s?)?(?:{_LATEX}|{_ROOT}|[½⅓⅔¼¾⅛⅜⅝⅞])|[0-9]{{1,9}} [0-9]{{1,9}}/[0-9]+"
_NAME_ABOVE = r"(?:\\pi|π|(?<![A-Za-z\\])[A-Za-z]{1,9}(?=/[0-9])|\([^()\n]{1,60}\))(?=\s?/\s?[0-9])"  # "x/2", "(1+√5)/2"
_FACTOR = rf"(?:\s?(?:\\pi(?![A-Za-z])|π|{_ROOT}))"
_OVER = rf"(?:\s?(?:[/\N{{FRACTION SLASH}}\N{{DIVISION SIGN}}]|\\over(?![A-Za-z])|\\div)\s?(?:{_ROOT}|[0-9]+(?:\.[0-9]+)?{_FACTOR}?))"
_SCALE = r"(?:(?:\s|\\text\s?\{\s?)(?i:hundred|thousand|million|billion|trillion|quadrillion|lakh|crore)s?(?![A-Za-z])\}?)"
_FACTORIAL = r"!{1,3}(?=\s?(?:\$|\\[)\]]|\}))"  # in a formula alone: "It is 5!" is glad
_HEAD = rf"(?:{_MIXED}|{_PLAIN}(?:{_POWER}|{_RAISED}|{_BASE})?|{_NAME_ABOVE})"
_INDEX = rf"\^\s?(?:{_BRACED}|{_DASH}?[0-9A-Za-z]{{1,9}})|(?<=[A-Za-z)\}}])_(?:{_BRACED}|[0-9]{{1,9}})"  # of a unit, of a name: no answer
_NUMBER = re.compile(rf"{_INDEX}|(?P<number>(?<![0-9]){_SIGN}{_HEAD}{_FACTOR}?{_OVER}{{0,3}}(?:{_SCALE}|{_FACTORIAL})?)")
_DIGIT = re.compile("[0-9½⅓⅔¼¾⅛⅜⅝⅞]")
_BRACES = re.compile(r"(?P<box>\\{1,2}(?:boxed|fbox|framebox)\s*\{)|\\.|[{}]", re.DOTALL)
_COMMAND = rf"{_DASH}?\\[A-Za-z]{{1,20}}(?:\[[^][{{}}]{{1,9}}\])?(?:\s?{_BRACED}){{1,2}}"  # "\boxed \frac{1}{2}"
_BARE_BOX = re.compile(rf"\\(?:boxed|fbox)(?:\s+|(?=[+0-9]|{_DASH}))({_COMMAND}|[^\s{{}}$]*[^\s{{}}$.,;:])")
_PROSE = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{2,}|[\u4e00-\u9fff]|^\(?[0-9]+[.):](?:\s|$)|^Q[0-9]")


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
    """Inside the last `\\boxed{...}` or `\\fbox{...}` that is in no other and whose braces balance; `\\boxed 4` where there is none.

    Escaped braces do not count. Of a box in a box the outer one is the answer, unless it holds nothing else.
    """
    spans = deque(_boxed_spans(text), maxlen=1)
    if spans:
        inner = text[slice(*spans[0])].strip()
        nested = _BRACES.match(inner)
        return (boxed(inner) if nested and nested["box"] and _one_box(inner) else inner) or None
    bare = deque(_BARE_BOX.finditer(text), maxlen=1)
    return bare[0][1] if bare else None


def last_number(text: str) -> str | None:
    """The last number, with its sign, thousands separators, decimals and exponent; a fraction, a power, a root or a multiple is one whole.

    Example: "5-3 = 1,200." -> "1,200"; "it is x/2" -> "x/2"; "5 cm^2" -> "5"; "3 million" -> "3 million".
    """
    matches = (match["number"] for match in _NUMBER.finditer(text))
    numbers = deque((found for found in matches if found and _DIGIT.search(found)), maxlen=1)
    return numbers[0] if numbers else None


def auto(text: str) -> str | None:
    """The first of hash, answer_tag, boxed and last_number that is present; else the last line.

    A `####` that is a Markdown heading does not count: it is the text's last line, or holds no words and no box or tag follows.
    """
    found = (extract(text) for extract in (_answer_after_hash, answer_tag, boxed, last_number, last_line))
    return next((answer for answer in found if answer is not None), None)


def _answer_after_hash(text: str) -> str | None:
    answer = after_hash(text)
    tail = text.rpartition("####")[2]
    if answer is None or "\\boxed" in tail or "\\fbox" in tail or "<answer>" in tail:
        return None
    return answer if not tail.strip().partition("\n")[2].strip() or not _PROSE.search(answer) else None


def _one_box(text: str) -> bool:
    """Whether a box that starts the text ends with it."""
    return [(start, end) for start, end in _boxed_spans(text)][-1:] == [(_BRACES.match(text).end(), len(text) - 1)]  # type: ignore[union-attr]


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
