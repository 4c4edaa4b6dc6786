"""Adopted checkpoints: how they are found, and what is refused and how."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from npo_pipeline.configuration.adoption import adopted_checkpoints, adopted_files
from npo_pipeline.configuration.compose import load_root, stage_configs
from npo_pipeline.configuration.settings import LoraConfig, PromptConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.preparation.adoption.alike import check_alike
from npo_pipeline.preparation.adoption.sources import sources

CONFIG = {"model_type": "qwen3", "hidden_size": 4, "num_hidden_layers": 1, "vocab_size": 3}
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"content": "<end>", "id": 2}]}
PLAIN, AUTO = PromptConfig("plain", "{question}", None), PromptConfig("auto", "{question}", None)
COARSE = "guided.checkpoint_every=0.25"
ADAPTER = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["v_proj", "q_proj"]}


def policy(folder: Path, width: int = 4, config: dict | None = None, tokenizer: dict | None = TOKENIZER, template: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    save_file({"weight": np.zeros((3, width), np.float32)}, folder / "model.safetensors")
    if tokenizer:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def adapter(folder: Path, **values: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER | values))
    save_file({"lora_A": np.zeros((4, 4), np.float32)}, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (10, 25, 100):
        policy(tmp_path / f"run/checkpoint-{step}")
    (tmp_path / "run/checkpoint-7").write_text("a file")
    policy(tmp_path / "initial")
    return tmp_path / "run"


def test_a_pattern_a_list_and_folders_named_after_their_steps(run: Path) -> None:
    expected = {step: str(run / f"checkpoint-{step}") for step in (10, 25, 100)}
    assert adopted_checkpoints(f"{run}/checkpoint-*") == expected
    assert adopted_checkpoints(str(run)) == expected
    assert adopted_checkpoints({10: run / "checkpoint-10", "25": str(run / "checkpoint-25")}) == {k: expected[k] for k in (10, 25)}
    assert load_root(overrides=[f"probe.adopt={{10:{run}/checkpoint-10}}"]).probe.steps == 10


def test_it_is_the_probe_of_its_last_step(run: Path) -> None:
    root = load_root(overrides=[f"probe.adopt={run}/checkpoint-*", "guided.start=25", "method=[npo,autonpo]", "guidance.every=20", COARSE])
    stages = stage_configs(root)
    assert "probe" not in stages
    assert stages["adopt"]["steps"] == 100
    assert stages["adopt"]["sampled"] == {"start": 25, "prompts_per_step": 32, "group_size": 8}
    assert stages["guide"]["guide_steps"] == [100]  # the next one that is there, from 40, 60, 80 and 100 on
    windows = stages["plan-npo"]["method"]["windows"]
    assert [(w["from_step"], w["to_step"], w["guide_step"]) for w in windows] == [(50, 100, 100)]  # none reaches back into the first half
    assert stages["guided-autonpo"]["checkpoints"] == [25, 50, 75, 100]
    assert stages["average"]["checkpoints"] == [10, 25, 100]


def test_the_start_has_to_be_a_checkpoint(run: Path) -> None:
    adopt = f"probe.adopt={run}/checkpoint-*"
    with pytest.raises(ConfigError, match=r"guided\.start: not given, but probe\.adopt names a run to begin in: expected one of 0, 10, 25"):
        stage_configs(load_root(overrides=[adopt]))
    with pytest.raises(ConfigError, match=r"guided\.start=30: the probe has no checkpoint there before its end; take from 0, 10, 25$"):
        stage_configs(load_root(overrides=[adopt, "guided.start=30"]))
    assert stage_configs(load_root(overrides=[adopt, "guided.start=0.2", "method=[autonpo]"]))["guided-autonpo"]["start"] == 25


def shards(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["actor/model_world_size_2_rank_0.pt", "actor/huggingface/config.json"],
            "python -m verl.model_merger merge --backend fsdp --local_dir",
        ),
        (["actor/dist_ckpt/common.pt"], "python -m verl.model_merger merge --backend megatron --local_dir"),
        (["pytorch_model_fsdp_0/__0_0.distcp"], "accelerate merge-weights"),
        (["zero_to_fp32.py", "global_step10/mp_rank_00_model_states.pt"], "zero_to_fp32.py --safe_serialization"),
        (["config.json", "pytorch_model.bin"], "pickled weights, expected safetensors; python -c"),
        (["adapter_config.json", "adapter_model.bin"], "pickled weights, expected safetensors"),
        (["global_step5/mp_rank_00_model_states.pt", "zero_to_fp32.py"], "zero_to_fp32.py --safe_serialization"),
        (["mp_rank_00_model_states.pt"], "run OUT --tag checkpoint-5 --safe_serialization; put the model's config.json into OUT"),
        (
            ["config.json", "optimizer.pt", "rng_state_0.pth", "training_args.bin"],
            "no weights in it, only what its trainer resumes with (optimizer.pt, rng_state_0.pth, training_args.bin); save the model there",
        ),
        (["optimizer.txt"], "no policy in it, expected config.json beside *.safetensors"),
    ],
)
def test_what_must_be_merged_first_is_said_with_the_command(tmp_path: Path, names: list[str], said: str) -> None:
    shards(tmp_path / "run/checkpoint-5", *names)
    with pytest.raises(ConfigError) as found:
        adopted_checkpoints(f"{tmp_path}/run/checkpoint-*")
    assert said in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{run}/nothing-*", "names no checkpoint; expected run/checkpoint-*"),
        ("{run}/gone", "no such folder; expected run/checkpoint-*"),
        ("{run}/v[1]/checkpoint-*", "names no checkpoint; expected run/checkpoint-*"),
        ("{run}/v[1]/checkpoint-*", "[ begins a pattern: write [[] for one in a folder's name"),
        ({"ten": "{run}/checkpoint-10"}, "'ten' is no step"),
        ({5: "{run}/gone"}, "gone: no such folder"),
        (5, "probe.adopt=5: expected run/checkpoint-*"),
    ],
)
def test_what_cannot_be_found_is_one_line(run: Path, value: object, said: str) -> None:
    given = value.format(run=run) if isinstance(value, str) else value
    given = {key: place.format(run=run) for key, place in given.items()} if isinstance(given, dict) else given
    with pytest.raises(ConfigError) as found:
        adopted_checkpoints(given)
    assert said in str(found.value)


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"probe\.adopt=nobody/nothing: no such folder, and the hub did not tell its branches"):
        adopted_checkpoints("nobody/nothing@step-*")


def alike(run: Path, lora: LoraConfig | None = None, prompt: PromptConfig = PLAIN) -> list[str]:
    return check_alike(sources(adopted_checkpoints(str(run))), run.parent / "initial", lora, prompt)


def test_checkpoints_of_one_run_are_taken_without_a_word(run: Path) -> None:
    assert alike(run) == []


def test_another_architecture_in_the_middle(run: Path) -> None:
    policy(run / "checkpoint-50", width=8)
    with pytest.raises(DataError, match=r"step 50, .*: another architecture than step 10's: weight is \[3, 8\], expected \[3, 4\]"):
        alike(run)


def test_another_architecture_than_the_initial_policys(tmp_path: Path) -> None:
    policy(tmp_path / "run/checkpoint-5", config={"num_hidden_layers": 2})
    policy(tmp_path / "initial")
    with pytest.raises(DataError, match=r"num_hidden_layers is 2, policy\.path's 1; set policy\.path to what that run began with"):
        alike(tmp_path / "run")


def test_a_tokenizer_that_differs(run: Path) -> None:
    policy(run / "checkpoint-50", tokenizer={"model": {"vocab": {"a": 1, "b": 0}}, "added_tokens": TOKENIZER["added_tokens"]})
    with pytest.raises(DataError, match=r"step 50, .*: its tokenizer is another than the initial policy's: 'a' is 1, policy\.path's 0"):
        alike(run)


def test_a_damaged_file_is_named(run: Path) -> None:
    (run / "checkpoint-25/model.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0hello")
    with pytest.raises(DataError, match=r"step 25, .*: model\.safetensors is no safetensors file"):
        alike(run)


def test_a_file_that_was_cut_off_is_named_with_its_step(run: Path) -> None:
    file = run / "checkpoint-25/model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    again = r"cut off: \d+ bytes, expected \d+\); save the checkpoint again, or leave it out"
    with pytest.raises(DataError, match=rf"step 25, .*run/checkpoint-25: model\.safetensors is no safetensors file \({again}"):
        alike(run)


def test_a_compiled_models_names_are_told(run: Path) -> None:
    save_file({"_orig_mod.weight": np.zeros((3, 4), np.float32)}, run / "checkpoint-10/model.safetensors")
    with pytest.raises(DataError, match=r"step 10, .*as torch\.compile wraps them \(_orig_mod\.weight\).*save model\._orig_mod there"):
        alike(run)


def test_other_tensors_beside_the_weights_are_none_of_them(run: Path) -> None:
    for step in (10, 25, 100):
        save_file({"exp_avg": np.zeros(step, np.float32)}, run / f"checkpoint-{step}/optimizer.safetensors")
    assert alike(run) == []
    assert {file.name for file in adopted_files(adopted_checkpoints(str(run)))} == {"config.json", "model.safetensors", "tokenizer.json"}


def sharded(folder: Path, *names: str) -> Path:
    policy(folder)
    (folder / "model.safetensors").rename(folder / names[0])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(zip("abc", names, strict=False))}))
    return folder


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    folder = sharded(tmp_path / "run/checkpoint-5", first, second)
    missing = r"checkpoint-5: model-00002-of-00002\.safetensors is missing, which model\.safetensors\.index\.json names; copy it there"
    with pytest.raises(ConfigError, match=missing):
        adopted_checkpoints(str(tmp_path / "run"))
    (folder / second).write_bytes((folder / first).read_bytes())
    assert {first, second} <= {file.name for file in adopted_files(adopted_checkpoints(str(tmp_path / "run")))}
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"index\.json: no index of shards \(TypeError.*; save the checkpoint again"):
        adopted_checkpoints(str(tmp_path / "run"))


def test_what_may_surprise_is_said_before_anything_is_sampled(tmp_path: Path) -> None:
    policy(tmp_path / "run/checkpoint-5", tokenizer=None, template="other")
    policy(tmp_path / "run/checkpoint-6", tokenizer=None, template="other")
    policy(tmp_path / "initial", template="own")
    for folder, end in ((tmp_path / "run/checkpoint-5", 1), (tmp_path / "initial", 2)):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    notes = alike(tmp_path / "run", prompt=AUTO)
    assert [note.split(": ", 1)[1][:40] for note in notes] == [
        "no tokenizer beside the checkpoints; pol",
        "the checkpoints' chat template is not po",
        "the checkpoints end a response at token ",
    ]


def test_a_branch_of_the_hub_is_found_in_its_cache_when_it_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commits are those that it told last; what was downloaded then is there."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    commits = {"main": "a" * 40, "step-20": "b" * 40, "step-100": "c" * 40}
    (tmp_path / "npo-branches").mkdir()
    (tmp_path / "npo-branches/somebody--run.json").write_text(json.dumps(commits))
    for commit in set(commits.values()):
        policy(tmp_path / f"hub/models--somebody--run/snapshots/{commit}")
    found = adopted_checkpoints("somebody/run@step-*")
    assert found == {20: f"somebody/run@{'b' * 40}", 100: f"somebody/run@{'c' * 40}"}
    assert adopted_files(found) == []
    assert [source.folder.name for source in sources(found)] == ["b" * 40, "c" * 40]
    with pytest.raises(ConfigError, match=r"probe\.adopt=somebody/run@d+: could not be downloaded"):
        sources({5: f"somebody/run@{'d' * 40}"})


def test_a_run_that_is_the_probe_of_a_next_round_keeps_what_guides_there(run: Path) -> None:
    words = [f"probe.adopt={run}/checkpoint-*", "guided.start=10", "method=[autonpo]", "rounds=2", "guidance.every=20", COARSE]
    stages = stage_configs(load_root(overrides=words))
    assert set(stages["round-2/guide"]["guide_steps"]) <= set(stages["guided-autonpo"]["checkpoints"])
    assert stages["round-2/guide"]["guide_steps"] == [25, 100]
    assert stages["round-2/guided-autonpo"]["checkpoints"] == [10, 25, 50, 75, 100]
