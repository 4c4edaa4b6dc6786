"""How much of a GPU vLLM may fill, and where it keeps what its start can find again."""

import hashlib
import os
import shutil
from pathlib import Path

import torch

from npo_pipeline.configuration.settings import VllmConfig
from npo_pipeline.errors import ConfigError

USABLE = 0.9  # of a GPU's memory, as in npo_pipeline.planning.memory: the rest is CUDA's own, its graphs, and fragments
SPARE = 0.02  # of a GPU's memory that vLLM is not given of what is free: its own start takes some before it counts
LEAST = 0.05  # of a GPU's memory: with less there is no cache worth its name
UNKNOWN = 0.4  # where nobody knows what the trainer will keep


def gpu_share(settings: VllmConfig, device: torch.device, kept: int | None) -> float:
    """Share of the GPU's memory for vLLM's weights, work and cache while it samples; it gives them back when it rests.

    As set by hand; else all that is usable but the `kept` bytes, and no more than is free now. Raises ConfigError where that is nothing.
    """
    if settings.gpu_memory_utilization is not None:
        return settings.gpu_memory_utilization
    if kept is None:
        return UNKNOWN
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return share_of(total, free, max(kept, torch.cuda.memory_allocated(device)))


def share_of(total: int, free: int, kept: int) -> float:
    """Of `total` bytes, of which `free` are free now and `kept` are or will be another's. Raises ConfigError."""
    share = min(USABLE - kept / total, free / total - SPARE)
    if share < LEAST:
        raise ConfigError(
            f"engine=vllm: {free / 1e9:.1f} of the GPU's {total / 1e9:.1f} GB are free and the trainer keeps {kept / 1e9:.1f}, which "
            "leaves vLLM nothing to sample with. Take policy.lora, engine=transformers or a larger GPU; or end what else is on this one"
        )
    return round(share, 3)


def kept_folder(made: Path) -> Path:
    """The same files in a folder that every start finds again under the same name: vLLM's compiled code is filed under its model's path."""
    files = sorted(file for file in made.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(made)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    folder = _cache() / digest.hexdigest()[:24]
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.copytree(made, partial)
        try:
            partial.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(partial)
    return folder


def _cache() -> Path:
    """Beside vLLM's own cache."""
    root = os.environ.get("VLLM_CACHE_ROOT") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "vllm"
    return Path(root).expanduser() / "npo-policies"
