"""vLLM reading images, in a process of its own: vLLM's processor of Qwen3-VL wants torchvision, which nothing else here does.

A torchvision that stands in this environment is used as it is; else the one in `torchvision/` of the virtual environment, which the
README's test command puts there.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from vllm_here import needs_vllm

pytestmark = [pytest.mark.slow, needs_vllm]

TESTS = Path(__file__).resolve().parents[1]
BESIDE = Path(os.environ.get("NPO_TORCHVISION", Path(sys.prefix) / "torchvision"))


def test_vllm_reads_images_as_the_policy_does() -> None:
    own = find_spec("torchvision") is not None
    if not own and not BESIDE.is_dir() and not os.environ.get("CI"):
        pytest.skip(f"no torchvision: pip install --no-deps --target {BESIDE} torchvision==0.28.0")
    places = [] if own else [str(TESTS / "torchvision_ops"), str(BESIDE)]
    paths = [*places, str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, str(TESTS / "vllm_vision.py")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    assert "vllm_vision: all held" in done.stdout
