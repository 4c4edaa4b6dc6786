"""Averages of weights against sums in float64, and a policy that acts with other weights and is afterwards what it was, bit for bit."""

from pathlib import Path

import pytest
import torch
from checkpoint_runs import policy_of, write_run
from hypothesis import given
from hypothesis import strategies as st
from tiny import SAMPLING, grpo, random_slots, tiny_policy
from torch import Tensor

from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.grpo.state import load_state, save_state
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy.average import MovingAverage, acting, mean_of, trained
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.logprobs import score
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import Policy, load_policy, save_policy

ADVANTAGES = [1.3, -0.4, -0.4, -0.5, 0.9, 0.0, -0.9, 0.7]
ROWS = [((5, 9, 11), (7, 8, 40, 1)), ((100,), (7, 1, 3))]


def lora_policy(folder: Path) -> Policy:
    save_policy(tiny_policy(), folder / "policy")
    policy = load_policy(folder / "policy", "bfloat16")
    add_lora(policy.model, LoraConfig(2, 4.0), folder / "policy", 0)
    return policy


def policies(folder: Path) -> dict[str, Policy]:
    bfloat16 = tiny_policy()
    bfloat16.model.to(torch.bfloat16)
    return {"float32": tiny_policy(), "bfloat16": bfloat16, "lora": lora_policy(folder)}


def weights(policy: Policy) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8)) for name, tensor in expected.items())


@given(
    st.lists(st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3), min_size=1, max_size=60),
    st.floats(0.0, 0.999),
)
def test_a_moving_average_weighs_by_age(seen: list[list[float]], decay: float) -> None:
    """By its definition, in float64."""
    masters = [torch.tensor(seen[0])]
    average = MovingAverage(masters, decay)
    for count, values in enumerate(seen[1:], 2):
        masters[0].copy_(torch.tensor(values))
        average.see(masters, count)
    ages = torch.arange(len(seen) - 1, -1, -1, dtype=torch.float64)
    expected = (torch.tensor(seen, dtype=torch.float64) * decay ** ages[:, None]).sum(dim=0) / (decay**ages).sum()
    torch.testing.assert_close(average.tensors[0].double(), expected, rtol=1e-5, atol=1e-4)


def test_beyond_lies_on_the_line_from_the_average_through_the_masters() -> None:
    masters = [torch.tensor([1.0, 2.0])]
    average = MovingAverage(masters, 0.5)
    masters[0].copy_(torch.tensor([4.0, 2.0]))
    average.see(masters, 2)  # (0.5 * 1 + 4) / 1.5 = 3
    assert next(average.beyond(masters, 0.5)).tolist() == [4.5, 2.0]


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "lora"])
def test_the_average_of_a_training_run_is_over_its_masters(tmp_path: Path, kind: str) -> None:
    """With LoRA of the adapters alone; of a bfloat16 policy of what is not rounded."""
    policy = policies(tmp_path)[kind]
    updater = Updater(policy, grpo(learning_rate=1e-2), SAMPLING)
    average, seen = MovingAverage(updater.optimizer.masters, 0.8), [[m.double().clone() for m in updater.optimizer.masters]]
    for step in range(4):
        updater.update(random_slots(policy, 8, seed=step), ADVANTAGES, 0, step)
        average.see(updater.optimizer.masters, step + 2)
        seen.append([m.double().clone() for m in updater.optimizer.masters])
    shares = [0.8 ** (4 - i) for i in range(5)]
    for i, found in enumerate(average.tensors):
        expected = sum(share * masters[i] for share, masters in zip(shares, seen, strict=True)) / sum(shares)
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    names = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    assert len(average.tensors) == len(names)
    assert kind != "lora" or all("lora_" in name for name in names)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "lora"])
def test_a_policy_acts_with_other_weights_and_is_what_it_was(tmp_path: Path, kind: str) -> None:
    policy, other = policies(tmp_path)[kind], policies(tmp_path)[kind]
    updater = Updater(other, grpo(learning_rate=1e-2), SAMPLING)
    updater.update(random_slots(other, 8), ADVANTAGES, 0, 0)
    before, own = weights(policy), [parameter.data_ptr() for parameter in policy.model.parameters()]
    with acting(policy.model, (master.detach() for master in updater.optimizer.masters)):
        assert score(policy.model, ROWS, policy.pad_id, 1.0, 1000) == score(other.model, ROWS, other.pad_id, 1.0, 1000)
        assert same_bits(weights(policy), weights(other))
    assert same_bits(weights(policy), before)
    assert [parameter.data_ptr() for parameter in policy.model.parameters()] == own


def test_a_policy_is_what_it_was_after_a_failure_too() -> None:
    policy = tiny_policy()
    before = weights(policy)
    with pytest.raises(ValueError, match="disk full"), acting(policy.model, [p + 1 for p in trained(policy.model)]):
        raise ValueError("disk full")
    with pytest.raises(ValueError, match="zip"), acting(policy.model, [trained(policy.model)[0] + 1]):
        pass
    assert same_bits(weights(policy), before)


@pytest.mark.parametrize("steps", [[4], [2, 4, 6], [0, 2, 4, 6, 8, 10, 12]])
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "lora"])
def test_the_mean_of_checkpoints_is_that_of_their_weights(tmp_path: Path, kind: str, steps: list[int]) -> None:
    policy = lora_policy(tmp_path) if kind == "lora" else policy_of({"float32": torch.float32, "bfloat16": torch.bfloat16}[kind])
    names = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    kept = write_run(tmp_path / "run", policy, 0.3)
    walk = Walk(tmp_path / "run", 12)
    mean = mean_of(walk, steps)
    assert walk.step == steps[-1]
    for name, found in zip(names, mean, strict=True):
        expected = torch.stack([kept[step][name].float() for step in steps]).sum(dim=0) / len(steps)
        assert torch.equal(found, expected.to(kept[steps[0]][name].dtype)), name
    assert same_bits(weights(walk.policy), kept[steps[-1]])


def test_what_a_method_keeps_beside_the_masters_is_in_the_saved_state(tmp_path: Path) -> None:
    def begun() -> tuple[Policy, Updater, MovingAverage]:
        policy = tiny_policy()
        policy.model.to(torch.bfloat16)
        updater = Updater(policy, grpo(learning_rate=1e-2), SAMPLING)
        average = MovingAverage(updater.optimizer.masters, 0.9)
        updater.optimizer.kept["average"] = average.tensors
        return policy, updater, average

    def go_on(policy: Policy, updater: Updater, average: MovingAverage, steps: range) -> list[Tensor]:
        for step in steps:
            updater.update(random_slots(policy, 8, seed=step), ADVANTAGES, 0, step)
            average.see(updater.optimizer.masters, step + 2)
        return average.tensors

    whole = begun()
    expected = go_on(*whole, range(4))
    killed = begun()
    go_on(*killed, range(2))
    save_state(tmp_path, killed[1].optimizer, 2, "this run")
    resumed = begun()
    assert load_state(tmp_path, resumed[1].optimizer, "this run", 2) == 2
    assert all(map(torch.equal, go_on(*resumed, range(2, 4)), expected))
    assert same_bits(weights(resumed[0]), weights(whole[0]))
