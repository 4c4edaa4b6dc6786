"""A stage's resolved configuration, edited by hand, is checked as the settings are: one line that names file and key."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage_schemas import SCHEMAS

from npo_pipeline.configuration import stages as c
from npo_pipeline.configuration.compose import load_root, load_stage, stage_configs
from npo_pipeline.errors import ConfigError


def edited(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with the dotted key set, or without it where the value is `...`."""
    copy: dict[str, Any] = json.loads(json.dumps(values))
    *parents, last = key.split(".")
    place: Any = copy
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


WRONG_IN_A_STAGE = [
    ("probe", "grpo.learning_rat", 1, "grpo.learning_rat: no such key; did you mean grpo.learning_rate?"),
    ("probe", "zzz", 1, "zzz: no such key; there are cold_starts, version, steps"),
    ("probe", "grpo.learning_rate", ..., "grpo.learning_rate: missing, expected a value"),
    ("probe", "sampling", ..., "sampling: missing, expected a value"),
    ("probe", "grpo.group_size", "many", "grpo.group_size: Value 'many'"),
    ("probe", "grpo.group_size", 1, "grpo.group_size=1: expected at least 2"),
    ("probe", "steps", 0, "steps=0: expected at least 1"),
    ("probe", "dtype", "int8", "dtype='int8': expected one of"),
    ("probe", "engine.max_batch", 0, "engine.max_batch=0: expected at least 1"),
    ("probe", "verifier.kind", "x", "verifier.kind='x': expected one of exact"),
    ("prepare", "task.source", "x", "task.source='x': expected one of"),
    ("prepare", "policy.dtype", "x", "policy.dtype='x': expected one of"),
    ("guide", "guide_steps", [], r"guide_steps=\[\]: expected at least one"),
    ("guide", "gate", 1.0, r"gate=1.0: expected in \[0, 1\)"),
    ("guide", "variance.beta", 0, "variance.beta=0.0: expected more than 0"),
    ("plan-npo", "method.kind", "x", "method.npo.kind='x': expected one of"),
    ("plan-npo", "method.windows.0.from_step", 0.5, r"method.windows\[0\].from_step=0.5: expected a whole number"),
    ("plan-npo", "method.windows.1.to_step", 999, r"method.windows\[1\].to_step=999: past the last checkpoint"),
    ("plan-npo", "method.windows.0.guide_step", 31, r"method.windows\[0\].guide_step=31: no such guide checkpoint"),
    ("plan-npo", "method.windows.0.to_stp", 1, "to_stp: no such key; did you mean to_step?"),
    ("evaluate", "evaluate.ks", [0], r"evaluate.ks=\[0\]: expected numbers from 1"),
    ("report", "methods", [], r"methods=\[\]: expected at least one"),
]


@pytest.fixture(scope="module")
def stages() -> dict[str, dict[str, Any]]:
    return stage_configs(load_root(overrides=["method=[npo]"]))


@pytest.mark.parametrize(("stage", "key", "value", "message"), WRONG_IN_A_STAGE)
def test_a_stages_file_edited_by_hand_is_checked(
    tmp_path: Path, stages: dict[str, dict[str, Any]], stage: str, key: str, value: Any, message: str
) -> None:
    path = tmp_path / f"{stage}.yaml"
    path.write_text(yaml.safe_dump(edited(stages[stage], key, value)))
    with pytest.raises(ConfigError, match=rf"^{path}: {message}") as caught:
        load_stage(path, SCHEMAS[stage.split("-")[0]])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[1]", b"text", b"a: [1\nb: 2", b"a:\n\tb: 1", b"a: \xe9", b"a: \x00", b"[" * 5000])
def test_a_stages_file_that_is_no_configuration_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "probe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{path}: ") as caught:
        load_stage(path, c.ProbeStage)
    assert "\n" not in str(caught.value)


def test_a_stages_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "probe.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=rf"^{path}: {reason}.*--config"):
            load_stage(path, c.ProbeStage)
