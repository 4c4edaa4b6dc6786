"""The verifier with the real scorers in real worker processes: what is right, what is not, and what an answer may cost."""

import dataclasses
import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.errors import DataError
from npo_pipeline.records import Problem
from npo_pipeline.tasks.judging.sandbox import check_expression
from npo_pipeline.tasks.judging.verify import Verdict, Verifier
from npo_pipeline.tasks.sources import load_problems

HANGS = "9**9**9**9"  # countdown's scorer evaluates arithmetic


@functools.cache
def gym_problems(name: str, count: int = 8) -> list[Problem]:
    task = dataclasses.replace(load_root(overrides=["task=reasoning_gym", f"task.name={name}"]).task, train_size=count, eval_size=1)
    return [
        Problem(p.problem_id, p.split, p.question, p.answer, p.difficulty, p.question, (1,), p.metadata) for p in load_problems(task)[0]
    ]


def math_problem(answer: str, name: str = "train-000000") -> Problem:
    return Problem(name, "train", "?", answer, "all", "?", (1,))


def worker_pids() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.name == "pebble_pool_worker" and child.pid}


def verified(verifier: Verifier, items: list[tuple[Problem, str]]) -> list[bool]:
    verdicts = verifier.judge(items)
    assert all(verdict.reward == float(verdict.verified) for verdict in verdicts)
    return [verdict.verified for verdict in verdicts]


@pytest.fixture(scope="module")
def math() -> Iterator[Verifier]:
    with Verifier(VerifierConfig("math", "whole", 2.0)) as verifier:
        yield verifier


@pytest.fixture(scope="module")
def gym() -> Iterator[Verifier]:
    with Verifier(VerifierConfig("reasoning_gym", "whole", 2.0)) as verifier:
        yield verifier


@pytest.mark.parametrize(
    "name",
    ["chain_sum", "number_sorting", "gcd", "spell_backward", "countdown", "base_conversion", "polynomial_multiplication", "n_queens"],
)
def test_reference_verifies_and_wrong_text_does_not(gym: Verifier, name: str) -> None:
    problems = gym_problems(name)
    assert verified(gym, [(p, p.answer) for p in problems]) == [True] * len(problems)
    for wrong in ("", "I do not know", "[1", "{}", "0x", "1/0"):
        assert verified(gym, [(p, wrong) for p in problems]) == [False] * len(problems), wrong
    assert verified(gym, [(p, f"{p.answer} zzz") for p in problems]) == [False] * len(problems)


def test_shares_and_consolation_points_are_not_verified(gym: Verifier) -> None:
    problems = gym_problems("caesar_cipher")  # scored by the default scorer, which gives a share for a text that holds the answer
    assert verified(gym, [(p, f"{p.answer}.") for p in problems]) == [False] * len(problems)


def test_answer_is_extracted_first() -> None:
    problem = gym_problems("chain_sum", 2)[0]
    with Verifier(VerifierConfig("reasoning_gym", "answer_tag", 2.0)) as verifier:
        assert verified(verifier, [(problem, f"so <answer>{problem.answer}</answer>"), (problem, problem.answer)]) == [True, False]


def test_scorer_that_raises_costs_its_sample_only(gym: Verifier) -> None:
    problems = gym_problems("prime_factorization")  # its scorer raises ValueError on text
    answers = ["one times two", *(p.answer for p in problems[1:])]
    assert verified(gym, list(zip(problems, answers, strict=True))) == [False] + [True] * 7


@pytest.mark.parametrize("hanging", [1, 6])
def test_scorer_that_hangs_costs_its_samples_only(hanging: int) -> None:
    problems = gym_problems("countdown", 80)
    with Verifier(VerifierConfig("reasoning_gym", "whole", 1.0)) as verifier:
        items = [(p, f"{HANGS} + {i}" if 5 <= i < 5 + hanging else p.answer) for i, p in enumerate(problems)]
        assert verified(verifier, items) == [not 5 <= i < 5 + hanging for i in range(80)]


def test_worker_that_dies_costs_nobody_else() -> None:
    problems, others = gym_problems("countdown", 4), worker_pids()
    with Verifier(VerifierConfig("reasoning_gym", "whole", 4.0)) as verifier:
        verifier.judge([(problems[0], problems[0].answer)])
        (worker,) = worker_pids() - others
        killer = threading.Timer(1.0, os.kill, (worker, signal.SIGKILL))  # while it is busy with the answer that hangs
        killer.start()
        assert verified(verifier, [(problems[0], HANGS), *((p, p.answer) for p in problems)]) == [False] + [True] * 4


def test_worker_that_dies_idle_is_replaced(gym: Verifier) -> None:
    problem = gym_problems("chain_sum", 2)[0]
    gym.judge([(problem, problem.answer)])
    for pid in worker_pids():
        os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    assert verified(gym, [(problem, problem.answer)]) == [True]


def test_answers_are_never_evaluated(gym: Verifier, tmp_path: Path) -> None:
    proof = tmp_path / "evaluated"
    attacks = [
        f"open('{proof}', 'w')",
        f"[open('{proof}', 'w')]",
        f"__import__('os').system('touch {proof}')",
        f"sympify(\"open('{proof}', 'w')\")",
    ]
    for name in (
        "countdown",
        "polynomial_multiplication",
        "n_queens",
        "spiral_matrix",
        "binary_matrix",
        "string_insertion",
        "simple_integration",
    ):
        problem = gym_problems(name, 2)[0]
        assert verified(gym, [(problem, attack) for attack in attacks]) == [False] * len(attacks)
    assert not proof.exists()


