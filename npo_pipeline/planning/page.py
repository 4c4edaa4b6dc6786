"""The plan as text: one table of memory, one of work, and what was assumed."""

from collections.abc import Sequence
from dataclasses import dataclass

from npo_pipeline.analysis.numbers import duration
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.planning import memory as m
from npo_pipeline.planning.architecture import Architecture
from npo_pipeline.planning.speeds import Speeds, hours
from npo_pipeline.planning.work import Assumptions, Work, checkpoint_bytes, plan_work, state_bytes

GB = 1e9
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
SCORED_TOKENS = 8192  # padded tokens per forward when trajectories are scored without a gradient


def amount(value: float) -> str:
    """Bytes as a person reads them: 17.5 GB."""
    return next((f"{value / unit:.3g} {name}" for unit, name in UNITS if value >= unit), f"{value:.0f} B")


def page(
    root: RootConfig, model: Architecture, assumed: Assumptions, image_tokens: int, gpu_gb: float, speeds: Speeds, chosen: str = ""
) -> str:
    """`chosen`: the line that says who samples, and why."""
    lora = f", LoRA of rank {root.policy.lora.rank}" if root.policy.lora else ""
    head = f"{root.name}: {model.name}, {model.parameters:,} parameters, {root.policy.dtype}{lora}; {len(root.seeds)} seed(s)"
    head += f"\n{chosen}" if chosen else ""
    memory, work = _memory(root, model, assumed, image_tokens, gpu_gb), _work(root, model, assumed, speeds)
    return "\n\n".join([head, memory, work, "\n".join(speeds.source), _notes(root, model, assumed)]) + "\n"


def _memory(root: RootConfig, model: Architecture, assumed: Assumptions, image_tokens: int, gpu_gb: float) -> str:
    dtype, response = root.policy.dtype, root.sampling.max_new_tokens
    batch = m.micro_batch(model, root.grpo.micro_batch_tokens, assumed.prompt_tokens, response, image_tokens)
    engine = _engine(root, model, assumed, gpu_gb)
    train = m.training(model, dtype, root.policy.lora, root.grpo.kl_coef > 0, batch, root.trainer.recompute_activations)
    weights = model.parameters * m.BYTES[dtype]
    responses = SCORED_TOKENS * response // (assumed.prompt_tokens + response)
    scored = m.logits(model.text, m.BYTES[dtype], responses, "cuda")
    rows = [
        _memory_row("probe, guided", train, engine, gpu_gb),
        _memory_row("guide", m.Training(weights, 0, 0, 0, 0, scored), engine, gpu_gb),
        _memory_row("evaluate", m.Training(weights, 0, 0, 0, 0, 0), engine, gpu_gb),
    ]
    titles = ["stage", "weights", "gradients", "optimizer", "reference", "activations", "logits", engine.title, "GPU memory"]
    return table([*titles, f"GPUs of {gpu_gb:.0f} GB"], rows)


@dataclass(frozen=True)
class Engine:
    """What sampling takes on each GPU while it samples: a KV cache, or vLLM's weights and cache, which it gives up in between."""

    title: str
    bytes: int | None  # None: what the trainer leaves
    least: int = 0  # below which it cannot work


def _engine(root: RootConfig, model: Architecture, assumed: Assumptions, gpu_gb: float) -> Engine:
    dtype, longest = root.policy.dtype, assumed.prompt_tokens + root.sampling.max_new_tokens
    if root.engine.vllm is None or root.engine.name != "vllm":
        return Engine("KV cache", m.kv_cache(model, dtype, root.engine.max_batch * longest))
    share = root.engine.vllm.gpu_memory_utilization
    least = model.parameters * m.BYTES[dtype] + m.kv_cache(model, dtype, longest)
    return Engine("vLLM", None if share is None else int(share * gpu_gb * GB), least)


