"""What the workflow's rules ask a scheduler for: GPUs, cores, memory and walltime of each stage, from its configuration alone.

The memory is the forecast of npo_pipeline.planning.memory, the walltime the work of npo_pipeline.planning.work at the pace of
npo_pipeline.planning.pace. A walltime that is too short costs a resume, not the run; one that is too long waits in the queue. All of it
gives way to `--set-resources`. No torch: the Snakefile is parsed in every job.
"""

import shutil
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path

from npo_pipeline.configuration.compose import later_rounds
from npo_pipeline.configuration.settings import RootConfig, TrainerConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.planning import memory as m
from npo_pipeline.planning.architecture import Architecture, architecture_of
from npo_pipeline.planning.pace import Lengths, rows_of_a_step, sampling, scoring
from npo_pipeline.planning.work import Assumptions, evaluated_policies, plan_work, state_bytes

DEVICES = ("auto", "cpu", "cuda")
WANTS_GPU = 20_000_000  # parameters from which a policy is worth a GPU: smaller ones are as fast on a core
MB = 2**20
BASE_MB, GPU_BASE_MB = 2000, 8000  # host memory of Python, torch and the tables; with CUDA's libraries
VLLM_MB = 4000  # of vLLM's own libraries and compiled code, on a CPU
GPU_CORES = 4  # per GPU: verifiers, and what feeds it
MARGIN, START_MIN = 3.0, 15  # walltime: times the forecast, and on top
LEAST_MIN, MOST_MIN = 30, 1440  # a day is what most partitions allow
WARNING = "--signal=TERM@120"  # two minutes before its walltime a run is told to save its state and to end


@dataclass(frozen=True)
class Resources:
    """By the names that Snakemake and its SLURM executor know; `runtime` in minutes."""

    gpu: int
    cpus_per_task: int
    mem_mb: int
    runtime: int


MADE = ("prepare", "teacher")  # what makes a policy
ONE = TrainerConfig(nproc=1, nodes=1, recompute_activations=False)
LIGHT = Resources(gpu=0, cpus_per_task=1, mem_mb=4000, runtime=120)  # tables, schedules, reports
UNKNOWN_MB = 64_000  # of a policy whose shape is not known


def wants_gpu(root: RootConfig, device: str) -> bool:
    """Whether computing stages ask for GPUs: as told by `device`, or "auto": where there are any and the policy is not tiny."""
    if device != "auto":
        return device == "cuda"
    return not is_tiny(root) and gpus_exist()


def stage_device(root: RootConfig, device: str) -> str:
    """What the computing stages are told: a tiny policy stays on the CPU unless told, others take what torch sees."""
    return "cpu" if device == "auto" and is_tiny(root) else device


def is_tiny(root: RootConfig) -> bool:
    model = _shape(root)
    return model is not None and model.parameters < WANTS_GPU


