"""How many answers a second the verifiers judge: in the pool of processes that a run uses, with its bounds, and in this process without.

    python tests/benchmarks/bench_verifiers.py --out DIR [--answers 1000] [--repeats 3] [--workers 2] [--step-seconds S]

Answers are real ones: worked solutions of GSM8K for exact match and math-verify, half of them to another question and so wrong, and as
LaTeX, which math-verify must parse; the answers of reasoning-gym tasks to their own and to other entries. Each answer is another one:
equal ones would be judged once. Pool and process take turns (A B A B); told are medians. The last column is the time that 1,000
answers, a large step's, take in a pool of one, as a share of the step: `--step-seconds`, by default the sampling of 1,000 answers of
24 tokens at 12,200 tokens a second, the most that was measured on one CPU (the tiny policy on the transformers engine).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from npo_pipeline.compose import load_root
from npo_pipeline.records import Problem
from npo_pipeline.settings import VerifierConfig
from npo_pipeline.tasks.extract import extract_answer
from npo_pipeline.tasks.gym import load_problems
from npo_pipeline.tasks.scoring import judge_chunk
from npo_pipeline.tasks.verify import Verifier

ROWS = Path(__file__).resolve().parents[2] / "data/gsm8k/train.jsonl"
GYM = ("chain_sum", "number_sorting", "countdown", "polynomial_multiplication")
STEP = 1000 * 24 / 12_200  # seconds
Items = list[tuple[Problem, str]]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for verifiers.json")
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="processes of the larger pool")
    parser.add_argument("--step-seconds", type=float, default=STEP, help="what a step of 1,000 answers takes to sample")
    return parser.parse_args()


def gsm8k(count: int, latex: bool) -> Items:
    """Solutions of GSM8K, every other one to another question. As LaTeX: 72 is \\frac{144}{2}, in a box."""
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()[:count]]
    problems = [problem(f"train-{i}", row["question"], row["answer"].rpartition("####")[2].strip()) for i, row in enumerate(rows)]
    texts = [boxed(one.answer) for one in problems] if latex else [row["answer"] for row in rows]
    return [(one, texts[i] if i % 2 else texts[i - 1]) for i, one in enumerate(problems)]


def problem(name: str, question: str, answer: str) -> Problem:
    return Problem(name, "train", question, answer, "all", question, (1,))


def boxed(answer: str) -> str:
    return f"so it is \\boxed{{\\frac{{{2 * int(answer.replace(',', ''))}}}{{2}}}}"


def gym(count: int, name: str) -> Items:
    """The answers of a reasoning-gym task, every other one to another entry."""
    task = load_root(overrides=["task=reasoning_gym", f"task.name={name}", f"task.train_size={count}", "task.eval_size=1"]).task
    problems = [Problem(**vars(raw), prompt="", prompt_token_ids=(1,)) for raw in load_problems(task)[0]]
    return [(one, one.answer if i % 2 else problems[i - 1].answer) for i, one in enumerate(problems)]


def cases(count: int) -> dict[str, tuple[VerifierConfig, Items]]:
    found = {
        "exact: GSM8K solutions": (VerifierConfig("exact", "hash", 5.0), gsm8k(count, latex=False)),
        "math-verify: GSM8K solutions": (VerifierConfig("math", "hash", 5.0), gsm8k(count, latex=False)),
        "math-verify: as LaTeX": (VerifierConfig("math", "boxed", 5.0), gsm8k(count, latex=True)),
    }
    return found | {f"reasoning-gym: {name}": (VerifierConfig("reasoning_gym", "whole", 5.0), gym(count, name)) for name in GYM}


def in_process(config: VerifierConfig, items: Items) -> list[bool]:
    """Extract and judge here, as the workers do, though with no bound on memory and no other process to lose."""
    answers = [extract_answer(text, config.extract) or "" for _, text in items]
    pairs = [(one.metadata, one.answer, answer) for (one, _), answer in zip(items, answers, strict=True)]
    return [a.split() == b.split() for _, a, b in pairs] if config.kind == "exact" else judge_chunk(config.kind, 5.0, pairs)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(config: VerifierConfig, items: Items, arguments: argparse.Namespace) -> dict[str, float]:
    """Answers per second of each way. The first time round is not counted: caches, imports, entries that are made again."""
    with Verifier(config, 1) as one, Verifier(config, arguments.workers) as several:
        ways: dict[str, Callable[[], object]] = {
            "in_process": lambda: in_process(config, items),
            "pool_of_1": lambda: one.judge(items),
            "pool": lambda: several.judge(items),
        }
        right = [sum(in_process(config, items)), *(sum(v.verified for v in pool.judge(items)) for pool in (one, several))]
        assert len(set(right)) == 1, f"different verdicts: {right}"
        times = {name: [] for name in ways}
        for _ in range(arguments.repeats):
            for name, work in ways.items():
                times[name].append(seconds(work))
    return {name: len(items) / statistics.median(found) for name, found in times.items()} | {"right": right[0] / len(items)}


def main() -> None:
    arguments = options()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {name: measure(config, items, arguments) for name, (config, items) in cases(arguments.answers).items()}
    for row in found.values():
        row["pool_of_1_over_in_process"] = row["pool_of_1"] / row["in_process"]
        row["pool_over_pool_of_1"] = row["pool"] / row["pool_of_1"]
        row["share_of_a_step"] = 1000 / row["pool_of_1"] / arguments.step_seconds
    result = {"arguments": {name: str(value) for name, value in vars(arguments).items()}, "answers_per_second": found}
    (arguments.out / "verifiers.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(found, arguments))


def table(found: dict[str, dict[str, float]], arguments: argparse.Namespace) -> str:
    lines = [
        f"| answers per second | in process | pool of 1 | over in process | pool of {arguments.workers} | over pool of 1 | 1,000 answers, share of {arguments.step_seconds:.1f} s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in found.items():
        lines.append(
            f"| {name} | {row['in_process']:,.0f} | {row['pool_of_1']:,.0f} | {row['pool_of_1_over_in_process']:.2f} "
            f"| {row['pool']:,.0f} | {row['pool_over_pool_of_1']:.2f} | {row['share_of_a_step']:.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
