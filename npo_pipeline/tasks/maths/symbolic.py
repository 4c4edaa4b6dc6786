"""Are two LaTeX expressions the same value? Parsed by math-verify's own parser, compared here: exactly, or relative to their size.

math-verify's comparison rounds to six decimals and takes what is very small for nothing (1e-34 equals 6e-34), so only its sets are
asked. Decimals are parsed as fractions, hence exact. Expressions of variables are equal where they agree at several points, to
30 digits of 50: far below what chance or rounding could do, and needs no proof, which sympy often does not find.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from npo_pipeline.tasks.maths.quantities import terminates

_EXACT, _ROUNDED, _FLOATING, _DIGITS = "1e-30", "1e-6", "1e-12", 50
_FURTHER = 1000  # digits to which a difference is looked for that 30 digits do not show
_POINTS = ("0.7391", "-1.3247", "2.6180", "-0.5671", "3.3598", "0.1132", "1.9021", "-2.5029")
_DECIMAL = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]+)(?![0-9.])")
_PRINTED = re.compile(r"\.[0-9]{15}")
_REPEATING = re.compile(r"([0-9]*)\.([0-9]*)\\(?:overline|bar)\s*\{([0-9]+)\}")
_NAMED = re.compile(r"\\begin\{[a-z]+\}(?:\{[a-z]+\})?|\\end\{[a-z]+\}|\\(?:text|operatorname)\{[A-Za-z]+\}")
_WORDS = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{3,}")
_FUNCTIONS = {
    *("sin", "cos", "tan", "cot", "sec", "csc", "log", "exp", "sqrt", "max", "min", "gcd", "lcm", "mod"),
    *("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "det"),
}
_NO_NUMBER = re.compile(r"(?<!_)[0-9.]\s+[0-9.]|\.\s*\.|[0-9]\s*_|(?<!_)[0-9]['\"]")  # two numbers; a base, feet: the parser drops them
_SETS = re.compile(r"\\(?:cup|cap|setminus|mathbb|emptyset|varnothing)|\\\{|\\in(?![a-z])")
_APPLIED = r"\\(?:(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|lg|sum|prod|int|lim)"
_PRODUCT = re.compile(
    rf"(?P<applied>{_APPLIED}(?:\s*[_^]\s*(?:\{{[^{{}}]*\}}|[0-9A-Za-z]))+\s*(?=\())|"  # "\log_{2}(8)" is no product
    r"(?<![\^_])([0-9)}])\s*(?=\()|(\))\s*(?=[0-9A-Za-z])|([0-9])\s*(?=\\(?:binom|sqrt|frac\s*\{(?![0-9]+\}\s*\{[0-9]+\})))"
)


def same_expression(gold: str, found: str) -> bool:
    """Example: ("\\sqrt{8}", "2\\sqrt{2}") and ("x/2", "0.5x") are the same; ("x", "X") and ("9", "8 9") are not."""
    return _never_raises(_same_parsed, gold, found)


def _same_parsed(gold: str, found: str) -> bool:
    one, other = parsed(gold), parsed(found)
    if one is None or other is None:
        return False
    if _SETS.search(gold) or _SETS.search(found):
        return _same_sets(one, other)
    return equal(one, other, _nearness(gold + " " + found))


def _nearness(texts: str) -> str:
    """How near the values must be, as of plain numbers: a decimal may be rounded, one of 15 digits or more was printed by a program."""
    if "." not in texts:
        return _EXACT
    return _FLOATING if _PRINTED.search(texts) else _ROUNDED


def same_equation(gold: tuple[str, str], found: tuple[str, str]) -> bool:
    """Whether one is a multiple of the other: "y = 2x+1" and "4x - 2y + 2 = 0". Equations without a variable say nothing."""
    return _never_raises(_proportional, gold, found)


def _never_raises(compare: Callable[..., bool], *arguments: Any) -> bool:
    """False for what sympy cannot evaluate: a tuple that is subtracted, an integral without a value."""
    try:
        return compare(*arguments)
    except Exception:
        return False


def _proportional(gold: tuple[str, str], found: tuple[str, str]) -> bool:
    sides = [parsed(side) for side in (*gold, *found)]
    if any(side is None or not hasattr(side, "free_symbols") for side in sides):
        return False
    one, other = sides[0] - sides[1], sides[2] - sides[3]
    if not one.free_symbols or one.free_symbols != other.free_symbols:
        return False
    ratios = [_ratio(one, other, shift) for shift in range(5)]
    return all(ratio is not None for ratio in ratios) and all(_close(ratio, ratios[0], _EXACT) for ratio in ratios[1:]) and ratios[0] != 0


@lru_cache(maxsize=4096)
def parsed(text: str) -> Any:
    """A sympy expression, set or matrix, or None if the text is not one expression as a whole: words, two numbers, half of a bracket."""
    words = set(_WORDS.findall(_NAMED.sub(" ", text)))
    if not text.strip() or _NO_NUMBER.search(text) or words - _FUNCTIONS or "$" in text:
        return None
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, NormalizationConfig, latex2sympy

    normal = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False)
    tex = _PRODUCT.sub(lambda match: match[0] if match["applied"] else f"{match[0].strip()}\\cdot ", _tex(text))
    try:
        found = latex2sympy(tex, normalization_config=normal, conversion_config=ConversionConfig(lowercase_symbols=False))
        return _with_imaginary_unit(found)
    except Exception:  # whatever the parser raises: the text is no expression
        return None


def equal(one: Any, other: Any, relative: str) -> bool:
    """Of matrices: entry by entry. Raises whatever sympy cannot evaluate."""
    import sympy

    one, other = (side.doit().as_explicit() if isinstance(side, sympy.MatrixExpr) else side for side in (one, other))
    if isinstance(one, sympy.MatrixBase) or isinstance(other, sympy.MatrixBase):
        alike = isinstance(one, sympy.MatrixBase) and isinstance(other, sympy.MatrixBase) and one.shape == other.shape
        return alike and all(equal(a, b, relative) for a, b in zip(one.flat(), other.flat(), strict=True))
    if not isinstance(one, sympy.Expr) or not isinstance(other, sympy.Expr):
        return bool(one == other)
    if one == other:
        return True
    if not one.free_symbols and not other.free_symbols:
        return _same_constant(one, other, relative)
    return _agree(one, other)


def _same_constant(one: Any, other: Any, relative: str) -> bool:
    """Rationals exactly, as plain numbers are: "2^{100}" is not "2^{100}-1", of which 30 digits are the same."""
    one, other = one.doit(), other.doit()
    if one.is_Rational and other.is_Rational and (relative == _EXACT or (relative == _ROUNDED and _terminates(one) and _terminates(other))):
        return bool(one == other)
    a, b = _value(one, 0), _value(other, 0)
    if a is None or b is None:
        return False
    if _close(a, b, relative):
        return relative != _EXACT or not _differ(one, other)
    return bool(abs(a - b) < 1e-40) and (one - other).equals(0) is True  # a sum that cancels is nought only if it is proved


def _terminates(value: Any) -> bool:
    return terminates(Fraction(int(value.p), int(value.q)))


def _differ(one: Any, other: Any) -> bool:
    """Whether values that share 30 digits are proved to differ further on: "2^{1000}+\\pi" and "2^{1000}"."""
    from sympy.core.evalf import PrecisionExhausted

    try:
        return bool((one - other).evalf(5, maxn=_FURTHER, strict=True) != 0)
    except PrecisionExhausted:
        return False


def _agree(one: Any, other: Any) -> bool:
    """At the points where both have a value, of which there must be three; with unknown functions: as they stand."""
    from sympy.core.function import AppliedUndef

    if one.has(AppliedUndef) or other.has(AppliedUndef):
        return bool((one - other).expand() == 0)
    tried = 0
    for shift in range(len(_POINTS)):
        a, b = _value(one, shift), _value(other, shift)
        if a is None and b is None:
            continue
        if not _close(a, b, _EXACT):
            return False
        tried += 1
    return tried >= 3


def _value(expression: Any, shift: int) -> Any:
    """At point `shift` (each variable elsewhere, by its name), to 50 digits; None where there is none."""
    import sympy

    symbols = sorted(expression.free_symbols, key=lambda symbol: symbol.name)
    points = {symbol: _point(symbol.name, shift) for symbol in symbols}
    found = sympy.N(expression.doit().subs(points), _DIGITS)
    if found in (sympy.oo, -sympy.oo):
        return found
    return found if found.is_number and found.is_finite and not found.has(sympy.nan, sympy.zoo) else None


def _point(name: str, shift: int) -> Any:
    import sympy

    return sympy.Rational(_POINTS[(shift + sum(name.encode())) % len(_POINTS)]) + sympy.Rational(sum(name.encode()), 997)


def _close(one: Any, other: Any, relative: str) -> bool:
    import sympy

    if one is None or other is None:
        return False
    if one == other:
        return True
    if not one.is_finite or not other.is_finite:
        return False
    size = max(abs(one), abs(other))
    return bool(abs(one - other) <= sympy.Float(relative, _DIGITS) * size)


def _ratio(one: Any, other: Any, shift: int) -> Any:
    a, b = _value(one, shift), _value(other, shift)
    return None if a is None or not b else a / b


def _same_sets(one: Any, other: Any) -> bool:
    from math_verify import verify

    return bool(verify(one, other, timeout_seconds=None))


def _tex(text: str) -> str:
    """Decimals as fractions, primes as part of a name, a repeating decimal's overline as its fraction, upright letters as letters."""
    plain = re.sub(r"\\text\s*\{\s*([A-Za-z])\s*\}", r"{\1}", text)
    named = re.sub(r"([A-Za-z])('+)", lambda match: f"{match[1]}_{{{'p' * len(match[2])}}}", plain)
    named = _REPEATING.sub(_repeating, named)
    return _DECIMAL.sub(lambda match: f"(\\frac{{{int(match[1] + match[2])}}}{{{10 ** len(match[2])}}})", named)


def _repeating(match: re.Match[str]) -> str:
    whole, start, period = match.groups()
    under = 10 ** len(start) * (10 ** len(period) - 1)
    over = int(f"0{whole}{start}{period}") - int(f"0{whole}{start}")
    return f"(\\frac{{{over}}}{{{under}}})"


def _with_imaginary_unit(found: Any) -> Any:
    import sympy

    unit = sympy.Symbol("i")
    return found.subs(unit, sympy.I) if unit in getattr(found, "free_symbols", ()) else found
