"""The step that an adopted checkpoint's name tells, and names that do not tell it."""

from pathlib import Path

import pytest
from test_adoption import policy

from npo_pipeline.configuration.adoption import adopted_checkpoints
from npo_pipeline.configuration.step_names import step_in
from npo_pipeline.errors import ConfigError


def test_the_step_is_of_the_part_that_the_pattern_leaves_open(tmp_path: Path) -> None:
    policy(tmp_path / "v2/global_step_3/actor/huggingface")
    policy(tmp_path / "v2/global_step_20/actor/huggingface")
    assert list(adopted_checkpoints(f"{tmp_path}/v2/global_step_*")) == [3, 20]
    assert list(adopted_checkpoints(f"{tmp_path}/v2/global_step_*/actor/huggingface")) == [3, 20]


@pytest.mark.parametrize(
    ("name", "pattern", "step"),
    [
        ("checkpoint-000200", "checkpoint-*", 200),
        ("checkpoint-1", "checkpoint-1*", 1),
        ("checkpoint-10", "checkpoint-1*", 10),
        ("step_100_loss_0.53", "step_*", 100),
        ("step_100_loss_0.53", "*", 100),
        ("step100-v2", "step*-v2", 100),
        ("actor_step100_7B", "actor_step*_7B", 100),
        ("100-7B", "*-7B", 100),
        ("global_step10_hf", "global_step??_hf", 10),
        ("global_step_200/actor/huggingface", "global_step_*/actor/huggingface", 200),
        ("epoch_1_step_200", "*", 200),
        ("epoch_1_step_200", "epoch_*_step_*", 200),
        ("Qwen2.5-0.5B-step100", "*", 100),
        ("runA/checkpoint-200", "**/checkpoint-*", 200),
        ("checkpoint-200", "**/checkpoint-*", 200),
        ("br[1]/checkpoint-3", "br[[]1]/checkpoint-*", 3),
        ("checkpoint-best", "checkpoint-*", None),
    ],
)
def test_the_step_in_a_name(name: str, pattern: str, step: int | None) -> None:
    assert step_in(name, pattern) == step


@pytest.mark.parametrize(
    ("name", "pattern", "said"),
    [
        ("step_1k", "step_*", "1k is no whole number in digits"),
        ("step_1.5", "step_*", r"1\.5 is no whole number"),
        ("step_1_000", "step_*", "1_000 is no whole number"),
        ("ckpt-1e3", "ckpt-*", "1e3 is no whole number"),
        ("checkpoint-2-100", "checkpoint-*", "2 and 100 may each be its step"),
        ("2024-05-01", "*", "2024 and 05 and 01 may each be its step"),
        ("run7/checkpoint-100", "*/checkpoint-*", "7 and 100 may each be its step"),
        ("run7/checkpoint-200", "*/checkpoint-200", "the pattern leaves 7 open, but 200 is called the step"),
    ],
)
def test_a_name_that_does_not_tell_its_step(name: str, pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        step_in(name, pattern)


def test_a_folder_without_a_clear_step_is_named(tmp_path: Path) -> None:
    policy(tmp_path / "run/step_1k")
    clear = r"rename it so that its step follows the word step, write a pattern .*, or name it as in \{100: run/a\}"
    with pytest.raises(ConfigError, match=rf"run/step_1k: step_1k does not tell its step: 1k is no whole number in digits; {clear}"):
        adopted_checkpoints(f"{tmp_path}/run/step_*")


def test_a_time_is_no_step(tmp_path: Path) -> None:
    policy(tmp_path / "run/1714567890")
    for value in (str(tmp_path / "run"), {100_000_000: tmp_path / "run/1714567890"}):
        with pytest.raises(ConfigError, match=r"run/1714567890: step 1\d+, expected at most 10000000"):
            adopted_checkpoints(value)
