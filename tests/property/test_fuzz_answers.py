"""Answers of any shape, judged by the real scorers in real worker processes: a verdict for each, right ones stay right, nothing runs."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fuzzing import TEXTS, cases
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import EXTRACTORS, VerifierConfig
from npo_pipeline.records import Problem
from npo_pipeline.tasks.gym import load_problems
from npo_pipeline.tasks.judging.verify import Verifier

GYM = ("countdown", "polynomial_multiplication", "n_queens", "simple_integration")
PROOF = "/tmp/npo-fuzz-proof-" + str(os.getpid())
PIECES = [
    "\\frac", "\\sqrt", "{", "}", "(", ")", "[", "]", "^", "_", "\\left", "\\right", "\\cup", "\\infty", "\\text{", "\\begin{pmatrix}", "&",
    "1", "-", "+", "*", "**", "/", "!", "=", ",", ".", " ", "x", "7", "99", "0", "e", "pi", "i", "\\%", "$", "\\boxed{", "\n", "'", '"',
    "<answer>", "</answer>", "####", "open", "eval", "__class__", "lambda:", f"open('{PROOF}','w')", f"__import__('os').mknod('{PROOF}')",
    "sin", "factorial(", "Integral(", "Symbol('x')", "for", "in", "if", "\x00", "\u202e", "\ud800", "9" * 400, "10^{10^{10}}"[:7],
]  # fmt: skip
ANSWERS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), TEXTS)


def math_problems() -> list[Problem]:
    references = ["7", "1/2", "\\frac{3}{4}", "x+1", "\\sqrt{2}", "(1,2)", "50\\%", "blue"]
    return [Problem(f"train-{i}", "train", "?", reference, "all", "?", (1,)) for i, reference in enumerate(references)]


def gym_problems(name: str) -> list[Problem]:
    task = replace(load_root(overrides=["task=reasoning_gym", f"task.name={name}"]).task, train_size=2, eval_size=1)
    return [Problem(**vars(raw), prompt="?", prompt_token_ids=(1,)) for raw in load_problems(task)[0]]


@pytest.fixture(scope="module", params=["math", "reasoning_gym"])
def judge(request: pytest.FixtureRequest) -> Iterator[tuple[list[Problem], Verifier]]:
    problems = math_problems() if request.param == "math" else [p for name in GYM for p in gym_problems(name)]
    with Verifier(VerifierConfig(request.param, "whole", 1.0)) as verifier:
        assert all(verdict.verified for verdict in verifier.judge([(problem, problem.answer) for problem in problems]))
        yield problems, verifier


@cases(20)
@given(st.data())
def test_answers(judge: tuple[list[Problem], Verifier], data: st.DataObject) -> None:
    """Twenty answers at a time, with a right one for every problem among them."""
    problems, verifier = judge
    tried = [(data.draw(st.sampled_from(problems)), answer) for answer in data.draw(st.lists(ANSWERS, min_size=20, max_size=20))]
    verdicts = verifier.judge([*tried, *((problem, problem.answer) for problem in problems)])
    assert len(verdicts) == len(tried) + len(problems)
    assert all(verdict.verified for verdict in verdicts[len(tried) :])
    assert not Path(PROOF).exists()


@cases()
@given(ANSWERS, st.sampled_from(EXTRACTORS))
def test_exact_answers(text: str, extract: str) -> None:
    with Verifier(VerifierConfig("exact", extract, 1.0)) as verifier:
        assert [verdict.reward in (0.0, 1.0) for verdict in verifier.judge([(math_problems()[0], text)])] == [True]
