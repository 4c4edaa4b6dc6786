"""Are two answers the same mathematical value? Plain numbers are compared here, everything else by math-verify.

math-verify searches a text for an answer; here the extractor has found it already, so the whole of it is parsed as one LaTeX
expression. Searched as text, "x - 3" would count as 3 and "11:12" as 12. Runs in a worker process (npo_pipeline.tasks.workers),
which bounds its time, so math-verify's own timeouts (signals) are off.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_WORDS = re.compile(r"[A-Za-z]{3}[A-Za-z ]*")  # shorter could be a product of variables
_APART = re.compile(r"[0-9]\s+[0-9]")  # LaTeX reads "7 2" as a mixed number, 9


def same_value(reference: str, answer: str) -> bool:
    """Example: ("72", "$72.0"), ("1/2", "\\frac{1}{2}") and ("1000", "1,000") are the same; ("72", "72 and 7 more") is not."""
    gold, found = tidy(reference), tidy(answer)
    if gold == found:
        return True
    if _NUMBER.fullmatch(gold) and _NUMBER.fullmatch(found):
        return Fraction(gold) == Fraction(found)
    if _WORDS.fullmatch(gold):
        return gold.casefold() == found.casefold()  # as LaTeX, "blue" and "lube" are the same product of letters
    return not _APART.search(found) and _equal(gold, found)


def tidy(text: str) -> str:
    """Without currency, emphasis, delimiters, thousands separators and a closing full stop. Example: " $1,000." -> "1000"."""
    bare = text.replace("\N{MINUS SIGN}", "-").replace("\\$", "$").replace("-$", "-").rstrip(" \t\r\n.*$").lstrip(" \t\r\n*$=")
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        bare = bare.removeprefix(opening).removesuffix(closing).strip()
    return re.sub(r"(?<!\\)%", r"\\%", _THOUSANDS.sub("", " ".join(bare.split())))


def _equal(gold: str, found: str) -> bool:
    from math_verify import verify

    return bool(verify(_parsed(gold), _parsed(found), timeout_seconds=None))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    return list(parse(f"${text}$", [LatexExtractionConfig()], parsing_timeout=None))
