"""What counts as equal (docs/verdicts.md): cases of public bug reports with their neighbours, and the public tests of other graders.

`data/grader_pairs.jsonl` holds pairs out of the tests of math-verify, hendrycks/math, NeMo-Skills and two smaller graders: `theirs` is
their verdict, `right` is ours, and `why` says why it differs.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from npo_pipeline.tasks.judging.extract import extract_answer
from npo_pipeline.tasks.maths.mathematics import same_value

DATA = Path(__file__).parent / "data"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", rows("verdicts.jsonl"), ids=lambda case: f"{case['kind']}: {case['reference']}")
def test_verdict(case: dict[str, Any]) -> None:
    answer = extract_answer(case["text"], case["extract"]) if "text" in case else case["answer"]
    assert same_value(case["reference"], answer or "") is case["right"]


def test_pairs_of_other_graders() -> None:
    pairs = rows("grader_pairs.jsonl")
    assert len(pairs) >= 300
    assert [pair for pair in pairs if same_value(pair["reference"], pair["answer"]) is not pair["right"]] == []
    assert all("why" in pair for pair in pairs if pair["theirs"] is not pair["right"])


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("auto", "it is $\\frac{1}{2}$.", "\\frac{1}{2}"),
        ("auto", "it is \\sqrt{2}", "\\sqrt{2}"),
        ("auto", "h = 6.6\\times10^{-34}", "6.6\\times10^{-34}"),
        ("auto", "#### 1. Identify\nIt is 9", "9"),
        ("auto", "#### Answer\n\\boxed{5}", "5"),
        ("auto", "#### 72\nUser: next", "72"),
        ("last_number", "3 1/2 cups", "3 1/2"),
        ("last_number", "pages 3\N{EN DASH}5", "5"),
        ("last_number", "x = - \\frac{1}{2}", "- \\frac{1}{2}"),
        ("last_number", "2\\sqrt{3}/3", "2\\sqrt{3}/3"),
        ("last_number", "\\frac{\\sqrt{\\frac{3}{4}}}{2}", "\\frac{\\sqrt{\\frac{3}{4}}}{2}"),
        ("last_number", "7 is no \\frac{x}{y}", "7"),
        ("last_number", "x_1 = 5 of x_2", "5"),
        ("last_number", "5 m/s^2", "5"),
        ("last_number", "100\N{GREEK SMALL LETTER PI} cm^2", "100\N{GREEK SMALL LETTER PI}"),
        ("last_number", "5 != 4", "4"),
        ("last_number", "Answers:\n- 5", "5"),
        ("boxed", "\\boxed 4$.", "4"),
        ("boxed", "\\boxed \\frac{1}{2}$.", "\\frac{1}{2}"),
        ("boxed", "\\boxed{8 \\boxed{9}}", "8 \\boxed{9}"),
        ("boxed", "\\fbox{\\boxed{9}}", "9"),
    ],
)
def test_extraction(kind: str, text: str, expected: str) -> None:
    assert extract_answer(text, kind) == expected
