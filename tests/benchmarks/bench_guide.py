"""Guide trajectories: this project's guide stage against the naive way, checkpoint by checkpoint in turn, on one probe of the default.

    python tests/benchmarks/bench_guide.py --out DIR [--overrides "guidance.every=0.125"]

naive: for each guide checkpoint load the model anew and let transformers' `generate` draw all k samples of every prompt of the lookback;
then, for each current policy, load that anew to score one verified trajectory of each of its failed prompts. stage: what the stage does:
one policy walks over the checkpoints, prompts that the probe failed are tried until one sample is verified. all tries: the stage's own
walk and engine, but k samples of each failed prompt. A prompt is covered if the probe failed it and a sample is verified.
"""

import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness import Experiment, experiment, one_thread, parser, timed, write

WAYS = ("stage", "naive", "all tries")
GOALS = {"seconds": 3.0, "tokens": 2.0}  # naive over stage, per covered prompt


@dataclass
class Cost:
    clock: float
    cpu: float
    tokens: int
    covered: int


def main(argv: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--overrides", default="", help="of the experiment `default`")
    arguments = options.parse_args(argv)
    one_thread()
    made = experiment(arguments.out, "default", arguments.overrides, arguments.smallest, "guide")
    made.need("probe", made.folder / "seed-0/probe")
    costs = measure(made)
    result = {"ways": {way: summary(list(found.values())) for way, found in costs.items()}, "flat": flatness(costs["stage"])}
    naive, stage = result["ways"]["naive"], result["ways"]["stage"]
    result["naive_over_stage"] = {key: naive[key] / stage[key] for key in stage if key.endswith("per_covered") and stage[key]}
    result["checkpoints"] = {way: {step: vars(cost) for step, cost in found.items()} for way, found in costs.items()}
    columns = ["way", "covered prompts", "seconds per covered prompt", "CPU seconds", "tokens per covered prompt", "goal"]
    write(arguments.out, "guide", result, columns, rows(result))
    print(f"of the stage, per further guide checkpoint: CPU seconds per 1,000 sampled tokens {result['flat']['list']}")


def measure(made: Experiment) -> dict[str, dict[int, Cost]]:
    from guide_ways import AllTries, Naive, Stage

    shutil.rmtree(made.folder / "seed-0/guide", ignore_errors=True)
    ways: dict[str, Callable[..., Any]] = {"stage": Stage, "naive": Naive, "all tries": AllTries}
    ready = {name: way(made) for name, way in ways.items()}
    found: dict[str, dict[int, Cost]] = {name: {} for name in ways}
    for step in ready["stage"].config.guide_steps:
        for name, way in ready.items():
            way.tokens = way.covered = 0
            clock, cpu = timed(lambda way=way, step=step: way.make(step))
            found[name][step] = Cost(clock, cpu, way.tokens, way.covered)
            print(f"checkpoint {step}, {name}: {found[name][step]}", flush=True)
    return found


def summary(costs: Sequence[Cost]) -> dict[str, float]:
    covered = sum(cost.covered for cost in costs)
    per = {key: sum(getattr(cost, key) for cost in costs) / max(covered, 1) for key in ("clock", "cpu", "tokens")}
    return {"covered": covered} | {f"{key}_per_covered": value for key, value in per.items()}


def flatness(costs: dict[int, Cost]) -> dict[str, Any]:
    """CPU seconds per 1,000 sampled tokens, checkpoint by checkpoint; and the last half's median over the first half's."""
    each = [1000 * cost.cpu / max(cost.tokens, 1) for cost in costs.values()]
    half = len(each) // 2
    growth = statistics.median(each[half:]) / statistics.median(each[:half]) if half else None
    return {"list": [round(value, 3) for value in each], "last_half_over_first": growth}


def rows(result: dict[str, Any]) -> list[list[object]]:
    found: list[list[object]] = [
        [name, way["covered"], way["clock_per_covered"], way["cpu_per_covered"], way["tokens_per_covered"], ""]
        for name, way in result["ways"].items()
    ]
    ratio = result["naive_over_stage"]
    times = [f"{ratio.get(f'{key}_per_covered', float('nan')):.2f} times" for key in ("clock", "cpu", "tokens")]
    return [*found, ["naive over stage", "", *times, f"{GOALS['seconds']:g} in seconds, {GOALS['tokens']:g} in tokens"]]


if __name__ == "__main__":
    main()
