"""What was judged by other rules is judged anew; what no rule decides stays as it is."""

from pathlib import Path

import pytest

from npo_pipeline.configuration.compose import load_root, load_stage, stage_configs, to_yaml
from npo_pipeline.configuration.settings import RULES
from npo_pipeline.configuration.stages import ProbeStage
from npo_pipeline.errors import ConfigError


def probe_file(folder: Path, experiment: str, **rules: int) -> Path:
    values = stage_configs(load_root(experiment))["probe"]
    values["verifier"] |= rules
    (folder / "probe.yaml").write_text(to_yaml(values))
    return folder / "probe.yaml"


def test_only_what_rules_decide_is_numbered() -> None:
    found = {name: stage_configs(load_root(name))["probe"]["verifier"].get("rules") for name in ("default", "smollm2_gsm8k")}
    assert found == {"default": None, "smollm2_gsm8k": RULES}


def test_a_file_of_these_rules_is_read(tmp_path: Path) -> None:
    stage, _ = load_stage(probe_file(tmp_path, "smollm2_gsm8k"), ProbeStage)
    assert stage.verifier.rules == RULES


@pytest.mark.parametrize(("experiment", "number"), [("smollm2_gsm8k", RULES - 1), ("default", RULES)])
def test_a_file_of_other_rules_is_refused(tmp_path: Path, experiment: str, number: int) -> None:
    with pytest.raises(ConfigError, match=rf"probe\.yaml: verifier\.rules={number}: this code judges by the rules"):
        load_stage(probe_file(tmp_path, experiment, rules=number), ProbeStage)
