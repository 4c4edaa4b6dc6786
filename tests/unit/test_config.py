"""What of a stage's configuration decides its results."""

from pathlib import Path

import pytest

from npo_pipeline.configuration import stages as c
from npo_pipeline.configuration.compose import load_root, load_stage, stage_configs, to_yaml


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("grpo.micro_batch_tokens=64", True),
        ("engine.max_batch=8", True),
        ("engine.vllm.gpu_memory_utilization=0.1", True),
        ("engine.vllm.max_model_len=128", False),
        ("grpo.learning_rate=1", False),
        ("sampling.top_k=3", False),
    ],
)
def test_memory_is_no_part_of_what_a_run_is(tmp_path: Path, override: str, same: bool) -> None:
    found = []
    for words in ("engine=vllm", f"engine=vllm {override}"):
        (tmp_path / "probe.yaml").write_text(to_yaml(stage_configs(load_root(overrides=words))["probe"]))
        found.append(c.what_counts(load_stage(tmp_path / "probe.yaml", c.ProbeStage)[0]))
    assert (found[0] == found[1]) == same
