"""Tests of GPUs are skipped where there is none, in CI too: there is nothing that an installation could mend.

`NPO_GPU_TESTS_ON=cpu pytest tests/gpu` runs them on the CPU, which shows that they run, and nothing about a GPU.
"""

import os

import pytest
import torch

DEVICE = os.environ.get("NPO_GPU_TESTS_ON", "cuda")

needs_gpu = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU: torch sees none here (NPO_GPU_TESTS_ON=cpu: on the CPU)"
)
