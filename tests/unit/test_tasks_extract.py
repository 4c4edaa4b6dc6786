"""The extractors on responses as models write them."""

import time

import pytest

from npo_pipeline.configuration.settings import EXTRACTORS
from npo_pipeline.tasks.judging.extract import demonstrate, extract_answer

CASES = [
    ("whole", "  72 \n", "72"),
    ("whole", " \n\t ", None),
    ("last_line", "thinking\n\n 72 \n\n", "72"),
    ("last_line", "", None),
    ("answer_tag", "<answer>1</answer> no, <answer> 72 </answer> done", "72"),
    ("answer_tag", "<answer>72</answer> </answer>", "72"),
    ("answer_tag", "<answer>72</answer> and <answer>never closed", "72"),
    ("answer_tag", "</answer><answer>", None),
    ("answer_tag", "<answer></answer>", None),
    ("hash", "48 + 24 = 72\n#### 72\nUser: next question", "72"),
    ("hash", "#### 5\n#### 72", "72"),
    ("hash", "##### 72", "72"),
    ("hash", "####\n72", None),
    ("hash", "### 72", None),
    ("boxed", r"so \boxed{1} or \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
    ("boxed", r"\boxed {72}", "72"),
    ("boxed", r"\\boxed{72}", "72"),
    ("boxed", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    ("boxed", r"\boxed{72} \boxed{never closed", "72"),
    ("boxed", r"} } {\boxed{72}", "72"),
    ("boxed", r"\boxed{ }", None),
    ("boxed", "boxed{72}", None),
    ("last_number", "5-3 = 2, or $1,200.50.", "1,200.50"),
    ("last_number", "1,2,3", "3"),
    ("last_number", "it is -4", "-4"),
    ("last_number", "5-3", "3"),
    ("last_number", "about .5 of it", ".5"),
    ("last_number", "so...7", "7"),
    ("last_number", "1.5e-3 m", "1.5e-3"),
    ("last_number", "none", None),
    ("auto", r"<answer>1</answer> \boxed{2} 3" + "\n#### 4", "4"),
    ("auto", r"<answer>1</answer> \boxed{2} 3", "1"),
    ("auto", r"\boxed{2} 3", "2"),
    ("auto", "1 and 3", "3"),
    ("auto", "the sky\nis blue", "is blue"),
    ("auto", "", None),
]


@pytest.mark.parametrize(("kind", "text", "expected"), CASES)
def test_extracts(kind: str, text: str, expected: str | None) -> None:
    assert extract_answer(text, kind) == expected


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_demonstration_holds_its_answer(kind: str) -> None:
    assert extract_answer(demonstrate("72", kind), kind) == "72"


@pytest.mark.parametrize("kind", EXTRACTORS)
@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "\\boxed ",
        "\\",
        "{",
        "}",
        "<answer>",
        "</answer>",
        "####",
        "1,",
        "123,",
        "1",
        "-",
        "1.",
        "1e",
        " ",
        "\n",
        "<answer",
        "####\n",
        "\\frac{",
        "\\frac{{1}",
        "(1",
        "^{",
        "1/",
        "1!",
        "\\boxed \\frac{1}",
    ],
)
def test_a_million_characters_take_linear_time(kind: str, piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    extract_answer(text, kind)
    assert time.process_time() - start < 5  # quadratic time would be hours
