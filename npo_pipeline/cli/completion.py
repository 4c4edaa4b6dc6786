"""What a shell completes behind `npo run` and `npo plan`: experiments, keys of the configuration, files of its groups."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from npo_pipeline.configuration.places import CONF, choices
from npo_pipeline.configuration.settings import RootConfig


def complete(prefix: str) -> list[str]:
    key, given, _ = prefix.partition("=")
    if given:
        return [f"{key}={name}" for name in choices(CONF, key)] if (CONF / key).is_dir() else []
    return [*choices(CONF, "experiment"), *(f"{key}=" for key in keys(RootConfig))]


def keys(schema: Any, prefix: str = "") -> Iterator[str]:
    """Dotted, of a dataclass and those below it."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        yield f"{prefix}{field.name}"
        if is_dataclass(hints[field.name]):
            yield from keys(hints[field.name], f"{prefix}{field.name}.")
