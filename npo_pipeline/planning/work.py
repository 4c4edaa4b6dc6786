"""How much each stage samples and writes: responses, tokens and bytes, at most and as expected under stated assumptions."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from npo_pipeline.configuration.compose import later_rounds
from npo_pipeline.configuration.grid import checkpoint_steps
from npo_pipeline.configuration.settings import Foreseen, MethodConfig, RootConfig
from npo_pipeline.configuration.timeline import Timeline, resolve_timeline
from npo_pipeline.planning.architecture import Architecture
from npo_pipeline.planning.memory import BYTES

STATES = 2  # saved trainer states of a run (npo_pipeline.grpo.state)
ROW_BYTES = 12  # of a sampled token in a Parquet file: its id, two float32 log-probs, its text; log-probs hardly compress


@dataclass(frozen=True)
class Assumptions:
    """What no configuration says. Shares are of 1; a finished run's metrics.jsonl tells the true ones."""

    prompt_tokens: int
    response_tokens: float  # mean length; expected tokens are responses times this
    failed: float  # share of the prompts that are at or below the gate: those that a guide tries
    tries: float  # share of `guidance.samples` that a prompt takes until a round holds a verified one
    delta: float  # size of a checkpoint that is kept as a delta, as a share of a whole one


@dataclass(frozen=True)
class Work:
    """One stage, over all seeds: responses (at most, expected), and disk in bytes; `checkpoints` and `state` are parts of a run's."""

    stage: str
    most: int
    expected: float
    disk: float
    checkpoints: int = 0
    trains: bool = False


def checkpoint_bytes(root: RootConfig, model: Architecture) -> int:
    """Of one policy checkpoint: the whole policy, or an adapter in float32."""
    lora = root.policy.lora
    return model.adapter_parameters(lora.rank, lora.target_modules) * 4 if lora else model.parameters * BYTES[root.policy.dtype]


def state_bytes(root: RootConfig, model: Architecture) -> int:
    """Of the saved trainer state: master copy and two moments, of what is trained."""
    lora = root.policy.lora
    return 12 * (model.adapter_parameters(lora.rank, lora.target_modules) if lora else model.parameters)


def plan_work(root: RootConfig, model: Architecture, assumed: Assumptions) -> Iterator[Work]:
    """Every stage that samples or writes much, in the order of the pipeline."""
    time = resolve_timeline(root)
    whole = model.parameters * BYTES[root.policy.dtype]
    starts = {seed % (root.policy.cold_starts or 1) for seed in root.seeds}
    yield Work("prepare", 0, 0.0, len(starts) * whole)
    group = root.grpo.prompts_per_step * root.grpo.group_size
    yield (
        _adopted(root, assumed, time, group)
        if time.adopted
        else _run(root, model, assumed, "probe", time.steps, time.checkpoint_every, time.steps * group)
    )
    for place in ("", *(f"round-{n}/" for n in range(2, root.rounds + 1))):
        yield _guide(root, time, assumed, f"{place}guide")
    for run in (*root.method, *later_rounds(root)):
        method = time.methods[run.split("/")[-1]]
        if method.demonstrations:
            tried = _distinct(root, time.steps) * method.demonstrations.samples
            yield _sampled(root, assumed, f"{run}: demonstrations", tried, tried * assumed.tries)
        yield _guided(root, model, assumed, run, method, time)
    if root.average_last is not None:
        yield Work("average", 0, 0.0, len(root.seeds) * (1 + len(root.method) + len(later_rounds(root))) * whole)
    policies = evaluated_policies(root)
    problems = sum(size or 0 for size in (root.task.eval_size, *(b.size for b in root.evaluate.benchmarks.values())))
    responses = policies * problems * root.evaluate.samples
    yield _sampled(root, assumed, f"evaluate ({policies} policies)", responses, responses)


def evaluated_policies(root: RootConfig) -> int:
    """Of one seed: the initial policy, and of each run its last one and, where averages are made, that of its last checkpoints."""
    return 1 + (1 + len(root.method) + len(later_rounds(root))) * (1 if root.average_last is None else 2)


def _run(root: RootConfig, model: Architecture, assumed: Assumptions, stage: str, steps: int, every: int, responses: int) -> Work:
    kept = len(checkpoint_steps(every, steps))
    whole = kept if root.policy.lora else -(-kept // root.probe.key_every)  # adapters are not worth a delta
    rows = responses * assumed.response_tokens * ROW_BYTES
    checkpoints = (whole + (kept - whole) * assumed.delta) * checkpoint_bytes(root, model)
    disk = checkpoints + STATES * state_bytes(root, model) + rows
    seeds = len(root.seeds)
    most = responses * (1 + (root.grpo.dynamic_sampling or 0))
    return Work(stage, seeds * most, seeds * responses, seeds * disk, seeds * kept, trains=True)


def _adopted(root: RootConfig, assumed: Assumptions, time: Timeline, group: int) -> Work:
    """A run in the probe's place: nothing is trained, and sampled only where it has no completions."""
    responses = 0 if root.probe.completions else (time.steps - (time.start or 0)) * group
    return _sampled(root, assumed, "probe", responses, responses)


def _guided(root: RootConfig, model: Architecture, assumed: Assumptions, run: str, method: MethodConfig, time: Timeline) -> Work:
    """A run of a method, with its further tries. Its `policy/` is whole."""
    steps = round(method.length * time.steps) - (time.start or 0)
    own = _run(root, model, assumed, run, steps, time.guided_checkpoint_every, steps * root.grpo.prompts_per_step * root.grpo.group_size)
    foreseen = Foreseen(len(root.seeds), steps, root.grpo.prompts_per_step, own.most, partial(_distinct, root))
    more = method.further(foreseen)
    expected = (more.again + more.tries * assumed.tries) * assumed.failed
    whole = len(root.seeds) * model.parameters * BYTES[root.policy.dtype]
    return Work(run, own.most + int(more.again + more.tries), own.expected + expected, own.disk + whole, own.checkpoints, trains=True)


def _guide(root: RootConfig, time: Timeline, assumed: Assumptions, stage: str) -> Work:
    """Each guide checkpoint tries the prompts of its lookback, up to `samples` times."""
    if not any("guides" in method.needs for method in root.method.values()):
        return Work(stage, 0, 0.0, 0.0)
    prompts = sum(_distinct(root, min(guide - (time.start or 0), time.lookback)) for guide in time.guide_steps)
    most = prompts * root.guidance.samples
    return _sampled(root, assumed, stage, most, most * assumed.failed * assumed.tries)


def _sampled(root: RootConfig, assumed: Assumptions, stage: str, most: int, expected: float) -> Work:
    seeds = len(root.seeds)
    return Work(stage, seeds * most, seeds * expected, seeds * expected * assumed.response_tokens * ROW_BYTES)


def _distinct(root: RootConfig, steps: int) -> int:
    """Different prompts of so many consecutive steps."""
    return min(steps * root.grpo.prompts_per_step, root.task.train_size or steps * root.grpo.prompts_per_step)
