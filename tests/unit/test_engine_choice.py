"""Who samples where `engine=auto` leaves it open, and what of a GPU that engine is given."""

from pathlib import Path

import pytest
from tiny import tiny_policy

from npo_pipeline.configuration.compose import load_root, load_stage, stage_configs, to_yaml
from npo_pipeline.configuration.stages import EvaluateStage, GuidedStage, MeasureStage, ProbeStage
from npo_pipeline.errors import ConfigError
from npo_pipeline.planning import engine as chooser
from npo_pipeline.planning import memory as m
from npo_pipeline.planning.architecture import read_config
from npo_pipeline.planning.engine import choose_engine, kept_bytes
from npo_pipeline.policy.policy import save_policy
from npo_pipeline.rollout.vllm_room import USABLE, kept_folder, share_of


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "is_vllm_installed", lambda: True)


def begun(folder: Path, overrides: str, device: str) -> str:
    """Results whose probe was configured so; returns its text."""
    root, _ = choose_engine(load_root(overrides=overrides), device, folder)
    (folder / "config").mkdir(parents=True, exist_ok=True)
    text = to_yaml(stage_configs(root)["probe"])
    (folder / "config/probe.yaml").write_text(text)
    return text


@pytest.mark.parametrize(
    ("overrides", "device", "line"),
    [
        ("", "cpu", "engine: transformers, since no GPU is used"),
        ("", "auto", "engine: transformers, since no GPU is used"),
        ("", "cuda", "engine: vllm, since a GPU is used and vLLM is installed"),
        ("engine=vllm", "cpu", ""),
        ("engine=transformers", "cuda", ""),
    ],
)
def test_the_machine_decides_where_nothing_else_has(installed: None, tmp_path: Path, overrides: str, device: str, line: str) -> None:
    root, found = choose_engine(load_root(overrides=overrides), device, tmp_path / "nothing")
    assert found == line
    named = line.split()[1].rstrip(",") if line else overrides.removeprefix("engine=")
    assert root.engine.name == named
    by_name, _ = choose_engine(load_root(overrides=f"engine={named}"), device, tmp_path / "nothing")
    assert stage_configs(root) == stage_configs(by_name), "who chose is nothing to a stage"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ("evaluate.temperature=0.001", "vLLM samples at no temperature below 0.01"),
        ("sampling.max_new_tokens=2048", "sampling.max_new_tokens=2048 leaves no room for a prompt in engine.vllm.max_model_len=2048"),
    ],
)
def test_what_vllm_cannot_sample_is_left_to_transformers(installed: None, tmp_path: Path, overrides: str, reason: str) -> None:
    assert choose_engine(load_root(overrides=overrides), "cuda", tmp_path)[1] == f"engine: transformers, since {reason}"


def test_without_vllm_a_gpu_samples_with_transformers_and_is_told_how_not_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chooser, "is_vllm_installed", lambda: False)
    root, line = choose_engine(load_root(), "cuda", tmp_path)
    assert root.engine.name == "transformers"
    assert line == "engine: transformers, since vLLM is not installed here (python3 workflow/install.py --extra vllm)"


@pytest.mark.parametrize("overrides", ["", "engine=vllm"])
@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda")])
def test_results_stay_what_they_are_on_another_machine(installed: None, tmp_path: Path, overrides: str, devices: tuple[str, str]) -> None:
    """Name, CUDA graphs and share of memory: nothing that was sampled is made again since the machine is another."""
    text = begun(tmp_path, overrides, devices[0])
    root, line = choose_engine(load_root(overrides=overrides), devices[1], tmp_path)
    assert to_yaml(stage_configs(root)["probe"]) == text
    assert ("was begun with it (engine=" in line) == (overrides == "")


def test_results_of_before_keep_the_settings_that_are_now_left_open(tmp_path: Path) -> None:
    text = begun(tmp_path, "engine=vllm engine.vllm.gpu_memory_utilization=0.4 engine.vllm.enforce_eager=true", "cuda")
    assert begun(tmp_path, "engine=vllm", "cuda") == text
    assert begun(tmp_path, "engine=vllm engine.vllm.enforce_eager=false", "cuda") != text, "what is named counts"


