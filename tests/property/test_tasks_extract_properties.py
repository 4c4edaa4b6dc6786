"""Properties of the extractors: total, stripped, part of the text, and inverse to their own notation."""

from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.configuration.settings import EXTRACTORS
from npo_pipeline.tasks.judging.extract import demonstrate, extract_answer

MARKS = st.sampled_from(["\\boxed{", "{", "}", "\\", "<answer>", "</answer>", "####", "\n", " ", "1,234", "-5.5", "x", "$"])
RESPONSES = st.one_of(st.text(), st.lists(MARKS).map("".join))
KINDS = st.sampled_from(EXTRACTORS)
BALANCED = st.recursive(
    st.text("abc 0123+-^_,.", min_size=1, max_size=8),
    lambda inner: st.lists(st.one_of(inner, inner.map("{{{}}}".format), inner.map("\\frac{{{}}}{{2}}".format)), min_size=1, max_size=4).map(
        "".join
    ),
    max_leaves=12,
).filter(lambda text: text.strip())


@given(RESPONSES, KINDS)
def test_answers_are_parts_of_the_text(text: str, kind: str) -> None:
    answer = extract_answer(text, kind)
    assert answer is None or (answer and answer == answer.strip() and answer in text)


@given(BALANCED, RESPONSES.filter(lambda text: "\\" not in text and "{" not in text and "}" not in text))
def test_boxed_gives_back_what_was_boxed(content: str, around: str) -> None:
    assert extract_answer(f"{around}\\boxed{{{content}}}{around}", "boxed") == content.strip()


@given(st.integers(), st.sampled_from(["", "so ", "= $"]))
def test_last_number_finds_whole_numbers(number: int, before: str) -> None:
    assert extract_answer(f"3 {before}{number}", "last_number") == str(number)
    assert extract_answer(f"3 {before}{number:,}.", "last_number") == f"{number:,}"


@given(
    st.text("abc123 ", min_size=1).filter(lambda text: text.strip()), st.sampled_from(["whole", "last_line", "answer_tag", "hash", "boxed"])
)
def test_demonstrate_is_the_inverse(answer: str, kind: str) -> None:
    assert extract_answer(demonstrate(answer, kind), kind) == answer.strip()


@given(RESPONSES)
def test_auto_finds_an_answer_wherever_there_is_text(text: str) -> None:
    assert (extract_answer(text, "auto") is None) == (not text.strip())
