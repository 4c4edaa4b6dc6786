"""One update against TRL's own loss and against itself under every cut."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from tiny import SAMPLING, caught_gradients, grpo, random_slots, tiny_policy

from npo_pipeline.grpo.metrics import step_metrics
from npo_pipeline.grpo.mixer import Mixed
from npo_pipeline.grpo.optimizer import PolicyOptimizer
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy.logprobs import collate, response_logprobs
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Group, Problem

ADVANTAGES = [1.3, -0.4, -0.4, -0.5, 0.9, 0.0, -0.9, 0.7]


def copy_of(policy: Policy) -> Policy:
    return Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.stop_ids, policy.pad_id)


def gradients_after(settings, policy: Policy, slots, reference=None) -> tuple[float, dict[str, torch.Tensor]]:
    return caught_gradients(Updater(copy_of(policy), settings, SAMPLING, reference), slots, ADVANTAGES)


def trl_loss(policy: Policy, slots, settings, reference, tmp_path) -> torch.Tensor:
    """TRL's GRPOTrainer._compute_loss on the same model, tokens, old log-probs and advantages."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    arguments = GRPOConfig(
        output_dir=str(tmp_path),
        loss_type={"response": "grpo", "constant": "dr_grpo", "token": "bnpo"}[settings.aggregation],
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        use_bias_correction_kl=False,  # the KL term of the GRPO paper
        max_completion_length=SAMPLING.max_new_tokens,
        num_generations=4,
        per_device_train_batch_size=8,
        report_to=[],
        use_cpu=True,
        bf16=False,
        temperature=1.0,
    )
    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=lambda **_: [0.0],
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["1"]}),
        processing_class=policy.tokenizer,
    )
    trainer.beta = settings.kl_coef  # not an argument: TRL would fetch a reference model by name
    trainer.current_gradient_accumulation_steps = 1
    batch = collate([(s.trajectory.prompt_token_ids, s.trajectory.response_token_ids) for s in slots], policy.pad_id, policy.device)
    prompt = batch.input_ids.shape[1] - batch.response_ids.shape[1]
    old = torch.zeros(batch.response_ids.shape)
    for i, slot in enumerate(slots):
        old[i, : len(slot.trajectory.behaviour_logprobs)] = torch.tensor(slot.trajectory.behaviour_logprobs)
    inputs = {
        "prompt_ids": batch.input_ids[:, :prompt],
        "prompt_mask": batch.attention_mask[:, :prompt],
        "completion_ids": batch.response_ids,
        "completion_mask": batch.response_mask.long(),
        "advantages": torch.tensor(ADVANTAGES),
        "old_per_token_logps": old,
    }
    if reference is not None:
        with torch.no_grad():
            inputs["ref_per_token_logps"], _ = response_logprobs(reference, batch, 1.0)
    return trainer._compute_loss(policy.model, inputs)


@pytest.mark.parametrize("aggregation", ["response", "constant", "token"])
@pytest.mark.parametrize("kl_coef", [0.0, 0.1])
def test_loss_and_gradient_equal_trl(aggregation: str, kl_coef: float, tmp_path):
    policy = tiny_policy()
    reference = tiny_policy(seed=1).model if kl_coef else None
    slots = random_slots(policy, 8)
    settings = grpo(aggregation=aggregation, kl_coef=kl_coef)
    loss, gradient = gradients_after(settings, policy, slots, reference)
    theirs = copy_of(policy)
    expected = trl_loss(theirs, slots, settings, reference, tmp_path)
    expected.backward()
    assert math.isclose(loss, expected.item(), rel_tol=1e-5, abs_tol=1e-7)
    for name, parameter in theirs.model.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("budget", [1, 60, 150])
def test_any_micro_batch_cut_gives_the_same_gradient(budget: int):
    policy = tiny_policy()
    slots = random_slots(policy, 8)
    whole_loss, whole = gradients_after(grpo(), policy, slots)
    loss, cut = gradients_after(grpo(micro_batch_tokens=budget), policy, slots)
    assert math.isclose(loss, whole_loss, rel_tol=1e-5, abs_tol=1e-7)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, atol=1e-6, rtol=1e-4)


def test_uncorrected_and_on_policy_slots_start_at_ratio_one():
    policy = tiny_policy()
    slots = [type(slot)(slot.trajectory) for slot in random_slots(policy, 8)]
    result = Updater(copy_of(policy), grpo(), SAMPLING).update(slots, ADVANTAGES, 0, 0)
    assert result.clipped_tokens == 0
    # At ratio 1 the loss is the mean of -A over rows, whatever the tokens are.
    assert math.isclose(result.losses[0], -sum(ADVANTAGES) / 8, rel_tol=1e-5, abs_tol=1e-6)


def test_several_epochs_and_minibatches_take_that_many_steps_and_clip_later_ones():
    policy = tiny_policy()
    slots = [type(slot)(slot.trajectory) for slot in random_slots(policy, 8)]
    result = Updater(copy_of(policy), grpo(epochs=3, minibatches=2, learning_rate=0.02), SAMPLING).update(slots, ADVANTAGES, 0, 0)
    assert len(result.losses) == 6
    assert result.clipped_tokens > 0
    assert all(len(row) == len(slot.trajectory.response_token_ids) for row, slot in zip(result.measured.logprobs, slots, strict=True))