@pytest.mark.parametrize("code", ["Integer (3 )+Symbol ('x')", "sin (Symbol ('x'))*Integer (2 )**-Integer (1 )"])
def test_arithmetic_passes_the_sandbox(code: str) -> None:
    check_expression(code)


@pytest.mark.parametrize(
    "code", ["open('x')", "x.__class__", "lambdify('x', 'y')", "[x for x in y]", "lambda: 1", "Symbol('a b;c')", "f()()"]
)
def test_more_than_arithmetic_does_not(code: str) -> None:
    with pytest.raises(ValueError, match="in an answer"):
        check_expression(code)


def test_scorers_that_print_stay_quiet(gym: Verifier, capfd: pytest.CaptureFixture[str]) -> None:
    problems = gym_problems("sokoban", 3)
    gym.judge([(p, p.answer) for p in problems] + [(p, "UDLR?") for p in problems])
    assert capfd.readouterr().out == ""


def test_problem_of_another_version_is_refused(gym: Verifier) -> None:
    problem = gym_problems("chain_sum", 2)[0]
    other = Problem(**vars(problem) | {"answer": "12345678"})
    with pytest.raises(DataError, match=r"task.name=chain_sum: entry \d+ was made again with the answer"):
        gym.judge([(other, "1")])


def test_problem_of_another_source_is_refused(gym: Verifier) -> None:
    with pytest.raises(DataError, match=r"problem train-000000: metadata has no 'dataset'"):
        gym.judge([(math_problem("72"), "72")])


SAME = [
    ("72", "72.0"), ("1000", "$1,000"), ("1000", "\\$1,000.00"), ("1,000", "1000"), ("-3", "- 3"), ("-3", "\N{MINUS SIGN}3"),
    ("0.5", ".5"), ("72", "**72**."), ("1/2", "0.5"), ("1/2", "\\frac{1}{2}"), ("\\frac{1}{2}", "\\frac12"), ("\\sqrt{2}", "$\\sqrt2$"),
    ("72", "\\(72\\)"), ("72", "\\boxed{72}"), ("x+1", "1+x"), ("72", "48+24 = 72"), ("50\\%", "50%"), ("\\{1,2\\}", "\\{2, 1\\}"),
    ("72", "72 apples"), ("blue", "Blue"), ("(1,2)", "(1, 2)"),
]  # fmt: skip
DIFFERENT = [
    ("72", "73"), ("72", "-72"), ("72", "72 and 7 more"), ("73", "72 or 73"), ("3", "x - 3"), ("11:12", "12:12"), ("9", "7 2"),
    ("blue", "lube"), ("1/3", "0.33"), ("72", ""), ("72", "seventy-two"), ("5", "5 = 72"), ("72", "720"), ("72", "\\frac{72}"),
    ("72", "\x00"), ("1", "1/0"), ("72", "7.2e"),
]  # fmt: skip


def test_same_values_verify_and_others_do_not(math: Verifier) -> None:
    pairs = SAME + DIFFERENT
    found = verified(math, [(math_problem(reference, f"train-{i}"), answer) for i, (reference, answer) in enumerate(pairs)])
    assert [pair for pair, right in zip(pairs, found, strict=True) if right] == SAME


@pytest.mark.parametrize("heavy", ["9^{9^{9^9}}", "(1000000000)!", "\\frac{" * 3000, "(" * 100_000])
def test_heavy_mathematics_costs_its_sample_only(math: Verifier, heavy: str) -> None:
    items = [(math_problem("7"), heavy), *((math_problem(str(i), f"train-{i}"), f"{i}.0") for i in range(100))]
    assert verified(math, items) == [False] + [True] * 100


def test_exact_compares_words_in_this_process() -> None:
    before = worker_pids()
    with Verifier(VerifierConfig("exact", "last_line", 1.0)) as verifier:
        assert verifier.judge([(math_problem("a  b"), "x\n a b ")]) == [Verdict(1.0, True)]
        assert verifier.judge([(math_problem("72"), "72.0"), (math_problem("72"), "")]) == [Verdict(0.0, False)] * 2
        assert worker_pids() <= before


def test_order_and_repeats_are_kept(math: Verifier) -> None:
    items = [(math_problem("1", "a"), "1"), (math_problem("2", "b"), "1"), (math_problem("1", "a"), "1"), (math_problem("2", "b"), "2")]
    assert verified(math, items) == [True, False, True, True]
    assert math.judge([]) == []


def test_two_workers_agree_with_one(math: Verifier) -> None:
    items = [(math_problem(str(i % 7), f"train-{i}"), f"\\frac{{{i}}}{{2}}") for i in range(200)]
    with Verifier(VerifierConfig("math", "whole", 2.0), workers=2) as two:
        assert two.judge(items) == math.judge(items)


@pytest.mark.slow
def test_every_reasoning_gym_reference_verifies(gym: Verifier) -> None:
    import reasoning_gym

    without_reference = {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
    for name in sorted(set(reasoning_gym.factory.DATASETS) - without_reference - {"composite"}):
        problems = gym_problems(name, 2)
        assert verified(gym, [(p, p.answer) for p in problems]) == [True] * len(problems), name
