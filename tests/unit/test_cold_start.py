"""The cold start, and the end that responses of others are taught with."""

import torch
from tiny import tiny_policy

from npo_pipeline.configuration.settings import ColdStartConfig
from npo_pipeline.policy.cold_start import cold_start
from npo_pipeline.policy.policy import as_policy

SETTINGS = ColdStartConfig(steps=30, examples=8, batch_size=4, learning_rate=2e-5)
ROWS = [((5 + i, 9), (20 + i, 21, 22, 1)) for i in range(8)]


def test_a_bfloat16_policy_learns_as_a_float32_one_does():
    """Rounded after every small step, five of six weights would never change."""
    single, half = tiny_policy(), tiny_policy()
    half.model.bfloat16()
    single.model.bfloat16().float()  # the same start
    before = torch.cat([parameter.detach().flatten() for parameter in half.model.parameters()])
    cold_start(single, ROWS, SETTINGS, 0)
    cold_start(half, ROWS, SETTINGS, 0)
    assert half.model.dtype == torch.bfloat16
    after = torch.cat([parameter.detach().flatten() for parameter in half.model.parameters()])
    wanted = torch.cat([parameter.detach().flatten() for parameter in single.model.parameters()]).bfloat16()
    assert torch.equal(after, wanted)
    assert not torch.equal(after, before)


def test_of_several_stop_tokens_a_response_is_taught_the_end_of_a_turn():
    """As Qwen's chat models have them: <|endoftext|> stops, too, and has the smaller id."""
    policy = tiny_policy()
    end = policy.tokenizer.eos_token_id
    policy.model.generation_config.eos_token_id = [end, 0]
    chat = as_policy(policy.model, policy.tokenizer)
    assert chat.stop_ids == (0, end)
    assert chat.response("9")[-1] == end