@pytest.mark.parametrize("content", ["", "engine: 3", "engine: {name: sglang, max_batch: 1}", "- [", "engine: {name: auto}"])
def test_a_configuration_that_cannot_be_read_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/probe.yaml").write_text(content)
    assert choose_engine(load_root(), "cpu", tmp_path)[1] == "engine: transformers, since no GPU is used"


def test_a_stage_is_never_left_to_choose(tmp_path: Path) -> None:
    text = to_yaml(stage_configs(load_root())["probe"]).replace("name: transformers", "name: auto")
    (tmp_path / "probe.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"probe\.yaml: engine\.name='auto': expected one of transformers, vllm"):
        load_stage(tmp_path / "probe.yaml", ProbeStage)


def stage(name: str, schema: type, overrides: str, tmp_path: Path) -> object:
    (tmp_path / "stage.yaml").write_text(to_yaml(stage_configs(load_root(overrides=overrides))[name]))
    return load_stage(tmp_path / "stage.yaml", schema)[0]


def test_what_training_keeps_while_vllm_samples(tmp_path: Path) -> None:
    """bfloat16: weights of 2 bytes, a master copy and two moments of 4 each; an average of 4 more, a reference of 2. No gradients."""
    save_policy(tiny_policy(), tmp_path / "policy")
    n = read_config(tmp_path / "policy").parameters
    probe = "engine=vllm policy.dtype=bfloat16"
    assert kept_bytes(stage("probe", ProbeStage, probe, tmp_path), tmp_path / "policy") == 14 * n
    assert kept_bytes(stage("probe", ProbeStage, f"{probe} grpo.kl_coef=0.1", tmp_path), tmp_path / "policy") == 16 * n
    guided = stage("guided-npo_ema", GuidedStage, f"{probe} method=[npo_ema]", tmp_path)
    assert kept_bytes(guided, tmp_path / "policy") == 18 * n
    assert kept_bytes(stage("measure", MeasureStage, probe, tmp_path), tmp_path / "policy") == 3 * n, "weights, and a sign of each"
    four = kept_bytes(stage("probe", ProbeStage, probe, tmp_path), tmp_path / "policy", processes=4)
    assert four == 2 * n + 4 * n, "of a whole policy, and a quarter of float32 masters, gradients and moments"
    assert kept_bytes(stage("evaluate", EvaluateStage, probe, tmp_path), tmp_path / "policy") == 0
    assert kept_bytes(stage("probe", ProbeStage, "engine=transformers", tmp_path), tmp_path / "policy") == 0
    assert kept_bytes(stage("probe", ProbeStage, probe, tmp_path), tmp_path) is None, "no config.json there"


def test_vllm_is_given_what_is_left_and_no_more_than_is_free() -> None:
    assert share_of(80 * 10**9, 79 * 10**9, 8 * 10**9) == pytest.approx(USABLE - 0.1)
    assert share_of(80 * 10**9, 40 * 10**9, 8 * 10**9) == pytest.approx(0.48), "another process has half of it"
    assert m.USABLE == USABLE, "planning forecasts what sampling is given"
    with pytest.raises(ConfigError, match=r"^engine=vllm: 79.0 of the GPU's 80.0 GB are free and the trainer keeps 70.0, .*policy.lora"):
        share_of(80 * 10**9, 79 * 10**9, 70 * 10**9)


def test_the_same_model_is_read_from_the_same_folder_by_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "cache"))
    made = [tmp_path / str(i) for i in range(3)]
    for i, folder in enumerate(made):
        folder.mkdir()
        (folder / "config.json").write_text("{}" if i < 2 else "{ }")
    first, again, other = map(kept_folder, made)
    assert first == again != other
    assert [file.name for file in first.iterdir()] == ["config.json"]
    assert {folder.parent for folder in (first, other)} == {tmp_path / "cache/npo-policies"}
