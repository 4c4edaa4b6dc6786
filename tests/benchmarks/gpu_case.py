"""One case of bench_gpu.py, in a process of its own: `python gpu_case.py CASE_AS_JSON`; its last line is its result, as JSON.

A case that fails, hangs or runs out of memory takes nothing with it, and every case finds the card empty.
"""

import json
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gpu_phases import Phases, ceilings, name_of, peak_bytes
from gpu_policy import PROMPT, problems, random_policy

WARM = 2  # steps that are not counted


@dataclass(frozen=True)
class GpuCase:
    """`who` is ours, trl or ceilings; `prompts` x `group` responses of up to `tokens` tokens a step, `micro` tokens a micro-batch."""

    name: str
    who: str
    out: str
    device: str
    shape: str = "0.6"
    engine: str = "transformers"
    dtype: str = "bfloat16"
    prompts: int = 16
    group: int = 8
    tokens: int = 256
    micro: int = 8192
    rank: int = 0  # of LoRA; 0: everything is trained
    recompute: bool = False  # activations are computed again
    steps: int = 5  # the first WARM not counted
    smallest: bool = False

    @property
    def rows(self) -> int:
        return self.prompts * self.group


class ByContent:
    """Rewards that hardly two responses share, so that none is spared its backward."""

    def judge(self, items: Sequence[tuple[Any, str]]) -> list[Any]:
        from npo_pipeline.tasks.judging.verify import Verdict

        shares = [zlib.crc32(text.encode()) % 9973 / 9973 for _, text in items]
        return [Verdict(share, share > 0.5) for share in shares]


def settings_of(case: GpuCase) -> tuple[Any, Any, Any]:
    """GRPO, sampling and engine of the default configuration, of this case's sizes."""
    from npo_pipeline.configuration.compose import load_root
    from npo_pipeline.configuration.engine import settle_engine

    root = load_root(overrides=["engine.vllm.cpu_cache_gib=0.1"] if case.smallest else [])
    sizes = {"prompts_per_step": case.prompts, "group_size": case.group, "learning_rate": 1e-6, "micro_batch_tokens": case.micro}
    sampling = replace(root.sampling, max_new_tokens=case.tokens, temperature=1.0)
    return replace(root.grpo, **sizes), sampling, settle_engine(root.engine, case.engine, gpu=case.device == "cuda")


class Ours:
    """A step as the probe makes it: name, checkpoint, roll-outs, metrics and files included."""

    def __init__(self, case: GpuCase, phases: Phases) -> None:
        from npo_pipeline.grpo.mixer import OnPolicy
        from npo_pipeline.grpo.step import Trainer
        from npo_pipeline.grpo.update import Updater
        from npo_pipeline.policy.checkpoints import CheckpointWriter
        from npo_pipeline.rollout.engines import make_engine
        from npo_pipeline.storage.run_files import RunFiles

        grpo, sampling, settings = settings_of(case)
        self.phases, self.number = phases, 0
        self.policy = adapted(case, random_policy(case.shape, case.dtype, case.device))
        updater, before = Updater(self.policy, grpo, sampling, recompute=case.recompute), allocated(case.device)
        began = time.perf_counter()
        engine = make_engine(settings, sampling, self.policy, forecast(case, self.policy)["kept"])
        self.start, self.engine_bytes = time.perf_counter() - began, allocated(case.device) - before
        self.trainer = Trainer(self.policy, engine, ByContent(), updater, problems(self.policy, 4 * case.prompts), grpo, 0, OnPolicy())  # type: ignore[arg-type]
        self.files = RunFiles(Path(case.out) / "run", "0" * 64)
        self.files.start(0)
        self.writer = CheckpointWriter(self.policy, self.files.folder, 50)
        self.writer.resume(0, set())
        self._watch(engine, updater)

    def _watch(self, engine: Any, updater: Any) -> None:
        watched = [(engine, "generate", "sample"), (engine, "rest", "rest"), (updater, "_backward", "forward+backward")]
        watched += [(updater.optimizer, "step", "optimizer"), (updater, "_measure", "measure"), (self.writer, "put", "checkpoint")]
        watched += [(self.writer, "before_change", "checkpoint"), (self.files, "write_step", "write")]
        inner = getattr(engine, "engine", engine)
        watched += [(inner, "update", "weights")] if hasattr(inner, "update") else []
        for owner, method, name in watched:
            self.phases.watch(owner, method, name)

    def step(self) -> None:
        from npo_pipeline.grpo.step import run_step
        from npo_pipeline.policy.identity import identity

        name = self.phases.timed("identity", identity)(self.policy)
        self.writer.put(self.number, name)
        outcome = run_step(self.trainer, self.number, name, self.writer.before_change)
        self.files.write_step(self.number, outcome.rows, outcome.decisions, outcome.metrics)
        self.number += 1


def adapted(case: GpuCase, policy: Any) -> Any:
    from npo_pipeline.configuration.settings import LoraConfig
    from npo_pipeline.policy.lora import add_lora

    if case.rank:
        add_lora(policy.model, LoraConfig(case.rank, 2 * case.rank), "nowhere", 0)
    return policy


def allocated(device: str) -> int:
    import torch

    return torch.cuda.memory_allocated() if device == "cuda" else 0


def forecast(case: GpuCase, policy: Any) -> dict[str, int]:
    """As `npo plan` makes it: what is kept while it samples, and all of it at the step's peak, without what vLLM has then."""
    from npo_pipeline.configuration.settings import LoraConfig
    from npo_pipeline.planning import memory as m
    from npo_pipeline.planning.architecture import parse

    model = parse(policy.model.config.to_dict(), case.shape)
    lora = LoraConfig(case.rank, 2 * case.rank) if case.rank else None
    batch = m.micro_batch(model, case.micro, PROMPT, case.tokens, 0)
    train = m.training(model, case.dtype, lora, False, batch, case.recompute, case.device)
    cache = m.kv_cache(model, case.dtype, min(case.rows, 256) * (PROMPT + case.tokens)) if case.engine == "transformers" else 0
    peak = train.state + max(train.work, cache - train.gradients)
    return {"kept": train.kept(), "peak": peak, "parameters": model.parameters}


def run_ours(case: GpuCase) -> dict[str, Any]:
    import torch

    phases = Phases(case.device)
    ours = Ours(case, phases)
    for step in range(case.steps):
        if step == WARM and case.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        phases.step(ours.step)
    known = forecast(case, ours.policy)
    peak = peak_bytes(case.device) - ours.engine_bytes  # torch counts vLLM's memory as taken while it sleeps
    ours.writer.wait()
    return {"seconds": phases.means(WARM), "start": ours.start, "peak": peak, "forecast": known["peak"], "parameters": known["parameters"]}


def run_trl(case: GpuCase) -> dict[str, Any]:
    from gpu_trl import run  # TRL need not be there

    return run(case)


def run_ceilings(case: GpuCase) -> dict[str, Any]:
    return ceilings(case.device, case.smallest)


RUNS = {"ours": run_ours, "trl": run_trl, "ceilings": run_ceilings}


def main() -> None:
    case = GpuCase(**json.loads(sys.argv[1]))
    print(json.dumps({"case": asdict(case), "device": name_of(case.device)} | RUNS[case.who](case)), flush=True)


if __name__ == "__main__":
    main()
