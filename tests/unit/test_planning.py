"""The forecast against the real thing: parameters of real models, tensors that a real forward saves, memory of a real update."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny import small_tiles
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel

from npo_pipeline.configuration.compose import PROJECT, load_root
from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.planning import memory as m
from npo_pipeline.planning.architecture import PUBLISHED, Architecture, architecture_of, from_scratch, parse, read_config
from npo_pipeline.planning.work import Assumptions, plan_work
from npo_pipeline.policy.logprobs import collate, response_logprobs
from npo_pipeline.policy.lora import add_lora

DECODER: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 300,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 96,
    "depth": 3,
    "num_heads": 2,
    "patch_size": 4,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "num_position_embeddings": 64,
    "out_hidden_size": 64,
    "deepstack_visual_indexes": [0, 1],
}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}}
CONFIGS = {
    "llama": DECODER | {"model_type": "llama"},
    "llama with biases": DECODER | {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "mistral": DECODER | {"model_type": "mistral"},
    "qwen2": {key: value for key, value in DECODER.items() if key != "head_dim"} | {"model_type": "qwen2"},
    "qwen3": DECODER | {"model_type": "qwen3", "tie_word_embeddings": True},
    "qwen3 with biases": DECODER | {"model_type": "qwen3", "attention_bias": True},
    "qwen3_vl": {"model_type": "qwen3_vl", "tie_word_embeddings": True, "text_config": DECODER | ROPE, "vision_config": VISION},
}


def real(values: dict[str, Any], dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    config = AutoConfig.for_model(**values)
    kind = AutoModelForImageTextToText if values["model_type"] == "qwen3_vl" else AutoModelForCausalLM
    return kind.from_config(config, dtype=dtype).eval()


def counted(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def published(name: str) -> dict[str, Any]:
    return yaml.safe_load(PUBLISHED.read_text())[name]


def saved_bytes(model: PreTrainedModel, forward: Callable[[], Any]) -> int:
    """What autograd saves of a forward, apart from the parameters, each memory once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = forward()  # alive until all is counted, or memory would be used again
    assert kept is not None
    return sum(saved.values())


@pytest.mark.parametrize("name", list(CONFIGS))
def test_parameters_are_those_of_the_real_model(name: str, tmp_path: Path) -> None:
    model = real(CONFIGS[name])
    assert parse(CONFIGS[name], name).parameters == counted(model)
    model.config.save_pretrained(tmp_path)
    assert read_config(tmp_path).parameters == counted(model), "from a whole config.json"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", 17_534_247_392 // 2),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen3-8B", 8_190_735_360),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    ],
)
def test_published_shapes_have_the_published_parameters(name: str, parameters: int) -> None:
    values = published(name)
    with torch.device("meta"):
        assert counted(real(values)) == parameters
    assert parse(values, name).parameters == parameters


def test_scratch_policies_are_counted() -> None:
    from npo_pipeline.policy.scratch import build_scratch

    for words in ([], ["policy=tiny_vl"]):
        policy = load_root(overrides=words).policy
        assert architecture_of(policy).parameters == counted(build_scratch(["1, 2, 3"], policy.scratch, 0, policy.vision).model)


@pytest.mark.parametrize("name", ["llama", "qwen3", "qwen3_vl"])
@pytest.mark.parametrize("targets", [["q_proj", "down_proj"], ["all-linear"]])
def test_adapter_parameters_are_those_of_peft(name: str, targets: list[str]) -> None:
    model = real(CONFIGS[name])
    add_lora(model, LoraConfig(4, 8.0, target_modules=targets), "base", 0)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert parse(CONFIGS[name], name).adapter_parameters(4, targets) == trained


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_are_what_autograd_saves(name: str, dtype: str) -> None:
    model = real(CONFIGS[name], getattr(torch, dtype))
    rows = [(tuple(range(5 + i, 37 + i)), tuple(range(40, 104))) for i in range(4)]
    found = saved_bytes(model, lambda: response_logprobs(model, collate(rows, 0, torch.device("cpu")), 1.0))
    forecast = m.activations(parse(CONFIGS[name], name), m.BYTES[dtype], m.Batch(4 * 96, 4 * 64))
    assert forecast + 4 * 64 * 300 * 4 == pytest.approx(found, rel=0.03), "with one float32 copy of the logits"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nothing_of_the_vocabularys_size_is_saved_of_many_logits(dtype: str) -> None:
    model = real(CONFIGS["qwen3"], getattr(torch, dtype))
    rows = [(tuple(range(5 + i, 37 + i)), tuple(range(40, 104))) for i in range(4)]
    with small_tiles():
        found = saved_bytes(model, lambda: response_logprobs(model, collate(rows, 0, torch.device("cpu")), 1.0))
    assert m.activations(parse(CONFIGS["qwen3"], ""), m.BYTES[dtype], m.Batch(4 * 96, 4 * 64)) == pytest.approx(found, rel=0.03)


