"""LoRA adapters of an adopted run: which can be gone on with here, and what is said of the others."""

from pathlib import Path

import pytest
from test_adoption import adapter, alike, policy

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.errors import ConfigError, DataError


def test_adapters_need_the_settings_that_they_were_trained_with(tmp_path: Path) -> None:
    adapter(tmp_path / "run/checkpoint-5")
    policy(tmp_path / "initial")
    shown = r"set policy\.lora=\{rank:4,alpha:8,target_modules:\[q_proj,v_proj\]\}"
    with pytest.raises(ConfigError, match=f"policy.lora: null, but .*{shown}"):
        alike(tmp_path / "run")
    with pytest.raises(ConfigError, match=f"policy.lora: not what .*{shown}"):
        alike(tmp_path / "run", LoraConfig(8, 8, target_modules=["q_proj", "v_proj"]))
    assert alike(tmp_path / "run", LoraConfig(4, 8, target_modules=["q_proj", "v_proj"])) == []
    assert alike(tmp_path / "run", LoraConfig(4, 8, target_modules=["all-linear"])) == []
    adapter(tmp_path / "run/checkpoint-6", use_dora=True)
    policy(tmp_path / "run/checkpoint-7")
    with pytest.raises(DataError, match=r"step 7, .*: a whole policy, where step 5 is an adapter"):
        alike(tmp_path / "run")


def test_an_adapter_that_cannot_be_trained_on_here(tmp_path: Path) -> None:
    adapter(tmp_path / "run/checkpoint-5", use_dora=True)
    policy(tmp_path / "initial")
    with pytest.raises(
        DataError, match=r"no plain LoRA adapter of named layers: use_dora is True .*; merge it into its base and adopt that"
    ):
        alike(tmp_path / "run", LoraConfig(4, 8))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alpha_pattern", {"v_proj": 32}),
        ("rank_pattern", {"v_proj": 8}),
        ("layers_to_transform", [0]),
        ("layers_to_transform", 0),
        ("layer_replication", [[0, 1]]),
        ("target_parameters", ["experts"]),
        ("trainable_token_indices", [1]),
        ("bias", "all"),
        ("use_rslora", True),
        ("init_lora_weights", "pissa_niter_4"),
        ("target_modules", ".*_proj"),
        ("peft_type", "VERA"),
    ],
)
def test_an_adapter_that_counts_otherwise_is_refused_wherever_it_lies(tmp_path: Path, key: str, value: object) -> None:
    adapter(tmp_path / "run/checkpoint-5", bias="none", init_lora_weights=True, alpha_pattern={}, layers_to_transform=None)
    adapter(tmp_path / "run/checkpoint-6", **{key: value})
    policy(tmp_path / "initial")
    with pytest.raises(DataError, match=f"step 6, .*no plain LoRA adapter of named layers: {key} is "):
        alike(tmp_path / "run", LoraConfig(4, 8, target_modules=["q_proj", "v_proj"]))


def test_an_adapter_of_all_linear_layers_is_told_its_short_name(tmp_path: Path) -> None:
    adapter(tmp_path / "run/checkpoint-5", target_modules=["model.layers.0.self_attn.v_proj", "model.layers.0.self_attn.q_proj"])
    policy(tmp_path / "initial")
    with pytest.raises(ConfigError, match=r"set policy\.lora=\{rank:4,alpha:8,target_modules:\[all-linear\]\}"):
        alike(tmp_path / "run")
    assert alike(tmp_path / "run", LoraConfig(4, 8, target_modules=["all-linear"])) == []


def test_an_adapter_of_another_base_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (5, 6):
        adapter(tmp_path / f"run/checkpoint-{step}", base_model_name_or_path="Qwen/Qwen2.5-7B")
    lora = "policy.lora={rank:4,alpha:8,target_modules:[q_proj,v_proj]}"
    for path in ("elsewhere/Qwen2.5-7B", "some/other", "some/other"):
        words = ["policy.source=pretrained", f"policy.path={path}", "policy.cold_start.steps=0", lora]
        load_root(overrides=[*words, f"probe.adopt={tmp_path}/run/checkpoint-*", "guided.start=5"])
    assert caplog.text.count("says that it was trained on Qwen/Qwen2.5-7B, policy.path is some/other") == 1
    assert "policy.path is elsewhere/Qwen2.5-7B" not in caplog.text
