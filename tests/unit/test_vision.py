"""Prompts with images: every path through the policy against the processor's own batch of one, put through a plain forward.

The oracle is transformers' `Qwen3VLProcessor` on the directory that we wrote, and the model's own positions (`get_rope_index`).
Its video processor, which needs torchvision, is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import grpo
from transformers import AutoImageProcessor, AutoTokenizer, ProcessorMixin
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from vision import problems_of, tiny_vl_policy

from npo_pipeline.analysis.measurement.slot_gradients import SlotGradients
from npo_pipeline.configuration.settings import LoraConfig, SamplingConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy import qwen3_vl
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.logprobs import micro_batches, score
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import load_policy, load_weights, save_policy
from npo_pipeline.policy.qwen3_vl import Qwen3Vision
from npo_pipeline.policy.vision import ImagePrompt, forbid
from npo_pipeline.records import Problem, Slot, Trajectory
from npo_pipeline.rollout.engine import Request
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.storage.images import load_image

POLICY = tiny_vl_policy()
SAMPLING = SamplingConfig(1.0, 1.0, 0, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepare")


@pytest.fixture(scope="module")
def problems(folder: Path) -> list[Problem]:
    return problems_of(POLICY, folder)


class ImageProcessor(Qwen3VLProcessor):
    """Without videos; how text and images are processed is the library's."""

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        for kind in ("image", "video", "vision_start", "vision_end"):
            token = f"<|{kind}_pad|>" if kind in ("image", "video") else f"<|{kind}|>"
            setattr(self, f"{kind}_token", token)
            setattr(self, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer)


@pytest.fixture(scope="module")
def processor(folder: Path) -> ImageProcessor:
    save_policy(POLICY, folder / "policy")
    parts = (AutoImageProcessor.from_pretrained(folder / "policy", backend="pil"), AutoTokenizer.from_pretrained(folder / "policy"))
    return ImageProcessor(*parts)


@pytest.fixture(scope="module")
def sampled(problems: list[Problem]) -> list[Trajectory]:
    """Two responses to each problem, sampled in one batch."""
    requests = [Request(p.prompt_token_ids, 10 * i + j, p.images) for i, p in enumerate(problems) for j in range(2)]
    found = TransformersEngine(POLICY, SAMPLING, 64).generate(requests)
    return [
        Trajectory("", k, r.prompt_token_ids, c.token_ids, c.logprobs, float(k % 3 == 0), k % 3 == 0, "stop", "", r.images)
        for k, (r, c) in enumerate(zip(requests, found, strict=True))
    ]


def processed(processor: Any, problem: Problem) -> dict[str, torch.Tensor]:
    images = [load_image(image) for image in problem.images]
    return dict(processor(text=[problem.prompt], images=images or None, return_tensors="pt"))


@torch.no_grad()
def plain(processor: Any, problem: Problem, response: Sequence[int]) -> torch.Tensor:
    """Log-probs of a response from one unpadded forward that the processor and the model prepare themselves."""
    inputs = processed(processor, problem)
    length = inputs["input_ids"].shape[1]
    for name, value in (("input_ids", list(response)), ("attention_mask", [1] * len(response)), ("mm_token_type_ids", [0] * len(response))):
        inputs[name] = torch.cat([inputs[name], torch.tensor([value])], dim=1)
    POLICY.model.model.rope_deltas = None
    logits = POLICY.model(**inputs).logits[0].double()
    logits[:, list(POLICY.forbidden_ids)] = -torch.inf
    return logits[length - 1 : -1].log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]


def test_expansion_is_the_processors_own(processor: Any, problems: list[Problem]):
    for problem in problems:
        ids = POLICY.prompt(problem.prompt_token_ids, problem.images)
        inputs = processed(processor, problem)
        assert list(ids) == inputs["input_ids"][0].tolist()
        if not problem.images:
            assert ids == problem.prompt_token_ids
            continue
        assert isinstance(ids, ImagePrompt)
        places = {key: inputs[key] for key in ("input_ids", "mm_token_type_ids", "image_grid_thw")}
        positions, delta = POLICY.model.model.get_rope_index(**places)
        assert torch.equal(ids.positions, positions[:, 0])
        assert ids.next_position == len(ids) + delta.item()
        found = ids.vision.inputs(problem.images)
        for name in ("pixel_values", "image_grid_thw"):
            assert torch.equal(found[name], inputs[name]), name


