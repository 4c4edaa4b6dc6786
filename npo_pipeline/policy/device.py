"""What a stage runs on: device and threads. Nothing here is part of a configuration: it does not decide what is computed."""

import os

import torch
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from npo_pipeline.errors import ConfigError


def pick_device(name: str) -> str:
    """ "auto" is cuda where there is one. Also fixes the number of threads, since sums over threads round differently.

    One thread unless OMP_NUM_THREADS says otherwise (Snakemake sets it): tiny models are many times faster with one.
    """
    disable_progress_bar()  # of transformers' loading and saving: noise in every log
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch sees no CUDA device; use --device cpu, or install a CUDA build of torch")
    return name


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`; to a GPU from pinned memory, so that nobody waits for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
