"""How many answers a second the verifiers judge: in the pool of processes that a run uses, with its bounds, and in this process without.

    python tests/benchmarks/bench_verifiers.py --out DIR [--answers 1000] [--rounds 3] [--workers 2] [--step-seconds S]

Answers are real ones: worked solutions of GSM8K for exact match and math-verify, half of them to another question and so wrong, and as
LaTeX, which math-verify must parse; the answers of reasoning-gym tasks to their own and to other entries. Each answer is another one,
and each round writes the LaTeX in another way: equal ones would be judged once. The last column is what 1,000 answers, a large step's,
take in a pool of one as a share of the step: `--step-seconds`, by default the sampling of 1,000 answers of 24 tokens at 12,200 tokens
a second, the most that was measured on one core (the tiny policy on the transformers engine). Other policies are slower to sample.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from harness import PROJECT, in_turn, medians, parser, write

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.records import Problem
from npo_pipeline.tasks.gym import load_problems
from npo_pipeline.tasks.judging.extract import extract_answer
from npo_pipeline.tasks.judging.scoring import judge_chunk
from npo_pipeline.tasks.judging.verify import Verifier

GYM = ("chain_sum", "number_sorting", "countdown")  # whose entries come out the same whatever the string hash of this process
STEP = 1000 * 24 / 12_200  # seconds
Items = list[tuple[Problem, str]]


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    found = parser(__doc__)
    found.add_argument("--answers", type=int, default=1000)
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--workers", type=int, default=2, help="processes of the larger pool")
    found.add_argument("--step-seconds", type=float, default=STEP, help="what a step of 1,000 answers takes to sample")
    return found.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    given = options(arguments)
    count, rounds = (20, 1) if given.smallest else (given.answers, given.rounds)
    kinds = cases(count, GYM[:1] if given.smallest else GYM, rounds + 1)
    found = {name: measure(config, turns, given.workers, given.step_seconds) for name, (config, turns) in kinds.items()}
    names = ("in process", "pool of 1", f"pool of {given.workers}")
    step = f"1,000 answers, share of a step of {given.step_seconds:.1f} s"
    columns = ["answers per second", *names, "pool of 1 over in process", f"{names[2]} over pool of 1", step]
    rows = [[name, *(f"{value:,.0f}" for value in list(row.values())[:3]), *list(row.values())[3:]] for name, row in found.items()]
    write(given.out, "verifiers", {"answers": count, "rounds": rounds, "answers_per_second": found}, columns, rows)


def cases(count: int, tasks: Sequence[str], rounds: int) -> dict[str, tuple[VerifierConfig, list[Items]]]:
    """What is judged by which verifier: the answers of each round."""
    plain = [gsm8k(count)] * rounds
    found = {
        "exact: GSM8K solutions": (VerifierConfig("exact", "hash", 5.0), plain),
        "math-verify: GSM8K solutions": (VerifierConfig("math", "hash", 5.0), plain),
        "math-verify: as LaTeX": (VerifierConfig("math", "boxed", 5.0), [gsm8k(count, turn + 2) for turn in range(rounds)]),
    }
    return found | {
        f"reasoning-gym: {name}": (VerifierConfig("reasoning_gym", "whole", 5.0), [gym(count, name)] * rounds) for name in tasks
    }


def gsm8k(count: int, factor: int | None = None) -> Items:
    """Solutions of GSM8K, every other one to another question. With a factor, 2 say, as LaTeX: 72 is \\frac{144}{2}, in a box."""
    rows = [json.loads(line) for line in (PROJECT / "data/gsm8k/train.jsonl").read_text().splitlines()[:count]]
    problems = [problem(f"train-{i}", row["question"], row["answer"].rpartition("####")[2].strip()) for i, row in enumerate(rows)]
    texts = [boxed(one.answer, factor) for one in problems] if factor else [row["answer"] for row in rows]
    return [(one, texts[i] if i % 2 else texts[i - 1]) for i, one in enumerate(problems)]


def problem(name: str, question: str, answer: str) -> Problem:
    return Problem(name, "train", question, answer, "all", question, (1,))


def boxed(answer: str, factor: int) -> str:
    return f"so it is \\boxed{{\\frac{{{factor * int(answer.replace(',', ''))}}}{{{factor}}}}}"


def gym(count: int, name: str) -> Items:
    """The answers of a reasoning-gym task, every other one to another entry."""
    task = replace(load_root(overrides=["task=reasoning_gym", f"task.name={name}"]).task, train_size=count, eval_size=1)
    problems = [Problem(**vars(raw), prompt="", prompt_token_ids=(1,)) for raw in load_problems(task)[0]]
    return [(one, one.answer if i % 2 else problems[i - 1].answer) for i, one in enumerate(problems)]


def in_process(config: VerifierConfig, items: Items) -> list[bool]:
    """Extract and judge here, as the workers do, though with no bound on memory and no other process to lose."""
    answers = [extract_answer(text, config.extract) or "" for _, text in items]
    pairs = [(one.metadata, one.answer, answer) for (one, _), answer in zip(items, answers, strict=True)]
    return [a.split() == b.split() for _, a, b in pairs] if config.kind == "exact" else judge_chunk(config.kind, 5.0, pairs)


def in_pool(pool: Verifier, items: Items) -> list[bool]:
    return [verdict.verified for verdict in pool.judge(items)]


def judged(work: Callable[[Items], list[bool]], turns: Iterator[Items], found: list[list[bool]]) -> None:
    found.append(work(next(turns)))


def measure(config: VerifierConfig, turns: list[Items], workers: int, step_seconds: float) -> dict[str, float]:
    """Answers per second of each way, by the clock. The first round is not kept: imports, and entries that are made again."""
    with Verifier(config, 1) as one, Verifier(config, workers) as several:
        ways = {"in_process": partial(in_process, config), "pool_of_1": partial(in_pool, one), "pool": partial(in_pool, several)}
        found = {name: [] for name in ways}
        timings = in_turn({name: partial(judged, work, iter(turns), found[name]) for name, work in ways.items()}, len(turns) - 1)
    assert found["in_process"] == found["pool_of_1"] == found["pool"]
    found = {name: len(turns[0]) / medians(pairs)[0] for name, pairs in timings.items()}
    return found | {
        "pool_of_1_over_in_process": found["pool_of_1"] / found["in_process"],
        "pool_over_pool_of_1": found["pool"] / found["pool_of_1"],
        "share_of_a_step": 1000 / found["pool_of_1"] / step_seconds,
    }


if __name__ == "__main__":
    main()
