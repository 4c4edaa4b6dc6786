"""Where the time of each stage goes: sampling, verification, forward/backward, optimizer, writing, waiting, Python, start-up.

    python tests/benchmarks/bench_shares.py --out DIR [--cases default smollm2] [--steps N]

The stages run as Snakemake runs them, in processes of their own, with their functions timed from outside (stage_spans.py). Shares are
of the time after the start-up, which a run pays once however long it is. Start-up is told in seconds: from the command to the first
call of the engine or of a forward, for a stage without either the whole of it.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import Experiment, experiment, one_thread, parser, write

from npo_pipeline.storage.manifest import NAME

WORK = ("sampling", "forward/backward")
CASES = {"default": "default", "smollm2": "smollm2_gsm8k"}
SMOLLM2_STEPS = 4  # of 4 prompts x 8 responses of 64 tokens
GOALS = {("default", "probe"): 0.25, ("smollm2", "probe"): 0.10}
SMOLLM2 = "sampling.max_new_tokens=64 grpo.group_size=8"


def main(argv: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--cases", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    options.add_argument("--steps", type=int, help="of the default's probe and guided run; its own 120 unless given")
    options.add_argument("--stages", type=int, help="only the first so many, from the probe on")
    arguments = options.parse_args(argv)
    one_thread()
    cases = ("default",) if arguments.smallest else arguments.cases
    stages = [(case, stage, found) for case in cases for stage, found in measure(case, arguments)]
    result = {f"{case}/{stage}": shares(found) | {"goal": GOALS.get((case, stage))} for case, stage, found in stages}
    columns = ["stage", "start-up, s (CPU)", "then, s (CPU)", "neither sampling nor forward/backward (by CPU)", "goal", "shares by CPU"]
    write(arguments.out, "shares", {"stages": result}, columns, [row(name, found) for name, found in result.items()])


def measure(case: str, arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each stage of an experiment, in their order, with its spans."""
    overrides = f"probe.steps={SMOLLM2_STEPS} {SMOLLM2}" if case == "smollm2" else ""
    overrides = f"probe.steps={arguments.steps}" if case == "default" and arguments.steps else overrides
    made = experiment(arguments.out, CASES[case], overrides, arguments.smallest, "shares", prepared=False)
    made = Experiment(made.folder, replace(made.root, method={"npo": made.root.method["npo"]}))
    shutil.rmtree(made.folder / "seed-0", ignore_errors=True)
    if not (made.folder / "prepare" / NAME).is_file():
        yield "prepare", spans(made, "prepare", "prepare")
    stages: list[tuple[str, ...]] = [("probe", "probe")]
    if case == "default":
        evaluated = [("evaluate", "evaluate", "--policy", policy) for policy in ("initial", "probe", "npo")]
        stages += [("guide", "guide"), ("plan", "plan-npo"), ("guided", "guided-npo"), *evaluated, ("report", "report")]
    for stage, config, *rest in stages[: 1 if arguments.smallest else arguments.stages]:
        yield " ".join([stage, *rest[1:]]), spans(made, stage, config, *rest)


def spans(made: Experiment, stage: str, config: str, *options: str) -> dict[str, Any]:
    file = (made.folder / "spans.json").resolve()
    before = [str(Path(__file__).with_name("stage_spans.py")), str(file), repr(time.time())]
    made.run(stage, *options, config=config, before=before)
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def shares(found: dict[str, Any]) -> dict[str, Any]:
    seconds = dict(found["seconds"])
    start = seconds.pop("start-up")
    total = [sum(pair[i] for pair in seconds.values()) for i in range(2)]
    of = {name: [pair[i] / max(total[i], 1e-9) for i in range(2)] for name, pair in seconds.items()}
    overhead = [1.0 - sum(of[name][i] for name in WORK if name in of) for i in range(2)]
    return {"start_up": start, "seconds": total, "overhead": overhead, "shares": of, "cpu_beside": found["beside"]}


def row(name: str, found: dict[str, Any]) -> list[object]:
    parts = sorted(found["shares"].items(), key=lambda item: -item[1][1])
    return [
        name,
        "{:.1f} ({:.1f})".format(*found["start_up"]),
        "{:.1f} ({:.1f})".format(*found["seconds"]),
        "{:.1%} ({:.1%})".format(*found["overhead"]),
        f"< {found['goal']:.0%}" if found["goal"] else "-",
        ", ".join(f"{part} {pair[1]:.1%}" for part, pair in parts if pair[1] >= 0.001),
    ]


if __name__ == "__main__":
    main()
