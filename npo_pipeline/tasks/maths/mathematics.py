"""Are two answers the same mathematical value? The table of what counts as equal is docs/verdicts.md.

An answer is one expression, read strictly and as a whole. Nothing is searched for in it: an answer that holds the right value among
others is wrong, or a policy would learn to hedge. Lists, tuples, intervals and equations are taken apart here, plain numbers are
compared as fractions, and what is left is parsed by math-verify (npo_pipeline.tasks.maths.symbolic). Runs in a worker process
(npo_pipeline.tasks.judging.workers), which bounds its time and memory.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from npo_pipeline.tasks.maths.notation import RANGE, canonical, closes_at, split, unwrap
from npo_pipeline.tasks.maths.quantities import GROUPED, SPACED, Number, equal_numbers, number, same_unit, split_unit
from npo_pipeline.tasks.maths.relations import as_interval, relation, same_relation
from npo_pipeline.tasks.maths.symbolic import same_expression

_LONGEST = 2000  # characters: no answer is longer, and reading one takes time that grows with its square
_SIMPLE = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,12})?")
_COMMAS = re.compile(r"\s*(?:[,;]\s*(?:and\s|or\s)?|(?<![A-Za-z])(?:and|or)(?![A-Za-z]))\s*")
_UNION = re.compile(r"\\cup(?![A-Za-z])")
_COLON = re.compile(rf":|{RANGE}")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
_BRACKETS = {"(": "()", "[": "[]", "\\{": "{}", "\\langle": "()"}
_ORDERED = {"()", "[]", "(]", "[)", " ", ":"}
_LIKE = ({"", "()"}, {"", "{}"}, {"", " "})  # brackets that may be left out: of a tuple, a set, a sequence
_WORD = re.compile(  # as LaTeX, "blue" and "lube" are the same product of letters
    r"(?=[A-Za-z' -]*[A-Za-z]{3})[A-Za-z][A-Za-z' -]*|[Nn]o|NO|[Uu]p|[Ii]s|[Oo]n|[Oo]k|[Ss]o"
)
_CAPITALS = re.compile(r"[A-Z](?: +[A-Z]){2,}")  # an order of names, no product
_OR = re.compile(r"(?:\s*,)?\s*(?<![A-Za-z])or(?![A-Za-z])\s*")


@dataclass(frozen=True)
class Group:
    """Several values. `kind`: "" of a bare list, "()", "[]", "(]", "[)", "{}", " " of a spaced sequence, ":" of a ratio, "\\cup"."""

    kind: str
    items: tuple[str, ...]


def same_value(reference: str, answer: str) -> bool:
    """Example: ("72", "$72.0"), ("1/2", "\\frac{1}{2}") and ("1000", "1,000") are the same; ("9", "8 and 9") and ("9", "x^2=9") are not."""
    if reference == answer:
        return True
    if _SIMPLE.fullmatch(reference) and _SIMPLE.fullmatch(answer):
        return Fraction(reference) == Fraction(answer)
    if max(len(reference), len(answer)) > _LONGEST:
        return False
    gold, found = _canonical(reference), _canonical(answer)
    try:
        return bool(gold and found) and (gold.replace(RANGE, "-") == found.replace(RANGE, "-") or _same(gold, found))
    except RecursionError:  # hundreds of brackets in each other
        return False


_canonical = lru_cache(maxsize=4096)(canonical)


def _same(gold: str, found: str) -> bool:
    if " ".join(gold.split()) == " ".join(found.split()):
        return True
    one, other = _read(gold), _read(found)
    if isinstance(one, Group) and isinstance(other, str) and not relation(other):
        other = _comma_list(other) or other
    if isinstance(one, str) and isinstance(other, Group) and other.kind == " " and SPACED.fullmatch(found):
        other = found.replace(" ", "")
    return _compare(one, other, gold, found) or _same_unions(gold, found)


def _same_unions(gold: str, found: str) -> bool:
    """ "x < 3 or x > 5" is "(-\\infty, 3) \\cup (5, \\infty)"; "x < 3, x > 5" does not say which."""
    one, other = _as_union(gold), _as_union(found)
    return (one is not None or other is not None) and _same(one or gold, other or found)


def _as_union(text: str) -> str | None:
    """The set of inequalities of one name with "or" between them; None of anything else."""
    parts = split(unwrap(text), _OR)
    ranges = [found for part in parts if (found := as_interval(part))]
    if len(parts) < 2 or len(ranges) < len(parts) or len({name for name, _ in ranges}) > 1:
        return None
    return f"{ranges[0][0]} \\in " + " \\cup ".join(interval for _, interval in ranges)


def _compare(one: "str | Group", other: "str | Group", gold: str, found: str) -> bool:
    relations = relation(one) if isinstance(one, str) else None, relation(other) if isinstance(other, str) else None
    if any(relations):
        return _same_ranges(gold, found) or same_relation(gold, found, *relations, _same)
    if isinstance(one, Group) and isinstance(other, Group):
        return _same_groups(one, other) or _same_as_sets(one, other, gold, found)
    if isinstance(one, str) and isinstance(other, str):
        return _same_leaves(one, other)
    return _same_as_only_item(one, other) or _same_as_sets(one, other, gold, found)


def _same_as_only_item(one: "str | Group", other: "str | Group") -> bool:
    """ "\\{5\\}" and "5"."""
    sides = [side.items[0] if isinstance(side, Group) and side.kind == "{}" and len(side.items) == 1 else side for side in (one, other)]
    return isinstance(sides[0], str) and isinstance(sides[1], str) and _same(sides[0], sides[1])


@lru_cache(maxsize=4096)
def _read(text: str) -> str | Group:
    """Several values as a Group; one as its text, without brackets that only surround it."""
    text = unwrap(text)
    if not GROUPED.fullmatch(text):
        for kind, separator in (("", _COMMAS), ("\\cup", _UNION)):
            if len(parts := split(text, separator)) > 1:
                return Group(kind, tuple(item for part in parts for item in _signed(unwrap(part), kind)))
    if (group := _bracketed(text)) is not None:
        return _read(group.items[0]) if group.kind == "()" and len(group.items) == 1 else group
    return Group("", values) if len(values := _signed(text, "")) > 1 else _sequence(text) or text


def _signed(text: str, kind: str) -> tuple[str, ...]:
    """ "\\pm 3" as both of its values, if it stands alone or in a bare list."""
    if kind or not _PLUS_MINUS.search(text) or relation(text):
        return (text,)
    return tuple(_PLUS_MINUS.sub(f" {sign} ", text) for sign in "+-")


def _bracketed(text: str) -> Group | None:
    opening = next((token for token in _BRACKETS if text.startswith(token)), None)
    end = closes_at(text, 0) if opening else None
    if opening is None or end != len(text) - 1:
        return None
    closing = {")": ")", "]": "]", "}": "}", "e": ")"}.get(text[-1], "")
    inner = text[len(opening) : -len({")": ")", "]": "]", "}": "\\}", "e": "\\rangle"}.get(text[-1], ")"))]
    return Group(_BRACKETS[opening][0] + closing, tuple(map(unwrap, split(inner, _COMMAS))))


def _sequence(text: str) -> Group | None:
    """Numbers or capitals with plain spaces between ("1 2 3", "A B C"), or with colons or dashes ("2:3")."""
    tokens = text.split()
    if (len(tokens) > 1 and number(text) is None and all(map(number, tokens))) or _CAPITALS.fullmatch(text):
        return Group(" ", tuple(tokens))
    parts = split(text, _COLON)
    return Group(":" if ":" in text else RANGE, tuple(map(unwrap, parts))) if len(parts) > 1 and not relation(text) else None


def _comma_list(text: str) -> Group | None:
    """ "100,200" as two values: what a grouped number may be as well, where the reference is a list."""
    parts = text.split(",")
    return (
        Group("", tuple(parts))
        if GROUPED.fullmatch(text) and all(map(number, parts)) and not any(re.match("0[0-9]", p) for p in parts)
        else None
    )


def _same_groups(one: Group, other: Group) -> bool:
    if len(one.items) != len(other.items) or not (one.kind == other.kind or any({one.kind, other.kind} <= like for like in _LIKE)):
        return False
    if {one.kind, other.kind} & (_ORDERED | {RANGE}) or _names_dropped(one, other):
        return all(map(_same, one.items, other.items))
    left = list(other.items)
    for item in one.items:
        match = next((candidate for candidate in left if _same(item, candidate)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _names_dropped(one: Group, other: Group) -> bool:
    """Whether one says whose each value is and the other does not ("x=1, y=2" and "1, 2"): then the order says it."""
    names = [{found.name for item in group.items if (found := relation(item)) and found.name} for group in (one, other)]
    return (len(names[0]) > 1) != (len(names[1]) > 1)


def _same_as_sets(one: "str | Group", other: "str | Group", gold: str, found: str) -> bool:
    """Unions, intersections and the like, of which the same set can be written in many ways."""
    sets = re.compile(r"\\(?:cup|cap|setminus|mathbb|emptyset)")
    return bool(sets.search(gold) or sets.search(found)) and same_expression(gold, found)


def _same_ranges(gold: str, found: str) -> bool:
    """ "x > 3", "x \\in (3,\\infty)" and "(3,\\infty)"."""
    one, other = as_interval(gold), as_interval(found)
    if one is None and other is None:
        return False
    names = {name for name in (one and one[0], other and other[0]) if name}
    return (
        len(names) < 2 and (one is None) + (other is None) < 2 and (one or other) is not None and _interval_texts(gold, found, one, other)
    )


def _interval_texts(gold: str, found: str, one: tuple[str, str] | None, other: tuple[str, str] | None) -> bool:
    left, right = one[1] if one else gold, other[1] if other else found
    return (bool(one) or relation(gold) is None) and (bool(other) or relation(found) is None) and _same(left, right)


def _same_leaves(gold: str, found: str) -> bool:
    if _WORD.fullmatch(gold) or _WORD.fullmatch(found):
        return _folded(gold) == _folded(found)
    (one, unit), (other, another) = split_unit(gold), split_unit(found)
    if "?" in unit + another and not same_unit(unit, another):
        return same_expression(gold, found)
    if len(unit + another) == 1 and (unit + another).isalpha() and same_expression(gold, found):
        return True  # "5\\text{ m}" and "5m": what may be a variable on one side is a unit on the other
    if "%" in (unit, another) and {unit, another} <= {"%", ""}:
        return _same_percent(unwrap(one), unit, unwrap(other), another)
    if unit and another and not same_unit(unit, another):
        return False
    return _same_plain(_inside(unwrap(one)), _inside(unwrap(other)))


def _folded(text: str) -> str:
    """Without regard to case, but for a letter that stands alone as a name: "No Solution" and "no solution", not "x-axis" and "X-axis"."""
    return re.sub(r"[A-Za-z]{2,}|(?<![A-Za-z])A(?![A-Za-z])", lambda word: word[0].casefold(), " ".join(text.split()))


def _same_percent(gold: str, unit: str, found: str, another: str) -> bool:
    """Where one has no percent sign, it is the number before the sign, or the value: "25\\%" is 25 and 0.25."""
    if _same_plain(gold, found):
        return True
    one, other = number(gold), number(found)
    if unit == another or one is None or other is None:
        return False
    scale = Fraction(1, 100)
    return equal_numbers(
        Number(one.value * (scale if unit else 1), one.decimal), Number(other.value * (scale if another else 1), other.decimal)
    )


def _same_plain(gold: str, found: str) -> bool:
    one, other = number(gold), number(found)
    if one is not None and other is not None:
        return equal_numbers(one, other)
    return same_expression(gold, found)


def _inside(text: str) -> str:
    """Boxes and delimiters inside an expression as brackets: "-\\boxed{9}" is -(9)."""
    text = re.sub(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}", r"(\1)", text)
    return re.sub(r"\$([^$]*)\$|\\\((.*?)\\\)", r" (\1\2) ", text) if "$" in text or "\\(" in text else text
