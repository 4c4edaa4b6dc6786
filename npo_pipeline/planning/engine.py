"""Who samples where `engine=auto` leaves it open: decided once per start, before any stage's configuration is made. And beside what.

What results were begun with goes first, so that they mean the same on every machine: engines draw other random numbers, and all that
was sampled would be made again if the engine followed the machine.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.checks.engine import COLDEST
from npo_pipeline.configuration.engine import held_engine, settle_engine
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.configuration.stages import GuidedStage, MeasureStage, RunStage
from npo_pipeline.errors import ConfigError
from npo_pipeline.planning import memory as m
from npo_pipeline.planning.architecture import read_config
from npo_pipeline.planning.resources import wants_gpu
from npo_pipeline.rollout.installed import is_vllm_installed


def choose_engine(root: RootConfig, device: str, results: Path) -> tuple[RootConfig, str]:
    """The configuration with an engine that is chosen and settled, and a line that says which and why; "" where it was named.

    `device` as for the workflow: auto, cpu or cuda; `results`: the experiment's folder, which need not be there.
    """
    held, gpu = held_engine(results), wants_gpu(root, device)
    name, why = root.engine.name, ""
    if name == "auto" and held is not None:
        name, why = held.name, f"{results} was begun with it (engine={_other(held.name)} makes it anew)"
    elif name == "auto":
        name, why = _by_machine(root, gpu)
    return replace(root, engine=settle_engine(root.engine, name, gpu, held)), f"engine: {name}, since {why}" if why else ""


def _by_machine(root: RootConfig, gpu: bool) -> tuple[str, str]:
    if not gpu:
        return "transformers", "no GPU is used"
    if not is_vllm_installed():
        return "transformers", "vLLM is not installed here (python3 workflow/install.py --extra vllm)"
    reason = _unfit(root)
    return ("transformers", reason) if reason else ("vllm", "a GPU is used and vLLM is installed")


def _unfit(root: RootConfig) -> str:
    """Why vLLM, as it is configured, cannot sample what is asked for; "" where nothing is known against it."""
    assert root.engine.vllm is not None, "checked with the configuration"
    most, room = root.sampling.max_new_tokens, root.engine.vllm.max_model_len
    if min(root.sampling.temperature, root.evaluate.temperature) < COLDEST:
        return f"vLLM samples at no temperature below {COLDEST}"
    return f"sampling.max_new_tokens={most} leaves no room for a prompt in engine.vllm.max_model_len={room}" if most >= room else ""


def _other(name: str) -> str:
    return "vllm" if name == "transformers" else "transformers"


def kept_bytes(config: Any, policy: Path, processes: int = 1) -> int | None:
    """What each process of a stage that makes gradients of the policy of this folder keeps on its GPU while it samples: all but their work.

    0 of other stages, which keep what is there when the engine starts; None of a model whose shape is not known.
    """
    if not isinstance(config, RunStage | MeasureStage) or config.engine.name != "vllm":
        return 0
    try:
        model = read_config(policy)
    except ConfigError:
        return None
    if isinstance(config, MeasureStage):  # a random sign per parameter, for the sketches of gradients
        return model.parameters * (m.BYTES[config.dtype] + 1)
    kept = m.training(model, config.dtype, config.lora, config.grpo.kl_coef > 0, m.Batch(0, 0)).kept(processes)
    averages = config.method.averages if isinstance(config, GuidedStage) and config.method else 0
    return kept + averages * 4 * m.trained_parameters(model, config.lora) // processes
