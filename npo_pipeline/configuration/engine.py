"""What `engine` leaves open, settled: who samples, and how that engine runs. A stage's own file holds no open setting of this kind.

Results that were begun stay what they are: whatever is open is as their own configuration has it, on another machine too. Only where
there are none does the machine decide.
"""

from dataclasses import replace
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from npo_pipeline.configuration.settings import EngineConfig, VllmConfig

CHECK_EVERY = {"transformers": 0, "vllm": 20}  # transformers samples from the policy's own model: no second copy goes stale


def settle_engine(engine: EngineConfig, name: str, gpu: bool, held: EngineConfig | None = None) -> EngineConfig:
    """The engine called `name`, with nothing left open. `gpu`: whether it runs on one; `held`: what the results were begun with.

    Equal to what `engine=<name>` composes: so it does not matter to a stage who chose.
    """
    check = CHECK_EVERY[name] if engine.check_every is None else engine.check_every
    if name == "transformers":
        return replace(engine, name=name, check_every=check, vllm=None)
    assert engine.vllm is not None, "checked with the configuration"
    before = held.vllm if held else None
    return replace(engine, name=name, check_every=check, vllm=_settle_vllm(engine.vllm, gpu, before))


def _settle_vllm(vllm: VllmConfig, gpu: bool, before: VllmConfig | None) -> VllmConfig:
    share, eager = vllm.gpu_memory_utilization, vllm.enforce_eager
    if share is None and before is not None:
        share = before.gpu_memory_utilization
    if eager is None and before is not None:
        eager = before.enforce_eager
    return replace(vllm, gpu_memory_utilization=share, enforce_eager=not gpu if eager is None else eager)


def held_engine(results: Path) -> EngineConfig | None:
    """The engine that an experiment's results were begun with, by their configuration of the probe; None: there are none to be read."""
    try:
        values = yaml.safe_load((results / "config/probe.yaml").read_text(encoding="utf-8"))["engine"]
        found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(EngineConfig), values))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, OmegaConfBaseException):
        return None
    assert isinstance(found, EngineConfig)
    return found if found.name in CHECK_EVERY else None
