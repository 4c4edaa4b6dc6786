"""What Hydra and OmegaConf have against a configuration, in one line that names the key, and the nearest one that there is."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from npo_pipeline.configuration.places import choices
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line

HEADER = "# @package _global_"  # of an experiment's file: its keys are the configuration's own


def key_error(error: OmegaConfBaseException) -> str:
    """One line with the key; of a misspelt one also the nearest that its dataclass has."""
    key, line = error.full_key or "", _first_line(str(error))
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: missing, expected a value (??? stands for none)"
    if "is not a ListConfig" in line:
        return f"{key}: expected a list in brackets, as in {key}=[...]"
    if not isinstance(error, ConfigKeyError) or not is_dataclass(error.object_type):
        return f"{key}: {line}" if key else line
    place, dot, name = key.rpartition(".")
    known = [field.name for field in fields(error.object_type)]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"{key}: no such key; " + (f"did you mean {place}{dot}{near[0]}?" if near else f"there are {', '.join(known)}")


def override_error(message: str, known: DictConfig, conf: Path) -> str:
    """The error's first line, with the nearest known key where a key was misspelt."""
    line = _first_line(message)
    if group := re.search(r"Could not (?:find|load) '(.+)/(.*)'", line):
        return no_such_file(group[1], group[2], conf)
    if several := re.search(r"Ambiguous value for argument '([^=]+)=(.*)'", line):
        return f"{several[1]}={several[2]}: several values; expected one, or a list in brackets: {several[1]}=[{several[2]}]"
    if line.startswith("Error merging override") and "${" in line:
        return rf"{line}: ${{...}} stands for another key's value; write \${{ for the signs themselves"
    misspelt = re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", message)
    if not misspelt:
        return line
    wrong = misspelt[1] or misspelt[2]
    keys = list(_dotted(OmegaConf.to_container(known)))
    near = difflib.get_close_matches(wrong, [key for key in keys if key != wrong], n=1, cutoff=0.5)
    return f"{wrong}: no such key" + (
        f"; did you mean {near[0]}?" if near else "; conf/ and npo_pipeline/configuration/settings/ list them"
    )


def no_such_file(group: str, name: str, conf: Path) -> str:
    return f"{group}={name}: no such file in {conf / group}; there are {', '.join(choices(conf, group))}"


def check_readable(folders: Sequence[Path], conf: Path) -> None:
    """Raises ConfigError for a file of one's own, in a group that there is, that holds no mapping: Hydra's words name neither."""
    for file in (file for folder in folders for file in sorted(folder.glob("*/*.yaml")) if (conf / file.parent.name).is_dir()):
        try:
            read = OmegaConf.load(file)
        except Exception as error:  # PyYAML lets many kinds through
            raise ConfigError(f"{file}: not readable as YAML: {one_line(str(error)) or type(error).__name__}") from None
        if not isinstance(read, DictConfig):
            raise ConfigError(f"{file}: expected a mapping of keys to values")
        if file.parent.name == "experiment" and not file.read_text(encoding="utf-8").lstrip().startswith(HEADER):
            raise ConfigError(f"{file}: expected {HEADER!r} as its first line, without which its keys would be below `experiment`")


def _first_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[0] if lines else message


def _dotted(values: Any, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
