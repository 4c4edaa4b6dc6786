"""Properties of verdicts: a number is itself however it is written, no other number is, several are never one, no text is an error."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.tasks.maths.mathematics import same_value

WHOLE = st.integers(-(10**9), 10**9)
MARKS = [
    *(
        "\\boxed{",
        "}",
        "{",
        "$",
        "\\(",
        "\\)",
        "\\text{",
        "9",
        "8",
        ",",
        " ",
        "=",
        "x",
        "^",
        "\\frac",
        "%",
        "(",
        "]",
        "\\cup",
        "|",
        "\\pm",
        "_",
    ),
    *("\N{VULGAR FRACTION ONE HALF}", "\N{SQUARE ROOT}", "\N{EN DASH}", ":"),
]
HEDGES = [
    *("{}; {}", "{} or {}", "{} and \\boxed{{{}}}", "${}$, ${}$", "\\boxed{{{}}}\\boxed{{{}}}", "{}={}", "{} \\approx {}"),
    *("\\{{{},{}\\}}", "${}$ ${}$", "x={} or x={}", "\\boxed{{{}}} {}", "{} ({})", "{}: {}"),
]
WRAPPERS = ["{}", "${}$", "\\({}\\)", "\\[{}\\]", "\\boxed{{{}}}", "**{}**", "x = {}", "{}.", "\\text{{{}}}", "{} \\text{{ cm}}", " {} "]


def written(number: int) -> list[str]:
    """Ways to write a whole number."""
    sign, size = ("-" if number < 0 else ""), abs(number)
    return [
        str(number),
        f"{number:,}",
        f"{number:,}".replace(",", "\\,"),
        f"{number:,}".replace(",", "{,}"),
        f"{number}.00",
        f"{sign}{size}e0",
        f"{number}\\times10^{{0}}",
        f"\\frac{{{2 * number}}}{{2}}",
        f"{3 * number}/3",
        str(number).replace("-", "\N{MINUS SIGN}"),
    ]


RENDERED = WHOLE.flatmap(lambda number: st.tuples(st.just(number), st.sampled_from(written(number)), st.sampled_from(WRAPPERS)))


@given(RENDERED)
def test_a_number_is_itself_however_written(rendered: tuple[int, str, str]) -> None:
    number, form, wrapper = rendered
    assert same_value(str(number), wrapper.format(form))
    assert same_value(form, str(number))


@given(RENDERED, RENDERED)
def test_two_numbers_are_never_the_same(one: tuple[int, str, str], other: tuple[int, str, str]) -> None:
    assert same_value(one[2].format(one[1]), other[2].format(other[1])) == (one[0] == other[0])


@given(WHOLE, WHOLE, st.sampled_from(HEDGES))
def test_a_hedge_never_passes(right: int, wrong: int, hedge: str) -> None:
    if right != wrong:
        assert not same_value(str(right), hedge.format(wrong, right))
        assert not same_value(str(right), hedge.format(right, wrong))


@given(st.integers(-999, 999), st.integers(1, 999), st.integers(-999, 999), st.integers(1, 999))
def test_fractions_are_compared_exactly(a: int, b: int, c: int, d: int) -> None:
    assert same_value(f"\\frac{{{a}}}{{{b}}}", f"{c}/{d}") == (Fraction(a, b) == Fraction(c, d))


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(MARKS), max_size=9).map("".join)), st.sampled_from(["9", "(1,2)", "x=9", "5 cm", "yes"])
)
def test_no_text_is_an_error(text: str, reference: str) -> None:
    assert same_value(reference, text) in (True, False)
    assert same_value(text, reference) in (True, False)
