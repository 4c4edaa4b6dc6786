"""A GRPO step of this project against one of TRL's GRPOTrainer (1.16, without vLLM), in turn, on the same policy, data and lengths.

    python tests/benchmarks/bench_step.py --out DIR [--cases tiny smollm2 ...] [--rounds 8] [--curve 60]

tiny: the embedded default's Qwen3, 16 prompts x 8 responses of 24 tokens; smollm2: SmolLM2-135M in bfloat16, 4 x 8 x 64. `-ragged`: most
responses are short, one in sixteen runs to a limit four times as long. curve: the default's task itself, where both must learn alike.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness import Experiment, experiment, faster, in_turn, medians, one_thread, parser, write
from lengths import fixed, ragged

CASES = ("tiny", "tiny-ragged", "smollm2", "smollm2-ragged", "curve")
GOALS = {"tiny": 2.0, "tiny-ragged": 2.0, "smollm2": 1.3, "smollm2-ragged": 2.0}
LONG_SHARE = 1 / 16


def main(argv: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument("--warm", type=int, default=1, help="rounds before those that count")
    options.add_argument("--curve", type=int, default=60, help="steps of the learning curves")
    options.add_argument("--seed", type=int, default=0, help="of problems and samples: one curve each says little")
    options.add_argument("--trl", nargs="*", default=[], help="further arguments of TRL's trainer, as name=number")
    arguments = options.parse_args(argv)
    one_thread()
    cases = ("tiny-ragged", "curve") if arguments.smallest else arguments.cases
    found = {name: run_case(name, arguments) for name in cases}
    columns = ["case", "ours, s (CPU)", "TRL, s (CPU)", "times as fast (by CPU)", "goal", "tokens per response", "reward, last quarter"]
    write(arguments.out, "step", {"cases": found}, columns, [row(name, result) for name, result in found.items()])


def run_case(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    from steps import Ours, Theirs

    rounds = 2 if arguments.smallest else arguments.curve if name == "curve" else arguments.rounds
    case = make_case(name, rounds + arguments.warm, arguments)
    ours, theirs = Ours(case, arguments.out / "runs" / name), Theirs(case, arguments.out / "trl" / name)
    timings = in_turn({"ours": ours.step, "trl": theirs.step}, rounds, arguments.warm)
    return {
        "seconds": {way: medians(pairs) for way, pairs in timings.items()},
        "faster": faster(timings, "ours", "trl"),
        "lengths": {"ours": statistics.mean(ours.lengths), "trl": statistics.mean(theirs.logged("completions/mean_length"))},
        "rewards": {"ours": ours.rewards, "trl": theirs.logged("reward")},
        "rounds": timings,
    }


def make_case(name: str, steps: int, arguments: argparse.Namespace) -> Any:
    from steps import Case, SomeCharacters

    from npo_pipeline.storage.parquet import read_problems
    from npo_pipeline.tasks.judging.verify import Verifier

    made = experiment(arguments.out, "smollm2_gsm8k" if name.startswith("smollm2") else "default", smallest=arguments.smallest)
    prepare, root = made.folder / "prepare", made.root
    prompts, limit, short = shape(name, made, arguments.smallest)
    shares = None if name == "curve" else ragged(limit, short, LONG_SHARE) if name.endswith("ragged") else fixed(limit)
    return Case(
        policy=prepare / "policy",
        dtype=root.policy.dtype,
        problems=read_problems(prepare / "problems.parquet", "train"),
        judge=Verifier(root.task.verifier) if name == "curve" else SomeCharacters(),
        grpo=replace(root.grpo, prompts_per_step=prompts, group_size=2 if arguments.smallest else 8),
        sampling=replace(root.sampling, max_new_tokens=limit, temperature=1.0),
        shares=shares,
        max_batch=root.engine.max_batch,
        steps=steps,
        seed=arguments.seed,
        trl={key: float(value) if "." in value else int(value) for key, value in (word.split("=") for word in arguments.trl)},
    )


def shape(name: str, made: Experiment, smallest: bool) -> tuple[int, int, int]:
    """Prompts a step, the limit of a response, and what is short where lengths are ragged."""
    if smallest:
        return 2, made.root.sampling.max_new_tokens, 2
    prompts, limit = (4, 64) if name.startswith("smollm2") else (16, 24)
    return (prompts, 4 * limit, limit // 2) if name.endswith("ragged") else (prompts, limit, limit)


def row(name: str, result: dict[str, Any]) -> list[object]:
    seconds, times, lengths = result["seconds"], result["faster"], result["lengths"]
    quarter = {way: rewards[-max(1, len(rewards) // 4) :] for way, rewards in result["rewards"].items()}
    return [
        name,
        *("{:.3g} ({:.3g})".format(*seconds[way]) for way in ("ours", "trl")),
        "{:.2f} ({:.2f})".format(*times),
        GOALS.get(name, "-"),
        f"{lengths['ours']:.1f}, {lengths['trl']:.1f}",
        ", ".join(f"{statistics.mean(values):.3f}" for values in quarter.values()),
    ]


if __name__ == "__main__":
    main()