def _memory_row(stage: str, train: m.Training, engine: Engine, gpu_gb: float) -> list[str]:
    """Sampling and training take turns, so what sampling takes counts only where it is more than gradients and a micro-batch's work."""
    taken = engine.least if engine.bytes is None else engine.bytes
    work = max(train.work, taken - train.gradients)
    count = m.gpus(train, work, gpu_gb * GB)
    parts = (train.weights, train.gradients, train.optimizer, train.reference, train.activations, train.logits)
    total = amount(train.state + work)
    return [
        stage,
        *map(amount, parts),
        _sampling(engine, train, gpu_gb, count or 1),
        total,
        "does not fit" if count is None else str(count),
    ]


def _sampling(engine: Engine, train: m.Training, gpu_gb: float, count: int) -> str:
    """What the engine takes; where it takes what is left of each of `count` GPUs, that much, and what it cannot do without."""
    if engine.bytes is None:
        return f"{amount(max(0, m.USABLE * gpu_gb * GB - train.kept(count)))} (needs {amount(engine.least)})"
    return amount(engine.bytes) + (f" (needs {amount(engine.least)})" if engine.bytes < engine.least else "")


def _work(root: RootConfig, model: Architecture, assumed: Assumptions, speeds: Speeds) -> str:
    works = list(plan_work(root, model, assumed))
    taken = [hours(work, work.expected * assumed.response_tokens, speeds) for work in works]
    rows = [_work_row(work, root, assumed, found) for work, found in zip(works, taken, strict=True)]
    total = Work("total", sum(w.most for w in works), sum(w.expected for w in works), sum(w.disk for w in works))
    known = [found for found in taken if found]
    last = _work_row(total, root, assumed, (sum(wall for wall, _ in known), sum(paid for _, paid in known)))
    titles = ["stage", "responses at most", "expected", "tokens at most", "expected", "wall-clock", speeds.unit, "checkpoints", "disk"]
    return table(titles, [*rows, last])


def _work_row(work: Work, root: RootConfig, assumed: Assumptions, taken: tuple[float, float] | None) -> list[str]:
    most, expected = work.most * root.sampling.max_new_tokens, work.expected * assumed.response_tokens
    counts = (f"{work.most:,}", f"{work.expected:,.0f}", f"{most:,}", f"{expected:,.0f}")
    times = (duration(taken[0] * 3600), f"{taken[1]:.3g}") if taken else ("-", "-")
    return [work.stage, *counts, *times, str(work.checkpoints or "-"), amount(work.disk)]


def _notes(root: RootConfig, model: Architecture, assumed: Assumptions) -> str:
    unknown = [name for name, benchmark in root.evaluate.benchmarks.items() if benchmark.size is None]
    left_out = [f"Not counted, since no size is set: {', '.join(unknown)}."] if unknown else []
    kept, state = amount(checkpoint_bytes(root, model)), amount(state_bytes(root, model))
    return "\n".join(
        [
            f"Prompts of {assumed.prompt_tokens} tokens, responses of up to {root.sampling.max_new_tokens}, of which "
            f"{assumed.response_tokens:.0f} are expected; {assumed.failed:.0%} of the prompts at or below the gate, and",
            f"{assumed.tries:.0%} of the allowed tries used. A whole checkpoint is {kept}, a delta {assumed.delta:.1%} of it; a trainer "
            f"state is {state}, of which a run keeps two.",
            f"GPUs: the fewest, {m.USABLE:.0%} of their memory used. On more than one (trainer.nproc) each process has the whole policy, "
            "to sample with;",
            "masters, gradients and optimizer are sharded. Sampling and training take turns in what is left beside them. "
            f"{'With' if root.trainer.recompute_activations else 'Without'} activation checkpointing (trainer.recompute_activations).",
            "Wall-clock: of jobs one after the other, as long as their expected tokens take; of guides the sampling, not "
            "the scoring of what they solved.",
            *left_out,
        ]
    )


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned: the first to the left, figures to the right."""
    widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
    lines = [
        [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))] for row in (titles, *rows)
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)
