"""vLLM reading images, in processes of their own: vLLM's processor of Qwen3-VL wants torchvision, which nothing else here does.

A torchvision that stands in this environment is used as it is; else the one in `torchvision/` of the virtual environment, which
`workflow/install.py --dev` puts there. Where that one is not of torch's own kind, its two missing operators are declared.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from vllm_here import needs_vllm
from workflow_runner import Workflow

from npo_pipeline.storage.parquet import GUIDE_SHARD, read_rows
from npo_pipeline.storage.run_files import read_jsonl

pytestmark = [pytest.mark.slow, needs_vllm]

TESTS = Path(__file__).resolve().parents[1]
BESIDE = Path(os.environ.get("NPO_TORCHVISION", Path(sys.prefix) / "torchvision"))


OVERRIDES = (
    "name=default engine=vllm engine.vllm.cpu_cache_gib=0.1 task.config={} policy.scratch.vocab_size=400 policy.vision.scratch.layers=1"
    " policy.cold_start.batch_size=32 policy.cold_start.steps=150 sampling.max_new_tokens=24"
)


@pytest.fixture
def python_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchvision that imports, for every process that is started."""
    if find_spec("torchvision") is None and not BESIDE.is_dir() and not os.environ.get("CI"):
        pytest.skip("no torchvision: python3 workflow/install.py --dev")
    paths = [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    for more in ([], [str(BESIDE)], [str(TESTS / "torchvision_ops"), str(BESIDE)]):
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*more, *paths]))
        if subprocess.run([sys.executable, "-c", "import torchvision"], stderr=subprocess.DEVNULL).returncode == 0:
            return
    pytest.fail(f"torchvision does not import, neither that of this environment nor that in {BESIDE}")


@pytest.mark.usefixtures("python_path")
def test_vllm_reads_images_as_the_policy_does() -> None:
    command = [sys.executable, str(TESTS / "vllm_vision.py")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    assert "vllm_vision: all held" in done.stdout


@pytest.mark.usefixtures("python_path")
def test_easy_vqa_runs_on_vllm(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path)
    workflow.run(overrides=OVERRIDES, options=("experiment=easy_vqa",))
    seed = workflow.results / "seed-0"
    for run in ("probe", "npo"):
        gaps = [row["logprob_gap/max"] for row in read_jsonl(seed / run / "metrics.jsonl")]
        assert len(gaps) == 4
        assert max(gaps) < 1e-4
    shards = [row for file in (seed / "guide").glob("step-*/trajectories-*") for row in read_rows(file, GUIDE_SHARD)]
    assert shards
    assert all(len(row["images"]) == 1 for row in shards)
    assert (workflow.results / "report.html").is_file()
