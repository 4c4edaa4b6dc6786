"""The tiled head against float64 autograd on whole logits, against TRL's, and in every kind of model against the model's own logits."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SAMPLING, grpo, random_slots, small_tiles, tiny_policy
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from vision import problems_of, tiny_vl_policy

from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy.head import plain_head
from npo_pipeline.policy.logprobs import collate, response_logprobs
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.online_softmax import head_logprobs
from npo_pipeline.policy.policy import Policy
from npo_pipeline.policy.tiling import is_whole, tile_width

Found = tuple[Tensor, Tensor, list[Tensor | None]]
DECODER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 301,
    "pad_token_id": 0,
}


def operands(seed: int, tokens: int, hidden: int, words: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Hidden states, weight, bias, and slopes of log-probs and entropies."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((tokens, hidden), (words, hidden), (words,), (tokens,), (tokens,))
    made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    return [tensor.requires_grad_(i < 3) for i, tensor in enumerate(made)]


def whole(hidden: Tensor, weight: Tensor, bias: Tensor | None, chosen: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logits = hidden @ weight.T if bias is None else hidden @ weight.T + bias
    logprobs = (logits / temperature).log_softmax(dim=-1)
    return logprobs.gather(1, chosen[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(dim=-1)


def gradients(found: tuple[Tensor, Tensor], slopes: list[Tensor], of: list[Tensor]) -> list[Tensor]:
    loss = sum((values * slope).sum() for values, slope in zip(found, slopes, strict=True))
    return list(torch.autograd.grad(loss, of))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9), st.integers(1, 7), st.integers(1, 40), st.integers(1, 45), st.sampled_from([1.0, 0.6]), st.booleans())
def test_any_tiles_equal_float64_autograd(seed: int, tokens: int, words: int, width: int, temperature: float, biased: bool) -> None:
    hidden, weight, bias, *slopes = operands(seed, tokens, 3, words)
    chosen = torch.randint(words, (tokens,), generator=torch.Generator().manual_seed(seed))
    asked = [hidden, weight, bias] if biased else [hidden, weight]
    found = head_logprobs(hidden, weight, bias if biased else None, chosen, temperature, (), width)
    expected = whole(hidden, weight, bias if biased else None, chosen, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradients(found, slopes, asked), gradients(expected, slopes, asked), rtol=1e-8, atol=1e-9)


def test_gradcheck_with_tokens_ruled_out() -> None:
    hidden, weight, bias, *_ = operands(0, 4, 3, 11)
    chosen = torch.tensor([0, 4, 10, 5])
    function = lambda *parts: head_logprobs(*parts, chosen, 0.8, (3, 9), 4)  # noqa: E731
    assert torch.autograd.gradcheck(function, (hidden, weight, bias))
    allowed = [i for i in range(11) if i not in (3, 9)]
    renamed = torch.tensor([allowed.index(token) for token in chosen])
    expected = whole(hidden, weight[allowed], bias[allowed], renamed, 0.8)
    torch.testing.assert_close(function(hidden, weight, bias), expected, rtol=1e-9, atol=1e-10)


def test_extreme_logits_stay_finite() -> None:
    hidden, weight = torch.tensor([[1.0], [-1.0]]).requires_grad_(), torch.tensor([[3e4], [-3e4], [0.0], [2e4]]).requires_grad_()
    logprobs, entropy = head_logprobs(hidden, weight, None, torch.tensor([0, 0]), 1.0, (), 1)
    assert logprobs.tolist() == [0.0, -6e4]
    assert entropy.abs().max() < 1e-2
    assert all(torch.isfinite(part).all() for part in gradients((logprobs, entropy), [torch.ones(2), torch.ones(2)], [hidden, weight]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_trl(dtype: torch.dtype) -> None:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    hidden, weight, bias, *slopes = operands(1, 37, 16, 200, dtype)
    asked = [hidden, weight, bias] if dtype == torch.float32 else [hidden, weight]  # TRL rounds before it adds a bias, a model does not
    given_bias = bias if dtype == torch.float32 else None
    chosen = torch.randint(200, (37,), generator=torch.Generator().manual_seed(1))
    theirs = ChunkedLogProbFunction.apply(hidden, weight, given_bias, chosen, 0.9, 64, None, 1.0, ("entropy",))[:2]
    ours = head_logprobs(hidden, weight, given_bias, chosen, 0.9, (), 64)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    slopes = [slope.float() for slope in slopes]
    for a, b in zip(gradients(ours, slopes, asked), gradients(theirs, slopes, asked), strict=True):
        assert (a - b).double().norm() <= (1e-6 if dtype == torch.float32 else 3e-3) * b.double().norm()


def test_bfloat16_is_as_near_to_the_truth_as_whole_logits_are() -> None:
    hidden, weight, _, *slopes = operands(2, 64, 32, 3000, torch.bfloat16)
    chosen = torch.randint(3000, (64,), generator=torch.Generator().manual_seed(2))
    exact = [hidden.detach().double().requires_grad_(), weight.detach().double().requires_grad_()]
    truth = whole(*exact, None, chosen, 1.0)
    true_slopes = gradients(truth, [slopes[0].double(), 0 * slopes[1].double()], exact)
    errors = []
    for found in (head_logprobs(hidden, weight, None, chosen, 1.0, (), 500), _as_before(hidden, weight, chosen)):
        got = [found[0], *gradients(found, [slopes[0].float(), 0 * slopes[1].float()], [hidden, weight])]
        errors.append([((a.double() - b).norm() / b.norm()).item() for a, b in zip(got, [truth[0], *true_slopes], strict=True)])
    assert all(tiled <= 1.05 * before for tiled, before in zip(*errors, strict=True)), errors


def _as_before(hidden: Tensor, weight: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    logprobs = torch.nn.functional.linear(hidden, weight).float().log_softmax(dim=-1)
    return logprobs.gather(1, chosen[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(dim=-1)


def text_rows(words: int = 300) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Rows that share prompts, of several lengths, one without a response."""
    made = [(slot.trajectory.prompt_token_ids, slot.trajectory.response_token_ids) for slot in random_slots(tiny_policy(), 9)]
    return [(made[i % 4][0], tuple(token % words for token in response)) for i, (_, response) in enumerate(made)] + [((5, 6), ())]


