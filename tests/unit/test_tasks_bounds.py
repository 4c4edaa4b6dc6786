"""What an answer may cost: the bounds of a real worker process, and what holds for the answers beside the one that hits them."""

import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_tasks_verify import gym_problems, math_problem, verified, worker_pids

from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.tasks.judging.sandbox import KEPT_BYTES, MEMORY_BYTES, memory_is_short
from npo_pipeline.tasks.judging.scoring import judge_chunk
from npo_pipeline.tasks.judging.verify import Verifier
from npo_pipeline.tasks.judging.workers import Workers

KINDS = ("math", "reasoning_gym")


@pytest.fixture(scope="module", params=KINDS)
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    with Workers(request.param) as workers:
        yield workers


def memory_of(pid: int) -> tuple[int, int]:
    """The bytes of address space that a process has, and the most it ever had."""
    found = dict(re.findall(r"^(VmSize|VmPeak):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
    return int(found["VmSize"]) * 1024, int(found["VmPeak"]) * 1024


def test_memory_has_a_bound_that_counts_from_what_the_libraries_take(workers: Workers) -> None:
    pid, (limit, _), fits, too_much = workers.map(
        call, [(os.getpid,), (resource.getrlimit, resource.RLIMIT_AS), (allocate, MEMORY_BYTES // 2), (allocate, MEMORY_BYTES)], 20
    )
    size, peak = memory_of(pid)
    assert 0 < limit - MEMORY_BYTES < 2**29  # what a worker takes to begin with
    assert peak <= limit
    assert size < limit - MEMORY_BYTES // 2  # what was allocated has gone back
    assert fits == MEMORY_BYTES // 2
    assert isinstance(too_much, MemoryError)


def test_no_file_gets_a_byte_and_no_crash_leaves_an_image(workers: Workers, tmp_path: Path) -> None:
    """The image: gigabytes, in the folder that the run was started in."""
    written, core = workers.map(call, [(Path.write_text, tmp_path / "file", "text"), (resource.getrlimit, resource.RLIMIT_CORE)], 20)
    assert isinstance(written, OSError)
    assert (tmp_path / "file").read_bytes() == b""
    assert core[0] == 0


def test_what_earlier_answers_left_in_caches_costs_later_ones_nothing() -> None:
    with Workers("math") as workers:
        calls = [(keep_in_sympy, KEPT_BYTES * 2), (memory_is_short,), (judge_chunk, "math", 5.0, [({}, "1/2", "\\frac{2}{4}")])]
        assert workers.map(call, [*calls, (memory_is_short,)], 20) == [None, True, [True], False]


def test_a_worker_says_nothing_of_what_it_reads(workers: Workers, capfd: pytest.CaptureFixture[str]) -> None:
    """Terminal control codes, a title of the window: whatever a scorer or a library prints, neither channel is the run's."""
    assert workers.map(call, [(os.write, channel, b"\x1b[2J") for channel in (1, 2)], 20) == [4, 4]
    assert capfd.readouterr() == ("", "")


def test_a_crash_in_c_costs_its_answer_only() -> None:
    with Workers("math") as workers:
        done, crashed, after = workers.map(call, [(abs, -1), (os.abort,), (abs, -2)], 20)
    assert (done, after) == (1, 2)
    assert type(crashed).__name__ == "ProcessExpired"


def call(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


def allocate(size: int) -> int:
    return len(bytearray(size))


def keep_in_sympy(size: int) -> None:
    from sympy.core.cache import cacheit

    cacheit(bytearray)(size)


# The first cannot be interrupted from within and costs a worker; the next five run until their time is over.
HOSTILE = [
    "10^{10^{10}}", "((((9!)!)!)!)!", "\\frac{" * 3000, "{" * 100_000, "1," * 100_000, "\\boxed{" * 20_000,
    "1e999999", "1e999999999999", "9" * 1_000_000, "0." + "9" * 1_000_000, "-" * 1_000_000 + "1", " " * 1_000_000 + "x",
    "__import__('os').system('touch {proof}')", "open('{proof}', 'w')", "().__class__.__base__.__subclasses__()", "\\input{/etc/passwd}",
    "lambdify('x', \"open('{proof}', 'w')\")", "[x for x in open('{proof}', 'w')]", "${jndi:ldap://x}", "{{7*7}}", "%s%n", "'; rm -rf / #",
    "\x00", "7\x007", "\ud800", "\u202e7", "\x1b]0;title\x07\x1b[2J", "1e400 - 1e400", "nan", "inf", "None", "True",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_hostile_answer_is_right_runs_or_costs_another_its_verdict(kind: str, tmp_path: Path) -> None:
    attacks = [answer.replace("{proof}", str(tmp_path / "proof")) for answer in HOSTILE]
    if kind == "math":
        good = [(math_problem(f"{i}/7", f"train-{i}"), f"\\frac{{{i}}}{{7}}") for i in range(1, 9)]
    else:
        good = [(problem, problem.answer) for problem in gym_problems("countdown", 8)]
    others = worker_pids()
    with Verifier(VerifierConfig(kind, "whole", 0.5), workers=2) as verifier:
        assert verified(verifier, good[:4]) == [True] * 4
        found = verified(verifier, [*good[4:], *((good[0][0], attack) for attack in attacks), *good])
        assert found == [True] * 4 + [False] * len(attacks) + [True] * 8
        assert all(memory_of(pid)[1] < 2**29 + MEMORY_BYTES for pid in worker_pids() - others)
    assert not (tmp_path / "proof").exists()