@pytest.mark.parametrize("budget", [1, 60, 200, 10_000])
def test_every_row_of_a_mixed_batch_equals_the_plain_forward_of_it_alone(
    processor: Any, problems: list[Problem], sampled: list[Trajectory], budget: int
):
    rows = POLICY.rows(sampled)
    sizes = [len(batch) for batch in micro_batches([(len(p), len(r)) for p, r in rows], budget)]
    assert (max(sizes) == 1) == (budget == 1)
    assert (len(sizes) == 1) == (budget == 10_000)
    for k, found in enumerate(score(POLICY.model, rows, POLICY.pad_id, 1.0, budget)):
        expected = plain(processor, problems[k // 2], sampled[k].response_token_ids)
        torch.testing.assert_close(torch.tensor(found).double(), expected, atol=1e-5, rtol=1e-5)


def test_an_image_is_seen(problems: list[Problem], sampled: list[Trajectory]):
    """The tests above would not see a policy that is blind: another image of the same size, or the two swapped, change log-probs."""
    two = next(t for t in sampled if len(t.images) == 2)
    other = replace(two, images=two.images[::-1])
    a, b = score(POLICY.model, POLICY.rows([two, other]), POLICY.pad_id, 1.0, 10_000)
    assert max(abs(x - y) for x, y in zip(a, b, strict=True)) > 1e-3


def test_sampled_logprobs_are_the_trainers_and_of_each_row_alone(problems: list[Problem], sampled: list[Trajectory]):
    scored = score(POLICY.model, POLICY.rows(sampled), POLICY.pad_id, 1.0, 10_000)
    for trajectory, expected in zip(sampled, scored, strict=True):
        torch.testing.assert_close(torch.tensor(trajectory.behaviour_logprobs), torch.tensor(expected), atol=1e-5, rtol=1e-5)
    for k in (0, 5, 11, 14):
        alone = TransformersEngine(POLICY, SAMPLING, 1).generate(
            [Request(sampled[k].prompt_token_ids, 10 * (k // 2) + k % 2, sampled[k].images)]
        )
        assert alone[0].token_ids == sampled[k].response_token_ids


def test_each_prompt_is_read_once_and_one_question_about_two_images_twice(problems: list[Problem]):
    read: list[tuple[int, int]] = []
    hook = POLICY.model.register_forward_pre_hook(
        lambda *call: read.append((len(call[2]["input_ids"]), len(call[2].get("image_grid_thw", ())))), with_kwargs=True
    )
    asked = [problems[0], problems[1], problems[8], problems[2]]  # the second and third show the same image
    requests = [Request(p.prompt_token_ids, i, p.images) for p in asked for i in range(3)]
    found = TransformersEngine(POLICY, replace(SAMPLING, max_new_tokens=1), 64).generate(requests)
    assert read.pop() == (3, 2)
    responses = [(POLICY.prompt(r.prompt_token_ids, r.images), (7, 8, 9)) for r in requests]
    score(POLICY.model, responses, POLICY.pad_id, 1.0, 10_000)
    hook.remove()
    assert read == [(3, 2), (12, 0)]
    assert len(found) == 12


def test_a_placeholder_is_never_sampled_whatever_the_model_thinks_of_it(problems: list[Problem]):
    policy = tiny_vl_policy()
    assert set(policy.forbidden_ids) == {policy.model.config.image_token_id, policy.model.config.video_token_id}
    text = torch.tensor([problems[2].prompt_token_ids])
    with torch.no_grad():  # the head is the embedding, so a row along the state makes its token likely
        state = policy.model.model(text).last_hidden_state[0, -1]
        policy.model.get_input_embeddings().weight[list(policy.forbidden_ids)] = 0.2 * state
        free = policy.model(text).logits[0, -1].softmax(-1)
    assert free[list(policy.forbidden_ids)].sum() > 0.5
    requests = [Request(p.prompt_token_ids, i, p.images) for i in range(40) for p in (problems[2], problems[0])]
    found = TransformersEngine(policy, SAMPLING, 128).generate(requests)
    assert not {token for completion in found for token in completion.token_ids} & set(policy.forbidden_ids)
    rows = [(policy.prompt(r.prompt_token_ids, r.images), c.token_ids) for r, c in zip(requests, found, strict=True)]
    for completion, expected in zip(found, score(policy.model, rows, policy.pad_id, 1.0, 10_000), strict=True):
        torch.testing.assert_close(torch.tensor(completion.logprobs), torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_forbidding_leaves_entropy_and_gradient_finite():
    logits = torch.randn(3, 300, requires_grad=True)
    logprobs = forbid(logits, POLICY.model.config).log_softmax(-1)
    (entropy := -(logprobs.exp() * logprobs).sum()).backward()
    assert torch.isfinite(entropy)
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[:, list(POLICY.forbidden_ids)] == 0).all()


def updated(sampled: list[Trajectory], budget: int) -> Iterator[torch.Tensor]:
    """Loss, and the weights' change by one step of plain GRPO with a KL term, with micro-batches of `budget`."""
    policy = tiny_vl_policy()
    updater = Updater(policy, grpo(micro_batch_tokens=budget, kl_coef=0.1), SAMPLING, tiny_vl_policy(1).model)
    slots = [Slot(t) for t in sampled[:-4]] + [Slot(t, "guide", 3, "recorded") for t in sampled[-4:]]
    result = updater.update(slots, [1.0 if t.verified else -0.5 for t in sampled], 0, 0)
    yield torch.tensor(result.losses + result.grad_norms)
    yield from (parameter.grad for parameter in policy.model.parameters() if parameter.grad is not None)


def test_loss_and_gradient_do_not_hang_on_how_rows_are_cut(sampled: list[Trajectory]):
    whole = list(updated(sampled, 10_000))
    assert whole[0].abs().min() > 1e-3
    for budget in (1, 100):
        for a, b in zip(whole, updated(sampled, budget), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_a_directory_is_read_back_with_its_pixels_and_weights_reload_in_place(folder: Path, processor: Any):
    found = load_policy(folder / "policy", "float32")
    assert identity(found) == identity(POLICY)
    assert found.vision is not None
    assert found.vision.settings == {"min_pixels": 1024, "max_pixels": 16384}
    other = tiny_vl_policy(5)
    save_policy(other, folder / "other")
    load_weights(found, folder / "other")
    assert identity(found) == identity(other)


def test_bfloat16_and_an_adapter_see_what_the_policy_sees(folder: Path, processor: Any, sampled: list[Trajectory]):
    expected = score(POLICY.model, POLICY.rows(sampled), POLICY.pad_id, 1.0, 10_000)
    rounded = load_policy(folder / "policy", "bfloat16")
    assert rounded.model.dtype == torch.bfloat16
    adapted = load_policy(folder / "policy", "float32")
    add_lora(adapted.model, LoraConfig(2, 4.0, 0.0, ["all-linear"]), folder / "policy", 0)
    save_policy(adapted, folder / "adapter")
    for policy, tolerance in ((rounded, 0.1), (load_policy(folder / "adapter", "float32"), 1e-5)):
        found = score(policy.model, policy.rows(sampled), policy.pad_id, 1.0, 10_000)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.tensor(a), torch.tensor(b), atol=tolerance, rtol=0)


def test_gradients_of_the_measure_stage_are_those_of_each_slot(sampled: list[Trajectory]):
    """Two slots that share a prompt and its image, as one batch and one by one."""
    gradients = SlotGradients(tiny_vl_policy(), grpo(), SAMPLING)
    together = gradients.on_policy(sampled[:2], [1.0, -0.5])
    apart = gradients.on_policy(sampled[:1], [1.0]) + gradients.on_policy(sampled[1:2], [-0.5])
    assert np.abs(together).max() > 1e-3
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_pixel_limits_bound_the_tokens_of_an_image(problems: list[Problem]):
    vision = tiny_vl_policy().vision
    assert vision is not None
    lengths = []
    for low, high in ((1024, 1024), (None, 16384), (65536, 65536)):
        vision.limit(low, high)
        lengths.append(len(vision.expand(problems[0].prompt_token_ids, problems[0].images)) - len(problems[0].prompt_token_ids) + 1)
        assert len(vision.inputs(problems[0].images)["pixel_values"]) == 4 * lengths[-1]
    assert lengths == [1, 4, 64]


def test_placeholders_without_images_and_images_without_a_policy_that_sees_are_refused(problems: list[Problem]):
    with pytest.raises(DataError, match=r"holds 1 image placeholders .* for 2 images"):
        POLICY.prompt(problems[0].prompt_token_ids, problems[5].images)
    with pytest.raises(DataError, match=r"a response to imitate holds <\|image_pad\|>"):
        POLICY.response("red <|image_pad|>")
    assert POLICY.response("red")[-1] == POLICY.stop_ids[0]
    with pytest.raises(ConfigError, match=r"^policy.path: this policy reads text alone"):
        replace(POLICY, vision=None).prompt(problems[0].prompt_token_ids, problems[0].images)


def test_pixels_are_kept_within_bounds_and_read_again_as_they_were(problems: list[Problem], monkeypatch: pytest.MonkeyPatch):
    vision = tiny_vl_policy().vision
    assert isinstance(vision, Qwen3Vision)
    images = list({image for problem in problems for image in problem.images})
    whole = vision.inputs(images)
    monkeypatch.setattr(qwen3_vl, "CACHE_BYTES", whole["pixel_values"].nbytes // 2)
    for _ in range(2):
        assert torch.equal(vision.inputs(images)["pixel_values"], whole["pixel_values"])
        assert 0 < vision._bytes == sum(pixels.nbytes for pixels, _ in vision._cache.values()) <= qwen3_vl.CACHE_BYTES
