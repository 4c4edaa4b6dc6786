"""How cost grows: of a probe step and of guides over prompts, group size and response length; of a run's files over its steps.

    python tests/benchmarks/bench_growth.py --out DIR [--longest 10000] [--parts axes files memory]

Each size is doubled, the sizes in turn; `exponent` is the slope of log CPU seconds over log size between the two largest: 1 is
linear, less means that a fixed part still counts. Runs of 10 to `--longest` steps: their roll-outs (a real step's rows), metrics and
manifest, what a resume and the guide stage read of them, and the report, by the project's own writers and readers; and the memory of
this process while real steps of a very small policy go on.
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import PROJECT, Experiment, experiment, in_turn, medians, one_thread, parser, write

PARTS = ("axes", "files", "memory")
AXES = {
    "probe step over prompts": ("prompts_per_step", (8, 16, 32, 64)),
    "probe step over group size": ("group_size", (4, 8, 16, 32)),
    "probe step over response length": ("tokens", (16, 32, 64, 128)),
    "guides over prompts, all tries": ("pool", (64, 128, 256, 512)),
}


def main(argv: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--longest", type=int, default=10_000, help="steps of the longest run of files")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = options.parse_args(argv)
    if arguments.smallest:
        arguments.longest, arguments.rounds = 10, 1
    one_thread()
    result, lines = {}, list[list[object]]()
    for part in arguments.parts:
        result[part], told = {"axes": axes, "files": files, "memory": memory}[part](arguments)
        lines += told
    write(arguments.out, "growth", result, ["what", "sizes", "CPU seconds", "exponent"], lines)


def axes(arguments: argparse.Namespace) -> tuple[dict[str, Any], list[list[object]]]:
    made = experiment(arguments.out, "default", smallest=arguments.smallest)
    found = {name: axis(name, made, arguments) for name in AXES}
    return found, [axis_row(name, result) for name, result in found.items()]


def axis_row(name: str, found: dict[str, Any]) -> list[object]:
    return [name, found["sizes"], [round(seconds, 3) for seconds in found["cpu"]], round(found["exponent"], 2)]


def axis(name: str, made: Experiment, arguments: argparse.Namespace) -> dict[str, Any]:
    key, sizes = AXES[name]
    sizes = (2, 4) if arguments.smallest else sizes
    work = guide_work if key == "pool" else step_work
    timings = in_turn({str(size): work(made, key, size, arguments.out) for size in sizes}, arguments.rounds)
    cpu = [medians(timings[str(size)])[1] for size in sizes]
    exponent = math.log(cpu[-1] / cpu[-2]) / math.log(sizes[-1] / sizes[-2])
    return {"sizes": sizes, "cpu": cpu, "exponent": exponent, "rounds": timings}


def step_work(made: Experiment, key: str, size: int, out: Path) -> Callable[[], None]:
    """Steps of a probe whose responses have 24 tokens, 8 of each of 16 prompts, but for the one size."""
    from lengths import fixed
    from steps import Case, Ours, SomeCharacters

    sizes = {"prompts_per_step": 16, "group_size": 8, "tokens": 24} | {key: size}
    grpo = replace(made.root.grpo, prompts_per_step=sizes["prompts_per_step"], group_size=sizes["group_size"])
    sampling, batch = replace(made.root.sampling, max_new_tokens=sizes["tokens"]), made.root.engine.max_batch
    policy, shares = made.folder / "prepare/policy", fixed(sizes["tokens"])
    case = Case(policy, made.root.policy.dtype, problems_of(made), SomeCharacters(), grpo, sampling, shares, batch, 0)
    return Ours(case, out / "growth" / f"{key}-{size}").step


def guide_work(made: Experiment, key: str, size: int, out: Path) -> Callable[[], None]:
    """Guides for so many prompts of which none is ever verified: every one is tried as often as allowed."""
    from lengths import LengthLaw, fixed

    from npo_pipeline.guidance.generate import sample_until_verified
    from npo_pipeline.policy.policy import load_policy
    from npo_pipeline.rollout.hf import TransformersEngine
    from npo_pipeline.rollout.sample import sample
    from npo_pipeline.tasks.judging.verify import Verifier

    policy = load_policy(made.folder / "prepare/policy", made.root.policy.dtype)
    engine = TransformersEngine(policy, made.root.sampling, made.root.engine.max_batch)
    engine._warpers.append(LengthLaw(fixed(made.root.sampling.max_new_tokens), policy.stop_ids, 1))
    verifier, problems = Verifier(made.root.task.verifier), [replace(problem, answer="nobody's") for problem in problems_of(made)[:size]]
    tries = made.root.guidance.samples
    return lambda: sample_until_verified(problems, tries, lambda draws: sample(engine, policy, verifier, draws, "guide", 0, 0))  # type: ignore[return-value]


def problems_of(made: Experiment) -> list[Any]:
    from npo_pipeline.storage.parquet import read_problems

    return read_problems(made.folder / "prepare/problems.parquet", "train")


def files(arguments: argparse.Namespace) -> tuple[dict[int, Any], list[list[object]]]:
    """Seconds of CPU, and memory, of what runs of so many steps leave and of who reads it."""
    sys.path.append(str(PROJECT / "tests"))  # of report_results
    from run_length import Written

    written = Written(experiment(arguments.out, "default", smallest=arguments.smallest), arguments.out / "growth")
    lengths = [10**i for i in range(1, 1 + round(math.log10(arguments.longest)))]
    found = {steps: told(written.work(steps), steps) for steps in lengths}
    return found, [[f"files of {steps} steps", key, value, ""] for steps, values in found.items() for key, value in values.items()]


def told(work: dict[str, Callable[[], object]], steps: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, does in work.items():
        before, began = resident(), time.process_time()
        does()
        found[f"{name}, s"] = round(time.process_time() - began, 3)
        found[f"{name}, MB more"] = round(resident() - before, 1)
    return found | {"written, ms per step": round(1000 * found["write, s"] / steps, 3)}


def memory(arguments: argparse.Namespace) -> tuple[dict[int, float], list[list[object]]]:
    """Resident MB after so many real steps of a policy of few weights: a leak would show as growth with the steps."""
    made = experiment(arguments.out, "default", smallest=True)
    step = step_work(made, "tokens", made.root.sampling.max_new_tokens, arguments.out)
    steps = (2, 4) if arguments.smallest else (50, 100, 200, 400, 800)
    found = {}
    for number in range(1, steps[-1] + 1):
        step()
        if number in steps:
            found[number] = round(resident(), 1)
    return found, [["real steps", "resident MB after steps", found, ""]]


def resident() -> float:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