def made(kind: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **DECODER | changes), dtype=torch.float64).eval()


def adapted() -> PreTrainedModel:
    model = tiny_policy().model
    add_lora(model, LoraConfig(4, 8.0, target_modules=["all-linear"]), "base", 0)
    return model.double()


def biased() -> PreTrainedModel:
    model = made("llama")
    model.lm_head.bias = torch.nn.Parameter(torch.randn(301, dtype=torch.float64))
    return model


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "tiny": lambda: tiny_policy().model.double(),
    "llama with a tied head": lambda: made("llama", tie_word_embeddings=True),
    "llama with a bias at the head": biased,
    "lora": adapted,
}
CHANGED = {
    "gemma2": {"final_logit_softcapping": 2.0, "attn_logit_softcapping": None, "query_pre_attn_scalar": 8},
    "granite": {"logits_scaling": 3.0},
    "cohere": {"logit_scale": 0.25},
}


def seen(model: PreTrainedModel, batch: Any, share: bool) -> Found:
    """Log-probs, entropies, and the gradient of a loss in which each token has weights of its own."""
    logprobs, entropy = response_logprobs(model, batch, 0.8, True, share)
    weights = torch.arange(1.0, logprobs.numel() + 1).view_as(logprobs) / logprobs.numel()
    (logprobs * weights + 0.3 * entropy * weights.flip(0)).sum().backward()
    gradient = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    return logprobs.detach(), entropy.detach(), gradient


def assert_found(found: Found, expected: Found, absolute: float = 1e-9) -> None:
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-7, atol=max(1e-7, absolute))
    for a, b in zip(found[2], expected[2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=absolute)


def assert_same(model: PreTrainedModel, rows: Any, pad_id: int = 0) -> None:
    """Tiled and whole, prompts shared or not: at one point and then for good."""
    batch = collate(rows, pad_id, torch.device("cpu"))
    for share in (True, False):
        expected = seen(model, batch, share)
        with small_tiles(70):
            found = seen(model, batch, share)
        assert_found(found, expected)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_gives_the_same_in_tiles(name: str) -> None:
    model = MODELS[name]()
    assert_same(model, text_rows())
    assert plain_head(model) is not None, "it was made in tiles"


@pytest.mark.parametrize("name", list(CHANGED))
def test_a_model_that_changes_its_logits_is_recognised(name: str) -> None:
    model = made(name, **CHANGED[name])
    assert plain_head(model) is not None
    assert_same(model, text_rows())
    assert plain_head(model) is None, "and is not tried again"


def test_images_are_read_in_tiles_and_their_tokens_ruled_out(tmp_path: Any) -> None:
    policy = tiny_vl_policy()
    policy.model.double()
    prompts = [policy.prompt(p.prompt_token_ids, p.images) for p in problems_of(policy, tmp_path)]
    rows = [(prompt, (7, 9 + i, 30)[: 1 + i % 3]) for i, prompt in enumerate([*prompts, *prompts])]
    assert_same(policy.model, rows, policy.pad_id)
    assert policy.forbidden_ids
    assert plain_head(policy.model) is not None


def test_an_update_is_the_same_in_tiles() -> None:
    advantages = [1.3, -0.4, -0.4, -0.5, 0.9, 0.0, -0.9, 0.7]
    results = []
    for narrow in (False, True):
        policy = tiny_policy()
        own = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.stop_ids, policy.pad_id)
        updater = Updater(own, grpo(epochs=2, minibatches=2, entropy_coef=0.01, micro_batch_tokens=60), SAMPLING)
        if narrow:
            with small_tiles():
                result = updater.update(random_slots(policy, 8), advantages, 0, 0)
        else:
            result = updater.update(random_slots(policy, 8), advantages, 0, 0)
        results.append(result)
    assert results[1].losses == pytest.approx(results[0].losses, rel=1e-4, abs=1e-6)
    assert results[1].grad_norms == pytest.approx(results[0].grad_norms, rel=1e-4)
    assert results[1].measured.entropy == pytest.approx(results[0].measured.entropy, rel=1e-4)


@given(st.integers(0, 10**6), st.integers(1, 300_000), st.sampled_from(["cpu", "cuda"]))
def test_a_tile_is_bounded_and_tiles_are_even(tokens: int, vocabulary: int, device: str) -> None:
    width = tile_width(tokens, vocabulary, device)
    assert 1 <= width <= vocabulary
    assert width * tokens <= max(2**20 if device == "cpu" else 2**25, 512 * tokens)
    assert width * (-(-vocabulary // width) - 1) < vocabulary
    assert not is_whole(8192, 151_936)
    assert is_whole(2048, 512)
