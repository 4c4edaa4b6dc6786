"""Sampling against the limit: tokens per CPU-second of both engines over batch size, against a measured roofline.

    python tests/benchmarks/bench_sampling.py --out DIR [--models tiny smollm2] [--engines transformers vllm] [--batches 1 4 16 64 256]

The limit of a batch: each decoding step reads all weights once and every row's cache, and multiplies every weight with every row; the
machine's ceilings for both are measured in the same process (roofline.py). Responses have fixed lengths, prompts differ. The engines and
batch sizes are timed in turn; a batch's rows are one call.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness import experiment, in_turn, medians, one_thread, parser, write
from lengths import LengthLaw, fixed

MODELS = {"tiny": ("default", 24), "smollm2": ("smollm2_gsm8k", 64)}  # experiment, and tokens per response
ENGINES = ("transformers", "vllm")


def main(argv: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--models", nargs="+", choices=tuple(MODELS), default=tuple(MODELS))
    options.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    options.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16, 64, 256])
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args(argv)
    if arguments.smallest:
        arguments.models, arguments.engines, arguments.batches, arguments.rounds = ["tiny"], ["transformers"], [1, 4], 1
    one_thread()
    found = {model: measure_model(model, arguments) for model in arguments.models}
    columns = ["model", "batch", "engine", "tokens per CPU-second", "limit", "share of the limit", "bound by"]
    write(arguments.out, "sampling", {"models": found}, columns, [line for model, result in found.items() for line in rows(model, result)])


def measure_model(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    import roofline

    from npo_pipeline.policy.policy import load_policy

    made = experiment(arguments.out, MODELS[name][0], smallest=arguments.smallest)
    tokens = made.root.sampling.max_new_tokens if arguments.smallest else MODELS[name][1]
    policy = load_policy(made.folder / "prepare/policy", made.root.policy.dtype)
    requests = make_requests(made, max(arguments.batches), policy)
    ceiling = roofline.measure(weight_bytes(policy), policy.model.dtype)
    engines = {engine: make_engine(engine, made, policy, tokens, max(arguments.batches)) for engine in arguments.engines}
    ways = {
        f"{engine} {batch}": lambda made=made, batch=batch: made.generate(requests[:batch])
        for batch in arguments.batches
        for engine, made in engines.items()
    }
    forward = {f"forward {batch}": forward_alone(policy, batch, len(requests[0].prompt_token_ids), tokens) for batch in arguments.batches}
    timings = in_turn(ways | forward, arguments.rounds)
    prompt = sum(len(request.prompt_token_ids) for request in requests) / len(requests)
    limits = {batch: limit(policy, ceiling, batch, prompt, tokens) for batch in arguments.batches}
    return {
        "ceiling": vars(ceiling),
        "tokens": tokens,
        "prompt": prompt,
        "batches": [
            {"batch": batch, "engine": engine, "seconds": medians(timings[f"{engine} {batch}"]), **limits[batch]}
            for batch in arguments.batches
            for engine in [*engines, "forward"]
        ],
    }


def make_requests(made: Any, count: int, policy: Any) -> list[Any]:
    from npo_pipeline.rollout.engine import Request
    from npo_pipeline.storage.parquet import read_problems

    problems = read_problems(made.folder / "prepare/problems.parquet")
    width = min(64, min(len(problem.prompt_token_ids) for problem in problems))
    return [Request(problems[i % len(problems)].prompt_token_ids[-width:], i) for i in range(count)]


def make_engine(name: str, made: Any, policy: Any, tokens: int, batch: int) -> Any:
    from npo_pipeline.rollout.hf import TransformersEngine

    sampling = replace(made.root.sampling, max_new_tokens=tokens, temperature=1.0, top_k=0, top_p=1.0)
    if name == "transformers":
        engine = TransformersEngine(policy, sampling, batch)
        engine._warpers.append(LengthLaw(fixed(tokens), policy.stop_ids, 1))
        return engine
    from npo_pipeline.configuration.settings import VllmConfig
    from npo_pipeline.policy.policy import Policy
    from npo_pipeline.rollout.vllm import VllmEngine

    settings = replace(made.root.engine, name="vllm", max_batch=batch, vllm=VllmConfig(512, 0.4, 1.0, 1, True))
    endless = Policy(policy.model, policy.tokenizer, (), policy.pad_id)  # no token ends a response
    return VllmEngine(endless, sampling, settings)


def forward_alone(policy: Any, batch: int, prompt: int, tokens: int) -> Any:
    """What the model itself takes for the same work: prefill and decoding steps of transformers, nothing drawn, nothing kept."""
    import torch

    from npo_pipeline.policy.logprobs import collate
    from npo_pipeline.rollout.hf import Context

    @torch.inference_mode()
    def work() -> None:
        prompts = collate([([policy.pad_id + 1] * prompt, ()) for _ in range(batch)], policy.pad_id, policy.device)
        context = Context(policy.model, prompts)
        context.read(prompts.input_ids, prompts.position_ids)
        next_tokens = torch.ones(batch, dtype=torch.long)
        for _ in range(tokens - 1):
            context.read_next(next_tokens)

    return work


def weight_bytes(policy: Any) -> int:
    from npo_pipeline.policy.policy import own_weights

    return sum(tensor.nbytes for tensor in own_weights(policy).values())


def limit(policy: Any, ceiling: Any, batch: int, prompt: float, tokens: int) -> dict[str, Any]:
    """Tokens per second at the roofline: prefill of the prompts, and `tokens` - 1 decoding steps."""
    config, weights = policy.model.config, weight_bytes(policy)
    flops = 2 * weights / policy.model.dtype.itemsize  # per row and token: a multiplication and an addition per weight, the head's included
    cached = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * policy.model.dtype.itemsize  # bytes per token
    prefill = ceiling.seconds(weights, flops * batch * prompt)
    steps = [ceiling.seconds(weights + batch * cached * (prompt + t), flops * batch) for t in range(1, tokens)]
    bound = "memory" if weights / ceiling.bandwidth > flops * batch / ceiling.peak else "arithmetic"
    return {"limit": batch * tokens / (prefill + sum(steps)), "bound": bound}


def rows(model: str, result: dict[str, Any]) -> list[list[object]]:
    found = []
    for line in result["batches"]:
        speed = line["batch"] * result["tokens"] / line["seconds"][1]
        found.append(
            [model, line["batch"], line["engine"], round(speed), round(line["limit"]), f"{speed / line['limit']:.0%}", line["bound"]]
        )
    return found


if __name__ == "__main__":
    main()
