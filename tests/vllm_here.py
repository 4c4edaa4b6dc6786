"""Tests of vLLM are skipped, with a reason, where it is not installed; in CI it must be there."""

import os

import pytest

from npo_pipeline.rollout.installed import is_vllm_installed

needs_vllm = pytest.mark.skipif(
    not is_vllm_installed() and not os.environ.get("CI"),
    reason="vllm is not installed: python3 workflow/install.py --dev",
)