@cache
def gpus_exist() -> bool:
    """In this machine, or in some node of its SLURM cluster."""
    if list(Path("/dev").glob("nvidia[0-9]*")):
        return True
    if not shutil.which("sinfo"):
        return False
    nodes = subprocess.run(["sinfo", "--noheader", "--format=%G"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return "gpu" in nodes.stdout


def _shape(root: RootConfig) -> Architecture | None:
    try:
        return architecture_of(root.policy)
    except ConfigError:  # a hub name that nobody knows: its stages get UNKNOWN_MB
        return None


def stage_resources(root: RootConfig, device: str, guide_jobs: int) -> dict[str, Resources]:
    """By stage: "prepare", "teacher", "probe", "guide_job", "demonstrate", "evaluate", "measure", and each run of a method by its name."""
    gpu, model, runs = wants_gpu(root, device), _shape(root), [*root.method, *later_rounds(root)]
    heavy = ["probe", "adopt", "guide_job", "demonstrate", "evaluate", "measure", *runs]
    if model is None:
        processes = root.trainer.nproc * root.trainer.nodes
        unknown = Resources(processes * gpu, processes * (GPU_CORES if gpu else 1), UNKNOWN_MB, MOST_MIN)
        return dict.fromkeys(heavy, unknown) | {stage: _made(root, stage, gpu, UNKNOWN_MB) for stage in MADE}
    responses = _responses(root, model)
    train, sample, alone = (_Stage(root, model, gpu, trains, ranks) for trains, ranks in ((True, root.trainer), (False, ONE), (True, ONE)))
    sampled = {
        "guide_job": max(n for stage, n in responses.items() if stage.endswith("guide")) / guide_jobs,
        "adopt": responses["probe"],
        "demonstrate": max((n for stage, n in responses.items() if stage.endswith(": demonstrations")), default=0.0),
        "evaluate": next(n for stage, n in responses.items() if stage.startswith("evaluate")) / evaluated_policies(root),
    }
    asked = {stage: train.ask(responses[stage]) for stage in ("probe", *runs)} | {stage: sample.ask(n) for stage, n in sampled.items()}
    measure = alone.ask(responses["probe"])  # gradients of groups: no more of them than the probe takes
    weights = LIGHT.mem_mb + 2 * model.parameters * m.BYTES[root.policy.dtype] // MB
    if root.average_last is not None:  # the float32 sum of what was trained
        asked["evaluate"] = replace(asked["evaluate"], mem_mb=asked["evaluate"].mem_mb + state_bytes(root, model) // 3 // MB)
    return asked | {"measure": measure} | {stage: _made(root, stage, gpu, weights) for stage in MADE}


def _made(root: RootConfig, stage: str, gpu: bool, mem_mb: int) -> Resources:
    """Of a stage that makes a policy: the GPU is for its cold start, without one it only loads and writes."""
    trains = gpu and (stage == "teacher" or root.policy.cold_start.steps > 0)
    return replace(LIGHT, gpu=1, cpus_per_task=GPU_CORES, mem_mb=mem_mb + GPU_BASE_MB) if trains else replace(LIGHT, mem_mb=mem_mb)


def _responses(root: RootConfig, model: Architecture) -> dict[str, float]:
    """Sampled by each stage for one seed, at most."""
    most = root.sampling.max_new_tokens
    works = plan_work(root, model, Assumptions(most, most, failed=1.0, tries=1.0, delta=1.0))
    return {work.stage: work.most / len(root.seeds) for work in works}


@dataclass(frozen=True)
class _Stage:
    """A stage that holds the policy, and trains it or only samples from it. Prompts count as long as responses may become."""

    root: RootConfig
    model: Architecture
    gpu: bool
    trains: bool
    ranks: TrainerConfig

    def ask(self, responses: float) -> Resources:
        """The memory and cores of one node, the GPUs of all."""
        nproc, nodes = self.ranks.nproc, self.ranks.nodes
        own, shared = self._host_bytes()
        memory = nproc * (GPU_BASE_MB if self.gpu else BASE_MB) + ceil(1.2 * (nproc * own + shared / nodes) / MB)
        minutes = START_MIN + MARGIN * self._seconds(responses) / (nproc * nodes) / 60
        cores = nproc * (GPU_CORES if self.gpu else 1)
        return Resources(nproc * nodes * self.gpu, cores, memory, round(min(MOST_MIN, max(LEAST_MIN, minutes))))

    def _seconds(self, responses: float) -> float:
        """All responses as long as they may become; what was sampled is scored once more."""
        most, root = self.root.sampling.max_new_tokens, self.root
        lengths, rows = Lengths(most, most, most), rows_of_a_step(root) if self.trains else root.engine.max_batch
        scored = scoring(root, self.model, self.gpu, lengths, root.grpo.epochs if self.trains else 0)
        return responses * most * (sampling(root, self.model, self.gpu, lengths, rows) + scored)

    def _host_bytes(self) -> tuple[int, int]:
        """Of each process, and of what they share out among them. With a GPU: weights while they are loaded and kept, and a trainer
        state that is being saved. Without: everything.
        """
        root, dtype, longest = self.root, self.root.policy.dtype, self.root.sampling.max_new_tokens
        weights, state = 2 * self.model.parameters * m.BYTES[dtype], state_bytes(root, self.model)
        if self.gpu:
            return weights, state if self.trains else 0
        cache = self._cache(dtype, 2 * longest)
        if not self.trains:
            return weights + cache, 0
        batch = m.micro_batch(self.model, root.grpo.micro_batch_tokens, longest, longest, 0)
        held = m.training(self.model, dtype, root.policy.lora, root.grpo.kl_coef > 0, batch, device="cpu")
        return max(held.work, cache), held.state

    def _cache(self, dtype: str, longest: int) -> int:
        """Keys and values of a whole batch; with vLLM those that it is given, and the engine itself."""
        engine = self.root.engine
        if engine.name == "vllm" and engine.vllm is not None:
            return int(engine.vllm.cpu_cache_gib * 2**30) + VLLM_MB * MB
        return m.kv_cache(self.model, dtype, engine.max_batch * longest)
