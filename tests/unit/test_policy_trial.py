"""Policies that somebody else made: what is wrong with their files, or shows only as they are tried, is said before anything is trained."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.errors import ArtifactError, ConfigError, DataError
from npo_pipeline.policy.lora import CONFIG, base_of
from npo_pipeline.policy.policy import Policy, as_policy, load_policy, save_policy
from npo_pipeline.preparation.problems import check_fits
from npo_pipeline.preparation.trial import try_policy
from npo_pipeline.records import Problem
from tests.tiny import tiny_policy
from tests.vision import problems_of, tiny_vl_policy

HASH = VerifierConfig("exact", "hash", 1.0)
PROBLEM = Problem("train-000000", "train", "1 + 2 =", "3", "all", "1 + 2 =", (5, 6, 7))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_policy(tiny_policy(), tmp_path / "policy")
    return tmp_path / "policy"


def load(folder: Path) -> Policy:
    return load_policy(folder, "float32", key="policy.path")


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("generation_config.json", {"eos_token_id": "1"}, "found the eos_token_id '1', expected a token's number"),
        ("generation_config.json", {"eos_token_id": [[1]]}, r"found the eos_token_id \[1\], expected"),
        ("generation_config.json", {"eos_token_id": -1}, "found the eos_token_id -1, expected"),
        ("config.json", {"hidden_size": "32"}, "could not be loaded .*'hidden_size' expected int"),
        ("config.json", {"num_attention_heads": 0}, "could not be loaded .*ZeroDivisionError"),
        (
            "config.json",
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
            "could not be loaded .*bitsandbytes",
        ),
        ("tokenizer_config.json", {"eos_token": 7}, "could not be loaded .*eos_token"),
    ],
)
def test_what_its_files_say_wrongly_is_one_line(folder: Path, file: str, changes: dict[str, Any], said: str) -> None:
    edit(folder / file, **changes)
    with pytest.raises(ConfigError, match=said):
        load(folder)


MODEL = {"config.json": "{}", "model.safetensors": "", "tokenizer.json": "{}"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": None}, "a model directory, but it holds no config.json"),
        ({"config.json": "{"}, "a model directory, but its config.json is not a JSON object"),
        ({"model.safetensors": None}, r"weights as \*.safetensors, but the directory holds none"),
        ({"model.safetensors": None, "pytorch_model.bin": ""}, r"weights as \*.safetensors, .* \(pickled weights are not read\)"),
        ({"tokenizer.json": None}, "a tokenizer beside the weights"),
    ],
)
def test_a_model_directory_that_lacks_something_is_refused(tmp_path: Path, files: dict[str, str | None], message: str) -> None:
    for name, text in (MODEL | files).items():
        if text is not None:
            (tmp_path / name).write_text(text)
    overrides = ["policy=hf", f"policy.path={tmp_path}"]
    with pytest.raises(ConfigError, match=rf"^policy.path='{tmp_path}': expected {message}"):
        load_root(overrides=overrides)
    for name, text in MODEL.items():
        (tmp_path / name).write_text(text)
    assert load_root(overrides=overrides).policy.path == str(tmp_path)


def test_a_stop_token_beyond_the_embedding_is_none(folder: Path) -> None:
    stop = load(folder).stop_ids
    edit(folder / "generation_config.json", eos_token_id=[*stop, 5000, None])
    assert load(folder).stop_ids == stop
    policy = tiny_policy()
    policy.tokenizer.add_tokens([f"<extra{i}>" for i in range(500)])
    policy.tokenizer.eos_token = "<extra499>"
    policy.model.generation_config.eos_token_id = None
    with pytest.raises(ConfigError, match=r"found the eos_token_id \d+, expected one below \d+.*resize_token_embeddings"):
        as_policy(policy.model, policy.tokenizer)


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.0.mlp.up_proj.weight_scale"])
def test_weights_that_would_be_left_out_are_named(folder: Path, name: str) -> None:
    file = folder / "model.safetensors"
    save_file(load_file(file) | {name: torch.ones(2, 2)}, file, {"format": "pt"})
    with pytest.raises(ConfigError, match=f"hold {name}, which would be left out; merge the adapter"):
        load(folder)


def test_an_adapter_is_not_its_own_base(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text(json.dumps({"base_model_name_or_path": "."}))
    with pytest.raises(ArtifactError, match="names itself as its base model"):
        base_of(tmp_path)


def test_a_prompt_of_tokens_that_the_model_does_not_know_is_refused() -> None:
    policy = tiny_policy()
    policy.tokenizer.add_tokens([f"<extra{i}>" for i in range(500)])
    token = policy.tokenizer.convert_tokens_to_ids("<extra499>")
    with pytest.raises(ConfigError, match=f"problem train-000000 holds '<extra499>', token {token}, but the model's embedding has"):
        check_fits(Problem("train-000000", "train", "?", "3", "all", "?", (5, token)), policy)
    with pytest.raises(DataError, match="problem train-000000: its prompt has no token"):
        check_fits(Problem("train-000000", "train", "?", "3", "all", "?", ()), policy)


def test_a_sound_policy_passes(caplog: pytest.LogCaptureFixture) -> None:
    try_policy(tiny_policy(), PROBLEM, HASH)
    assert caplog.text == ""


def test_weights_that_are_no_numbers_are_named() -> None:
    policy = tiny_policy()
    policy.model.model.norm.weight.data[3] = float("inf")
    with pytest.raises(ConfigError, match=r"its weight model.norm.weight holds NaN or infinity"):
        try_policy(policy, PROBLEM, HASH)


def test_log_probs_that_are_no_numbers_are_found() -> None:
    policy = tiny_policy()
    policy.model.model.norm.variance_epsilon = float("nan")
    with pytest.raises(ConfigError, match="its log-probs are NaN or infinite on the first problem"):
        try_policy(policy, PROBLEM, HASH)


def test_a_model_that_looks_ahead_is_no_policy() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, initializer_range=1.0
    )
    tokenizer = tiny_policy().tokenizer
    with pytest.raises(ConfigError, match="expected a causal language model; an encoder such as BERT"):
        try_policy(as_policy(BertLMHeadModel(config), tokenizer), PROBLEM, HASH)


def test_an_answer_whose_marker_is_a_special_token_is_never_read() -> None:
    policy = tiny_policy()
    policy.tokenizer.add_special_tokens({"additional_special_tokens": ["####"]})
    with pytest.raises(ConfigError, match=r"task.verifier.extract=hash: .* reads '#### 3' back as"):
        try_policy(policy, PROBLEM, HASH)
    try_policy(policy, PROBLEM, VerifierConfig("python", "hash", 1.0))  # it reads responses as it likes


def test_a_stop_token_that_is_plain_text_is_said(caplog: pytest.LogCaptureFixture) -> None:
    policy = tiny_policy()
    policy.stop_ids = (*policy.stop_ids, policy.tokenizer.convert_tokens_to_ids("3"))
    with caplog.at_level(logging.WARNING):
        try_policy(policy, PROBLEM, HASH)
    assert "('3') ends each response, though it is no special token" in caplog.text


def test_a_policy_that_sees_is_tried_with_its_images(tmp_path: Path) -> None:
    policy = tiny_vl_policy()
    try_policy(policy, next(problem for problem in problems_of(policy, tmp_path) if problem.images), HASH)
