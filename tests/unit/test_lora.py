"""LoRA against peft's own loader and against merged weights, in the trainer and on disk."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tiny import SAMPLING, grpo, random_slots, tiny_policy
from transformers import AutoModelForCausalLM

from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.errors import ArtifactError, ConfigError
from npo_pipeline.grpo.state import load_state, save_state
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.logprobs import score
from npo_pipeline.policy.lora import add_lora, without_adapter
from npo_pipeline.policy.policy import Policy, export_policy, load_policy, load_weights, save_policy

LORA = LoraConfig(rank=4, alpha=8.0)
ADVANTAGES = [1.3, -0.4, -0.4, -0.5, 0.9, 0.0, -0.9, 0.7]
ROWS = [((5, 9, 11), (7, 8, 40, 1)), ((5, 9), (30, 2)), ((100,), (7, 1, 3))]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_policy(tiny_policy(), tmp_path / "prepare/policy")
    return tmp_path / "prepare/policy"


def fresh(base: Path, seed: int = 0, settings: LoraConfig = LORA, dtype: str = "float32") -> Policy:
    policy = load_policy(base, dtype)
    add_lora(policy.model, settings, base, seed)
    return policy


def trained(base: Path, dtype: str = "float32", **changes: object) -> Policy:
    policy = fresh(base, dtype=dtype)
    updater = Updater(policy, grpo(learning_rate=1e-2, **changes), SAMPLING)
    for step in range(3):
        updater.update(random_slots(policy, 8, seed=step), ADVANTAGES, 0, step)
    return policy


def logprobs(policy: Policy) -> torch.Tensor:
    return torch.tensor([value for row in score(policy.model, ROWS, policy.pad_id, 1.0, 10_000) for value in row])


def test_a_new_adapter_changes_nothing_and_training_moves_adapters_only(base: Path) -> None:
    plain = load_policy(base, "float32")
    assert torch.equal(logprobs(fresh(base)), logprobs(plain))
    policy = trained(base)
    assert not torch.allclose(logprobs(policy), logprobs(plain), atol=1e-3)
    before = plain.model.state_dict()
    frozen = {name.replace(".base_layer.", "."): t for name, t in policy.model.state_dict().items() if ".lora_" not in name}
    assert frozen.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in frozen.items())


def test_a_checkpoint_is_a_peft_directory(base: Path, tmp_path: Path) -> None:
    policy = trained(base)
    folder = tmp_path / "seed-0/probe/checkpoints/step-000003"
    save_policy(policy, folder)
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    with torch.no_grad():
        ids = torch.tensor([[5, 9, 11, 7, 8, 40, 1]])
        torch.testing.assert_close(theirs(ids).logits, policy.model(ids).logits, atol=1e-6, rtol=0)


def test_checkpoints_load_whole_and_in_place(base: Path, tmp_path: Path) -> None:
    policy, start = trained(base), fresh(base)
    save_policy(policy, tmp_path / "run/step-3")
    save_policy(start, tmp_path / "run/step-0")
    loaded = load_policy(tmp_path / "run/step-3", "float32")
    assert identity(loaded) == identity(policy) != identity(start)
    assert torch.equal(logprobs(loaded), logprobs(policy))
    load_weights(loaded, tmp_path / "run/step-0")
    assert identity(loaded) == identity(start)


def test_results_may_be_moved(base: Path, tmp_path: Path) -> None:
    save_policy(trained(base), tmp_path / "seed-0/step-3")
    (tmp_path / "elsewhere").mkdir()
    for name in ("prepare", "seed-0"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert json.loads((tmp_path / "elsewhere/seed-0/step-3/adapter_config.json").read_text())["base_model_name_or_path"] == (
        "../../prepare/policy"
    )
    load_policy(tmp_path / "elsewhere/seed-0/step-3", "float32")


def test_merged_equals_base_and_adapter(base: Path, tmp_path: Path) -> None:
    policy = trained(base)
    export_policy(policy, tmp_path / "policy")
    merged = load_policy(tmp_path / "policy", "float32")
    torch.testing.assert_close(logprobs(merged), logprobs(policy), atol=1e-5, rtol=0)
    effective = dict(policy.effective_weights())
    assert effective.keys() == merged.model.state_dict().keys(), "the tied head is among them"
    assert all(torch.equal(tensor, merged.model.state_dict()[name]) for name, tensor in effective.items())


def test_an_adapter_of_a_bfloat16_policy_is_float32(base: Path, tmp_path: Path) -> None:
    policy = trained(base, dtype="bfloat16")
    assert {p.dtype for p in policy.model.parameters() if p.requires_grad} == {torch.float32}
    save_policy(policy, tmp_path / "run/step-3")
    assert torch.equal(logprobs(load_policy(tmp_path / "run/step-3", "bfloat16")), logprobs(policy))
    assert {tensor.dtype for _, tensor in policy.effective_weights()} == {torch.bfloat16}


def test_the_start_depends_on_the_seed_alone(base: Path) -> None:
    torch.rand(7)
    assert identity(fresh(base, seed=3)) == identity(fresh(base, seed=3)) != identity(fresh(base, seed=4))


def test_a_resumed_run_is_bit_identical(base: Path, tmp_path: Path) -> None:
    policy = fresh(base)
    updater = Updater(policy, grpo(learning_rate=1e-2), SAMPLING)
    slots = random_slots(policy, 8)
    updater.update(slots, ADVANTAGES, 0, 0)
    save_state(tmp_path / "state", updater.optimizer, 1, "this run")
    updater.update(slots, ADVANTAGES, 0, 1)
    again = fresh(base)
    resumed = Updater(again, grpo(learning_rate=1e-2), SAMPLING)
    assert load_state(tmp_path / "state", resumed.optimizer, "this run", 1) == 1
    resumed.update(slots, ADVANTAGES, 0, 1)
    assert identity(again) == identity(policy)


def test_the_reference_is_the_base_without_its_adapter(base: Path) -> None:
    policy, plain = trained(base), load_policy(base, "float32")
    with without_adapter(policy.model):
        assert torch.equal(logprobs(policy), logprobs(plain))
    sequences = policy.rows([slot.trajectory for slot in random_slots(policy, 8)])
    own, copy = (
        Updater(policy, grpo(kl_coef=0.1), SAMPLING, reference)._reference_logprobs(sequences) for reference in (policy.model, plain.model)
    )
    assert own == copy
    assert all(p.requires_grad for name, p in policy.model.named_parameters() if ".lora_" in name), "still trained on"


def test_an_adapter_that_does_not_fit_is_refused(base: Path, tmp_path: Path) -> None:
    policy = fresh(base)
    save_policy(fresh(base, settings=LoraConfig(2, 4.0)), tmp_path / "run/rank")
    with pytest.raises(ArtifactError, match="another rank"):
        load_weights(policy, tmp_path / "run/rank")
    save_policy(fresh(base, settings=LoraConfig(4, 8.0, target_modules=["q_proj"])), tmp_path / "run/layers")
    with pytest.raises(ArtifactError, match="other layers"):
        load_weights(policy, tmp_path / "run/layers")
    theirs = r"^step 4, run/rank: its adapter is of another rank \(.*\)\. Leave it out\.$"  # of somebody else's no stage is to be run again
    with pytest.raises(ArtifactError, match=theirs):
        load_weights(policy, tmp_path / "run/rank", "step 4, run/rank", "Leave it out.")
    with pytest.raises(ArtifactError, match=r"^step 4, x: its weights are of another model \(first difference: .*\)\. Leave it out\.$"):
        load_weights(load_policy(base, "float32"), tmp_path / "run/rank", "step 4, x", "Leave it out.")
    (tmp_path / "run/rank/adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ArtifactError, match="could not be read"):
        load_policy(tmp_path / "run/rank", "float32")
    with pytest.raises(ConfigError, match=r"no linear layer of this model is called 'lm_head'; take from .*o_proj"):
        fresh(base, settings=LoraConfig(4, 8.0, target_modules=["q_proj", "lm_head"]))


def test_a_home_folder_is_found(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(base.parent))  # quotes keep a shell from writing it out: overrides="policy.path=~/my-model"
    assert identity(load_policy(f"~/{base.name}", "float32")) == identity(load_policy(base, "float32"))
