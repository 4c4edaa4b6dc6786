"""The averaged policy of a run: of which checkpoints, and that its directory holds their mean and is refused when it is damaged."""

from pathlib import Path

import pytest
import torch
from checkpoint_runs import policy_of, write_run
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_policy
from transformers import AutoModelForCausalLM

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.grid import averaged_steps, checkpoint_steps
from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.configuration.stages import AverageStage
from npo_pipeline.configuration.timeline import resolve_timeline
from npo_pipeline.errors import ArtifactError
from npo_pipeline.evaluation.averaged import average_run
from npo_pipeline.evaluation.policies import policies, policy_folder, verify_policy
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import Policy, load_policy, save_policy
from npo_pipeline.storage.evaluations import weights_left
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import read_manifest, write_manifest


@given(st.integers(1, 50), st.integers(1, 200), st.integers(1, 200))
def test_the_last_steps_of_the_grid_but_two_at_least(every: int, last: int, end: int) -> None:
    found, kept = averaged_steps(every, last, end), checkpoint_steps(every, end)
    assert found == kept[-len(found) :]
    assert len(found) >= 2
    assert len(found) == 2 or found[0] >= end - last
    assert len(found) == len(kept) or kept[-len(found) - 1] < end - last


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("guided.checkpoint_every=0.25", [90, 120]),
        ("guided.checkpoint_every=5", [90, 95, 100, 105, 110, 115, 120]),
        ("guided.checkpoint_every=10 average_last=20", [100, 110, 120]),
        ("guided.checkpoint_every=4 average_last=45", [80, 100, 120]),
        ("guided.checkpoint_every=1.0", [0, 120]),
    ],
)
def test_all_runs_have_the_checkpoints_that_are_averaged(overrides: str, expected: list[int]) -> None:
    time = resolve_timeline(load_root(overrides=f"probe.steps=120 {overrides}"))
    assert time.average
    assert averaged_steps(*time.average, time.steps) == expected
    for every in (time.checkpoint_every, time.guided_checkpoint_every):
        assert set(expected) <= set(checkpoint_steps(every, time.steps))


def test_without_averages_there_is_no_such_stage() -> None:
    assert resolve_timeline(load_root(overrides="average_last=null")).average is None


def adapted(folder: Path) -> Policy:
    save_policy(tiny_policy(), folder / "policy")
    policy = load_policy(folder / "policy", "float32")
    add_lora(policy.model, LoraConfig(2, 4.0), folder / "policy", 0)
    return policy


@pytest.mark.parametrize("kind", ["bfloat16", "lora"])
def test_it_is_an_ordinary_directory_with_the_mean_of_the_weights(tmp_path: Path, kind: str) -> None:
    layout = Layout(tmp_path)
    policy = adapted(tmp_path) if kind == "lora" else policy_of(torch.bfloat16)
    kept = write_run(layout.probe, policy, 0.5)
    write_manifest(layout.probe, "probe", "sha", [], {"steps": 12})
    average_run(AverageStage(1, every=4, last=4), "sha", layout, "probe")
    manifest, folder = read_manifest(layout.policy_averaged("probe")), policy_folder(layout, "probe-averaged")
    assert manifest["average_of"] == [8, 12]
    found = AutoModelForCausalLM.from_pretrained(folder, dtype=policy.model.dtype).state_dict()
    mean = {name: ((kept[8][name].float() + kept[12][name].float()) / 2).to(tensor.dtype) for name, tensor in kept[8].items()}
    for name, tensor in found.items():
        if (base := name.replace(".weight", ".base_layer.weight")) in mean:
            a, b = (mean[name.replace(".weight", f".lora_{x}.default.weight")] for x in "AB")
            torch.testing.assert_close(tensor, mean[base] + 2.0 * b @ a)
        else:
            assert torch.equal(tensor, mean[name]), name
    assert policies(layout) == ["initial", "probe", "probe-averaged"]
    assert weights_left(layout, "probe-averaged") == identity(load_policy(folder, "bfloat16" if kind == "bfloat16" else "float32"))


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_run(layout.probe, policy_of(torch.bfloat16), 0.5)
    write_manifest(layout.probe, "probe", "sha", [], {"steps": 12})
    average_run(AverageStage(1, every=4, last=4), "sha", layout, "probe")
    verify_policy(layout, "probe-averaged")
    weights = layout.policy_averaged("probe") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=f"{weights}: damaged"):
        verify_policy(layout, "probe-averaged")
    with pytest.raises(ArtifactError, match=r"step-000009: not found"):
        average_run(AverageStage(1, every=3, last=4), "sha", layout, "probe")
