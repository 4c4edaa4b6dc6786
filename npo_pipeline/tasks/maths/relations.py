"""Equations and inequalities: when they stand for a value, and when two of them are the same.

An equation stands for a value only if one side is a lone name ("x = 9", "f(2) = 9", "9 = x"), or if every side has that value
("4 + 5 = 9"): "x^2 = 9" and "8 = 9" do not stand for 9.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from npo_pipeline.tasks.maths.notation import split
from npo_pipeline.tasks.maths.symbolic import same_equation

_OPERATOR = re.compile(r"\\(?:le|ge|ne|approx|equiv|in)(?![A-Za-z])|(?<![<>!:])[:<>]?=|<|>")
_EQUAL = {
    "=": "=",
    ":=": "=",
    "\\approx": "=",
    "\\equiv": "=",
    "\\in": "\\in",
    "\\le": "<=",
    "<=": "<=",
    "\\ge": ">=",
    ">=": ">=",
    "\\ne": "!=",
}
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_LETTER = r"(?:\\(?!pi(?![a-z])|infty|frac|sqrt|sin|cos|tan|log|ln|exp)[a-z]+|[A-Za-z])(?:_(?:\{[^{}]*\}|[A-Za-z0-9]))?'*"
_NAME = re.compile(
    rf"\s*(?:{_LETTER}|(?:\\text\s*\{{)?[A-Za-z]{{2,}}(?:\s+[A-Za-z]+)*\}}?|[a-wA-Z]'*(?:_(?:\{{[^{{}}]*\}}|\w))?\s*\([^()=]*\)|\([A-Za-z]\)"
    rf"|\|\s*[A-Z]{{2}}\s*\||(?:\\angle|\\triangle|\\overline|\\text)\s*\{{?\s*[A-Za-z ]+\}}?|\(\s*{_LETTER}(?:\s*,\s*{_LETTER})+\s*\))\s*"
)  # fmt: skip
_DENIED = re.compile(r"(?<![A-Za-z])(?:not|no|never|wrong|incorrect|false|either|neither|nor)(?![A-Za-z])", re.IGNORECASE)
Same = Callable[[str, str], bool]


@dataclass(frozen=True)
class Relation:
    """Example: "1 < x \\le 5" has the sides 1, x, 5 and the operators <, <=."""

    sides: tuple[str, ...]
    operators: tuple[str, ...]

    @property
    def is_equation(self) -> bool:
        return set(self.operators) <= {"=", "\\in"}

    @property
    def name(self) -> str | None:
        """Of an equation: the lone names on its sides; None if there are none."""
        return " ".join("".join(side.split()) for side in self.sides if _is_name(side)) or None if self.is_equation else None

    @property
    def values(self) -> list[str]:
        return [side for side in self.sides if not _is_name(side)]


def _is_name(side: str) -> bool:
    """ "x", "f(2)" and "The value", but not "not x" or "wrong": such an equation says what the value is not."""
    return _NAME.fullmatch(side) is not None and not _DENIED.search(side)


def relation(text: str) -> Relation | None:
    """None if no sign of comparison stands outside brackets."""
    sides = split(text, _OPERATOR)
    if len(sides) < 2:
        return None
    operators, place = [], 0
    for side in sides[:-1]:
        match = _OPERATOR.match(text, place + len(side))
        assert match is not None
        operators.append(_EQUAL.get(match[0], match[0]))
        place = match.end()
    return Relation(tuple(side.strip() for side in sides), tuple(operators))


def same_relation(gold: str, found: str, one: Relation | None, other: Relation | None, same: Same) -> bool:
    """Of two equations, or of an equation and a value. `same` compares values."""
    if one and other:
        return _same_values(one, other, same) or _same_sides(one, other, same)
    equation, value = (one, found) if one else (other, gold)
    if equation is None or not equation.is_equation or not equation.values or (one and not one.name):
        return False
    return all(same(side, value) if one else same(value, side) for side in equation.values)


def as_interval(text: str) -> tuple[str, str] | None:
    """The name and the interval of an inequality about one name. Example: "1 < x \\le 5" -> ("x", "(1, 5]")."""
    found = relation(text)
    if not found or not set(found.operators) <= set(_FLIPPED):
        return None
    sides, operators = found.sides, found.operators
    if operators[0][0] == ">":
        sides, operators = sides[::-1], tuple(_FLIPPED[operator] for operator in operators[::-1])
    named = [_is_name(side) for side in sides]
    ends = {(True, False): ("-\\infty", sides[-1]), (False, True): (sides[0], "\\infty"), (False, True, False): (sides[0], sides[-1])}
    if tuple(named) not in ends or len({operator[0] for operator in operators}) > 1:
        return None
    low, high = ends[tuple(named)]
    opening = "[" if named[0] is False and operators[0] == "<=" else "("
    closing = "]" if named[-1] is False and operators[-1] == "<=" else ")"
    return "".join(sides[named.index(True)].split()), f"{opening}{low}, {high}{closing}"


def _same_values(one: Relation, other: Relation, same: Same) -> bool:
    """ "x = 9" and "9 = x"; not "y = 9"."""
    if not one.name or one.name != other.name or not one.values or not other.values:
        return False
    return all(same(one.values[-1], value) for value in other.values) and all(same(value, other.values[-1]) for value in one.values)


def _same_sides(one: Relation, other: Relation, same: Same) -> bool:
    if len(one.sides) != len(other.sides):
        return False
    if one.operators == other.operators and all(map(same, one.sides, other.sides)):
        return True
    if tuple(_FLIPPED.get(sign, sign) for sign in one.operators[::-1]) == other.operators and all(map(same, one.sides[::-1], other.sides)):
        return True
    return one.operators == other.operators == ("=",) and same_equation((one.sides[0], one.sides[1]), (other.sides[0], other.sides[1]))
