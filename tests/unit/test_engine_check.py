"""The self-check of engines and the question whether one is installed, with the embedded engine as the one that goes stale."""

import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_policy

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import EngineConfig, SamplingConfig
from npo_pipeline.errors import ConfigError, DataError, NumericalError
from npo_pipeline.policy.identity import identity
from npo_pipeline.records import Problem
from npo_pipeline.rollout.check import CheckedEngine
from npo_pipeline.rollout.engine import Request
from npo_pipeline.rollout.engines import check_prompts
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.rollout.installed import check_installed

REQUESTS = [Request((5, 6, 7 + i), i) for i in range(20)]


@pytest.mark.parametrize("sampling", [SamplingConfig(1.0, 1.0, 0, 10), SamplingConfig(0.7, 0.8, 30, 10)])
def test_a_stale_engine_is_caught_at_its_first_call_and_every_nth(sampling: SamplingConfig) -> None:
    policy, stale = tiny_policy(), tiny_policy()
    engine = CheckedEngine(TransformersEngine(stale, sampling, 64), policy, sampling, EngineConfig("stale", 64, 3, None))
    found = [engine.generate(REQUESTS) for _ in range(2)]
    assert found[0] == TransformersEngine(policy, sampling, 64).generate(REQUESTS)  # a check changes nothing
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(3)
    engine.generate(REQUESTS)  # call 2 of 0, 1, 2: not checked
    with pytest.raises(NumericalError, match=r"engine stale, call 3: its log-probs differ from the policy's by .* \d+ tokens \(largest"):
        engine.generate(REQUESTS)
    with pytest.raises(NumericalError, match="call 0"):
        CheckedEngine(engine.engine, policy, sampling, engine.settings).generate(REQUESTS)
    engine.generate([])


def test_a_prompt_that_vllm_cannot_read_is_refused_before_anything_is_started() -> None:
    policy, sampling, settings = tiny_policy(), SamplingConfig(1.0, 1.0, 0, 10), load_root(overrides="engine=vllm").engine
    assert settings.vllm
    settings.vllm.max_model_len = 30
    fits, long = (Problem("", "train", "", "", "", "", tuple(range(2, 2 + length))) for length in (20, 21))
    check_prompts(settings, sampling, policy, [fits])
    with pytest.raises(DataError, match=r"30 tokens can be read, but a prompt of 21 with .* needs 31"):
        check_prompts(settings, sampling, policy, [fits, long])


def test_a_response_that_the_policy_cannot_hold_is_refused_before_the_run() -> None:
    """GPT-2 has 1,024 positions and no more."""
    policy, settings = tiny_policy(), load_root().engine
    policy.model.config.max_position_embeddings = 30
    fits, long = (Problem("", "train", "", "", "", "", tuple(range(2, 2 + length))) for length in (20, 21))
    check_prompts(settings, SamplingConfig(1.0, 1.0, 0, 10), policy, [fits])
    with pytest.raises(DataError, match=r"^sampling.max_new_tokens: 30 tokens can be read, but a prompt of 21 with .* needs 31"):
        check_prompts(settings, SamplingConfig(1.0, 1.0, 0, 10), policy, [fits, long])


def test_a_difference_within_the_tolerance_passes() -> None:
    policy, sampling = tiny_policy(), SamplingConfig(1.0, 1.0, 0, 10)
    engine = TransformersEngine(tiny_policy(seed=1), sampling, 64)
    CheckedEngine(engine, policy, sampling, EngineConfig("other", 64, 1, 1.0)).generate(REQUESTS)
    with pytest.raises(NumericalError, match="allows 1e-05"):
        CheckedEngine(engine, policy, sampling, EngineConfig("other", 64, 1, 1e-5)).generate(REQUESTS)


def test_the_hash_of_the_weights_tells_any_one_weight_apart() -> None:
    policy = tiny_policy()
    before = identity(policy)
    assert before == identity(tiny_policy())
    for parameter in policy.model.parameters():
        parameter.data.view(-1)[0] += 1e-6  # through .data, which no version counter sees
        assert before != identity(policy)
        before = identity(policy)


def test_vllm_that_is_not_installed_is_one_line_that_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm").mkdir()  # a folder of that name is no installation
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    with pytest.raises(
        ConfigError, match=r"^engine=vllm: .*not installed.*workflow/install\.py --extra vllm.*pip install vllm .*engine=transformers$"
    ):
        check_installed(load_root(overrides="engine=vllm").engine)
    check_installed(load_root().engine)