def test_a_forecast_does_not_grow_with_the_vocabulary_but_by_the_head() -> None:
    text = parse(published("Qwen/Qwen3-VL-8B-Instruct"), "").text
    one, two = (m.logits(replace(text, vocab=vocab), 2, 8192, "cuda", head=True) for vocab in (2**17, 2**18))
    assert two - one == 2**17 * text.hidden * 2


@pytest.mark.parametrize("name", ["llama", "qwen3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("targets", [LoraConfig(4, 8.0).target_modules, ["q_proj", "v_proj"]])
def test_activations_with_adapters(name: str, dtype: str, targets: list[str]) -> None:
    model, lora = real(CONFIGS[name], getattr(torch, dtype)), LoraConfig(4, 8.0, target_modules=targets)
    add_lora(model, lora, "base", 0)
    rows = [(tuple(range(5 + i, 37 + i)), tuple(range(40, 104))) for i in range(4)]
    found = saved_bytes(model, lambda: response_logprobs(model, collate(rows, 0, torch.device("cpu")), 1.0))
    forecast = m.activations(parse(CONFIGS[name], name), m.BYTES[dtype], m.Batch(4 * 96, 4 * 64), lora)
    assert forecast + 4 * 64 * 300 * 4 == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_with_an_image(dtype: str) -> None:
    values = CONFIGS["qwen3_vl"] | {"image_token_id": 7, "video_token_id": 8, "vision_start_token_id": 9, "vision_end_token_id": 10}
    model = real(values, getattr(torch, dtype))
    ids = torch.tensor([[9, *[7] * 64, 10, *range(20, 62)]])  # 16 x 16 patches, four to a token
    read = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": (ids == 7).int(), "logits_to_keep": 33}
    image = {"pixel_values": torch.randn(256, 96, dtype=getattr(torch, dtype)), "image_grid_thw": torch.tensor([[1, 16, 16]])}
    found = saved_bytes(model, lambda: model(**read, **image, use_cache=False))
    forecast = m.activations(parse(values, "qwen3_vl"), m.BYTES[dtype], m.Batch(ids.numel(), 33, 256))
    assert forecast == pytest.approx(found, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_trainer_memory_of_smollm2s_shape_is_forecast_within_15_percent(dtype: str) -> None:
    """A real update in a process of its own: the growth of its resident memory."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "tests/measure_update.py"), dtype], capture_output=True, text=True, timeout=600, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr
    rows, prompt, response, measured = map(int, done.stdout.split())
    model = parse(published("HuggingFaceTB/SmolLM2-135M-Instruct"), "SmolLM2")
    batch = m.micro_batch(model, rows * (prompt + response), prompt, response, 0)
    forecast = m.training(model, dtype, None, False, batch, device="cpu")
    assert forecast.state + forecast.work == pytest.approx(measured, rel=0.15)


def test_memory_by_hand() -> None:
    model = Architecture("m", parse(CONFIGS["llama"], "m").text, None, tied=True)
    batch = m.Batch(8, 4)
    whole, adapter = (m.training(model, "bfloat16", lora, True, batch) for lora in (None, LoraConfig(4, 8.0)))
    n, trained = model.parameters, model.adapter_parameters(4, LoraConfig(4, 8.0).target_modules)
    assert (whole.weights, whole.gradients, whole.optimizer, whole.reference) == (2 * n, 2 * n, 12 * n, 2 * n)
    assert (adapter.weights, adapter.gradients, adapter.optimizer, adapter.reference) == (2 * n + 4 * trained, 4 * trained, 8 * trained, 0)
    layers, hidden, sizes = model.text.layers, model.text.hidden, (m.activations(model, 2, batch), m.recomputed(model, 2, batch))
    one = Architecture("one layer", replace(model.text, layers=1), None, tied=True)
    assert sizes[1] == m.activations(one, 2, batch) + 8 * layers * hidden * 2 < sizes[0]
    assert (whole.sharded, adapter.sharded) == (16 * n, 16 * trained + 2 * n)
    assert m.kv_cache(model, "bfloat16", 10) == 10 * 2 * 2 * (2 * 16) * 2  # tokens x layers x (keys, values) x width x bytes


@pytest.mark.parametrize(
    ("weights", "rest", "sharded", "work", "expected"),
    [(20, 40, 160, 10, 1), (20, 60, 160, 10, 4), (20, 60, 30, 10, 2), (20, 600, 600, 52, None), (80, 0, 0, 10, None)],
)
def test_gpus_share_what_is_sharded_and_each_has_the_policy_and_its_work(
    weights: int, rest: int, sharded: int, work: int, expected: int | None
) -> None:
    assert m.gpus(m.Training(weights, rest, 0, 0, 0, 0, sharded), work, 80) == expected


def test_work_by_hand() -> None:
    root = load_root(
        overrides=[
            *("method=[npo,rlep]", "seeds=[0,1]", "probe.steps=40", "probe.checkpoint_every=10", "grpo.prompts_per_step=4"),
            *("grpo.group_size=8", "guidance.every=20", "guidance.lookback=10", "task.eval_size=16", "evaluate.samples=2"),
            *("evaluate.ks=[1]", "guided.checkpoint_every=20", "evaluate.benchmarks.more={data:x.jsonl,size:10}"),
        ]
    )
    found = {work.stage: work for work in plan_work(root, from_scratch(root.policy.scratch), Assumptions(20, 12.0, 0.5, 0.25, 0.05))}
    assert (found["probe"].most, found["probe"].checkpoints) == (2 * 40 * 4 * 8, 2 * 5)
    tries = root.guidance.samples
    assert found["guide"].most == 2 * (2 * 10 * 4 * tries), "guide checkpoints 20 and 40, the prompts of ten steps each"
    assert found["guide"].expected == found["guide"].most / 8
    assert found["rlep: demonstrations"].most == 2 * 40 * 4 * root.method["rlep"].demonstrations.samples
    assert found["evaluate (7 policies)"].most == 2 * 7 * (16 + 10) * 2, "the initial one, and of three runs the last and the averaged one"
    assert found["average"].disk == 2 * 3 * found["prepare"].disk


def test_what_cannot_be_planned_is_said(tmp_path: Path) -> None:
    policy = load_root(overrides=["policy=hf", "policy.path=nobody/nothing"]).policy
    with pytest.raises(ConfigError, match=r"policy.path=nobody/nothing: not on this machine.*give --model FOLDER"):
        architecture_of(policy)
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ConfigError, match=r"model_type='mamba': expected one of llama"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": 8}')
    with pytest.raises(ConfigError, match=r"has no num_attention_heads"):
        read_config(tmp_path)


def test_the_command_needs_no_torch() -> None:
    code = "import sys, npo_pipeline.planning.__main__ as p; sys.argv = ['x', '--overrides', 'policy.lora={rank:4,alpha:8}']; p.main()"
    done = subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    assert "656,448 parameters, float32, LoRA of rank 4" in done.stdout


def test_tries_of_an_average_keep_to_their_share() -> None:
    def most(*overrides: str) -> int:
        root = load_root(overrides=["method=[npo_ema]", "probe.steps=10", "grpo.prompts_per_step=4", "grpo.group_size=8", *overrides])
        model = from_scratch(root.policy.scratch)
        return next(work.most for work in plan_work(root, model, Assumptions(20, 12.0, 0.5, 0.25, 0.05)) if work.stage == "npo_ema")

    assert most() == 10 * 4 * (8 + 4), "half of the step's own"
    assert most("method.npo_ema.ema.share=9") == 10 * 4 * (8 + 4 + 1), "four of the average and one of the live policy"


def test_a_method_that_finishes_groups_samples_what_grpo_does() -> None:
    root = load_root(overrides="method=[npo_within] probe.steps=10")
    most = {work.stage: work.most for work in plan_work(root, from_scratch(root.policy.scratch), Assumptions(20, 12.0, 0.5, 0.25, 0.05))}
    assert most["npo_within"] == most["probe"] == 10 * 32 * 8


def test_every_initial_policy_that_a_seed_starts_from_takes_room_and_hints_are_tries() -> None:
    """Of three initial policies seeds 1, 4 and 5 start from two. A hinted run tries two times with each of three shares, at most."""
    assumed, found = Assumptions(20, 12.0, 0.5, 0.25, 0.05), []
    for words in ("policy.cold_starts=null", "policy.cold_starts=3"):
        root = load_root(overrides=f"task=gsm8k method=[hint] seeds=[1,4,5] probe.steps=20 {words}")
        found.append({work.stage: work for work in plan_work(root, from_scratch(root.policy.scratch), assumed)})
    one, several = found
    assert several["prepare"].disk == 2 * one["prepare"].disk
    assert one["hint"].most == several["hint"].most == 3 * 20 * 32 * (8 + 3 * 2)
    assert one["hint"].expected == 3 * 20 * 32 * (8 + 3 * 2 * 0.5 * 0.25)