def test_engine_correction_equals_a_float64_derivation_and_leaves_guides_alone():
    """Half of the slots are the engine's own samples, with log-probs that are off by half a nat; the others are guides."""
    policy, cap = tiny_policy(), 1.2
    slots = [type(slot)(slot.trajectory) if i % 2 else slot for i, slot in enumerate(random_slots(policy, 8))]
    exact = copy.deepcopy(policy.model).double()
    expected = torch.tensor(0.0, dtype=torch.float64)
    for slot, advantage in zip(slots, ADVANTAGES, strict=True):
        prompt, response = slot.trajectory.prompt_token_ids, slot.trajectory.response_token_ids
        logits = exact(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
        now = logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]
        engine = torch.tensor(slot.trajectory.behaviour_logprobs, dtype=torch.float64)
        if slot.source == "on_policy":  # ratio 1, weighed
            tokens = torch.exp(now - now.detach()) * advantage * torch.exp(now.detach() - engine).clamp(max=cap)
        else:
            ratio = torch.exp(now - engine)
            tokens = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage)
        expected = expected - tokens.mean() / 8
    expected.backward()
    loss, gradient = gradients_after(grpo(engine_correction_cap=cap), policy, slots)
    assert math.isclose(loss, expected.item(), rel_tol=1e-5)
    for name, parameter in exact.named_parameters():
        torch.testing.assert_close(gradient[name].double(), parameter.grad, atol=1e-6, rtol=1e-4)


def test_engine_correction_changes_no_bit_where_engine_and_trainer_agree():
    policy = tiny_policy()
    slots = [type(slot)(slot.trajectory) for slot in random_slots(policy, 8)]
    measured = Updater(copy_of(policy), grpo(), SAMPLING).update(slots, ADVANTAGES, 0, 0).measured.logprobs
    exact = [type(slot)(replace(slot.trajectory, behaviour_logprobs=tuple(row))) for slot, row in zip(slots, measured, strict=True)]
    off, corrected = (gradients_after(grpo(engine_correction_cap=cap), policy, exact) for cap in (None, 2.0))
    assert off[0] == corrected[0]
    assert all(torch.equal(gradient, corrected[1][name]) for name, gradient in off[1].items())


def test_the_gap_between_engine_and_trainer_is_measured_on_its_own_samples():
    """Mean, largest, and the k3 estimate of KL(engine || trainer), in float64."""
    policy = tiny_policy()
    slots = [type(slot)(slot.trajectory) if i % 2 else slot for i, slot in enumerate(random_slots(policy, 8))]
    result = Updater(copy_of(policy), grpo(), SAMPLING).update(slots, ADVANTAGES, 0, 0)
    problem = Problem("p", "train", "", "", "", "", ())
    group = Group(problem, tuple(slots), 0.0, 0.0)
    found = step_metrics([group], Mixed([group]), result)
    pairs = [(row, slot.trajectory.behaviour_logprobs) for row, slot in zip(result.measured.logprobs, slots, strict=True)]
    gaps = torch.tensor([a - b for row, engine in pairs[1::2] for a, b in zip(row, engine, strict=True)], dtype=torch.float64)
    assert math.isclose(found["logprob_gap/mean"], gaps.abs().mean().item(), rel_tol=1e-6)
    assert math.isclose(found["logprob_gap/max"], gaps.abs().max().item(), rel_tol=1e-6)
    assert math.isclose(found["logprob_gap/kl"], (gaps.exp() - 1 - gaps).mean().item(), rel_tol=1e-6)


def test_zero_advantages_change_nothing():
    policy = tiny_policy()
    before = copy.deepcopy(policy.model.state_dict())
    Updater(policy, grpo(), SAMPLING).update(random_slots(policy, 8), [0.0] * 8, 0, 0)
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())


def test_bfloat16_keeps_a_float32_master():
    policy = tiny_policy()
    policy.model.to(torch.bfloat16)
    updater = Updater(policy, grpo(learning_rate=1e-5), SAMPLING)
    slots = [type(slot)(slot.trajectory) for slot in random_slots(policy, 8)]
    before = [master.clone() for master in updater.optimizer.masters]
    updater.update(slots, ADVANTAGES, 0, 0)
    moved = [not torch.equal(a, b) for a, b in zip(before, updater.optimizer.masters, strict=True)]
    assert any(moved)
    for master, parameter in zip(updater.optimizer.masters, updater.optimizer.parameters, strict=True):
        assert torch.equal(master.to(torch.bfloat16), parameter)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: on a CPU a state is where it belongs anyway")
def test_a_state_goes_to_the_device_of_the_weights() -> None:
    weight = torch.nn.Linear(3, 2).cuda()
    optimizer = PolicyOptimizer(weight, grpo())
    weight(torch.ones(1, 3, device="cuda")).sum().backward()
    optimizer.step(0)
    resumed = PolicyOptimizer(weight, grpo())
    resumed.load_state_tensors({name: tensor.cpu() for name, tensor in optimizer.state_tensors().items()})
    weight(torch.ones(1, 3, device="cuda")).sum().backward()
    resumed.step(1)
    assert {tensor.device.type for state in resumed.adam.state.values() for tensor in state.values()} == {"cuda"}
