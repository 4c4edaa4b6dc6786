"""A stage's resolved configuration as a file: written as YAML, read back into its dataclass and checked. Errors are one line."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from npo_pipeline.configuration import stages as c
from npo_pipeline.configuration.checks import check_stage
from npo_pipeline.configuration.checks.kinds import check_kinds
from npo_pipeline.configuration.hydra_errors import key_error
from npo_pipeline.configuration.methods import typed_method
from npo_pipeline.configuration.overrides import check_texts
from npo_pipeline.configuration.rules import check_rules
from npo_pipeline.configuration.versions import VERSIONS
from npo_pipeline.configuration.windows import check_windows
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line
from npo_pipeline.storage.manifest import sha256_text

Stage = TypeVar("Stage")


class _Dumper(yaml.SafeDumper):
    """Quotes text that OmegaConf would read as a number where PyYAML would not: 1e3."""


for _tag, _pattern in get_yaml_loader().yaml_implicit_resolvers["1"]:
    if _tag == "tag:yaml.org,2002:float":
        _Dumper.add_implicit_resolver(_tag, _pattern, list("-+0123456789."))


def to_yaml(values: dict[str, Any]) -> str:
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def load_stage(path: Path, schema: type[Stage]) -> tuple[Stage, str]:
    """Read a stage's resolved YAML into its dataclass and check it; also its sha256. Raises ConfigError naming file and key."""
    text, values = _read_mapping(path)
    _check_version(path, values.get("version"), schema)
    try:
        check_texts(OmegaConf.to_container(values), schema)
        stage = OmegaConf.to_object(OmegaConf.merge(_typed(schema, values), values))
        check_kinds(stage)
        check_stage(stage)
        check_rules(stage)
        if isinstance(stage, c.PlanStage):
            check_windows("method.windows", stage.method.windows, stage.steps, stage.guide_steps, stage.lookback)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {one_line(key_error(error))}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {one_line(str(error))}") from None
    assert isinstance(stage, schema)
    return stage, sha256_text(text)


def _typed(schema: type, values: DictConfig) -> DictConfig:
    """What a stage's file is checked against: its method against the settings of its kind."""
    typed = OmegaConf.structured(schema)
    has_method = schema in (c.PlanStage, c.GuidedStage)
    if has_method and (own := typed_method(f"method.{values.get('name')}", values.get("method"))):
        typed.method = own
    return typed


def _check_version(path: Path, found: Any, schema: type) -> None:
    """Raises ConfigError for a file that another version of the code wrote; a key that is missing altogether is named later."""
    stage = schema.__name__.removesuffix("Stage").lower()
    if found is not None and found != VERSIONS[stage]:
        raise ConfigError(
            f"{path}: version {found} of the stage {stage}, this code is version {VERSIONS[stage]}. Run snakemake again: it writes the "
            "file anew, and makes what depends on it anew too; or take the code that wrote it"
        )


def _read_mapping(path: Path) -> tuple[str, DictConfig]:
    fix = "Give the file that snakemake writes, results/<experiment>/config/<stage>.yaml, with --config."
    try:
        text = path.read_text(encoding="utf-8")
        values = OmegaConf.create(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. {fix}") from None
    except Exception as error:  # OmegaConf asserts that a text holds more than a number, and PyYAML lets many kinds through
        raise ConfigError(f"{path}: not readable as YAML: {one_line(str(error)) or type(error).__name__}. {fix}") from None
    if not isinstance(values, DictConfig):
        raise ConfigError(f"{path}: expected a mapping of keys to values. {fix}")
    return text, values
