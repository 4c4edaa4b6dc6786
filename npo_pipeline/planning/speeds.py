"""Hours of each stage: its tokens over this machine's speeds, measured (npo_pipeline.planning.measured) or assumed."""

from dataclasses import dataclass

from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.planning.architecture import Architecture
from npo_pipeline.planning.pace import Lengths, hardware, rows_of_a_step, sampling, scoring
from npo_pipeline.planning.resources import wants_gpu
from npo_pipeline.planning.work import Assumptions, Work


@dataclass(frozen=True)
class Speed:
    """Response tokens of one process per second of wall clock, and per second that is paid for: of its GPU, or of CPU time."""

    wall: float
    paid: float


@dataclass(frozen=True)
class Speeds:
    """`sample` and `update` count the same tokens, those sampled; a run that trains does both, over `ranks` processes.

    `prepare`: hours, wall and paid.
    """

    source: tuple[str, ...]  # lines: where the figures are from
    unit: str  # "GPU-hours" or "CPU-hours"
    sample: Speed
    update: Speed
    ranks: int = 1
    prepare: tuple[float, float] | None = None
    response_tokens: float | None = None  # mean length, where it was measured


def assumed(root: RootConfig, model: Architecture, tokens: Assumptions, device: str = "auto") -> Speeds:
    """Speeds where none were measured (npo_pipeline.planning.pace); what was sampled is scored once more, and prompts are read as often
    as responses are. `device` as for the workflow: auto, cpu or cuda.
    """
    gpu, ranks = wants_gpu(root, device), root.trainer.nproc * root.trainer.nodes
    lengths = Lengths(tokens.prompt_tokens, tokens.response_tokens, root.sampling.max_new_tokens)
    sample = 1 / sampling(root, model, gpu, lengths, rows_of_a_step(root))
    update = 1 / scoring(root, model, gpu, lengths, root.grpo.epochs)
    said = (
        f"Hours are ASSUMED, for {_machine(root, gpu)}.",
        "npo plan --measure times a few steps of this experiment on this machine, and the next plan takes those.",
    )
    return Speeds(said, "GPU-hours" if gpu else "CPU-hours", Speed(sample, sample), Speed(update, update), ranks)


def _machine(root: RootConfig, gpu: bool) -> str:
    machine = hardware(root, gpu)
    does = f"{machine.sample:.0e} operations a second while sampling, {machine.train:.0e} while training"
    per_layer = f"{1e3 * machine.sampling_layer:.2g} ms a layer and token of a batch, {1e3 * machine.layer:.2g} ms a layer and micro-batch"
    return f"GPUs like an H200, {does},\nand {per_layer} on top" if gpu else f"a core that at least does {does}"


def hours(work: Work, tokens: float, speeds: Speeds) -> tuple[float, float] | None:
    """Wall-clock hours of a stage's jobs, one after the other, and hours that are paid for; None where nothing is known of it."""
    if work.stage == "prepare":
        return speeds.prepare
    used = [speeds.sample, speeds.update] if work.trains else [speeds.sample]
    wall, paid = (sum(tokens / getattr(speed, key) for speed in used) / 3600 for key in ("wall", "paid"))
    return (wall / (speeds.ranks if work.trains else 1), paid) if tokens else None
