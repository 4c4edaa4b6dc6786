"""Overrides as a person writes them, as words that Hydra's grammar reads as they were meant: text where the settings say text.

Hydra reads `task.train=ünï.jsonl` as an error and `name=1e3` as 1000.0, YAML 1.1 reads `yes` and `0777` as other things still.
"""

import re
import shlex
from collections.abc import Collection
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from antlr4.error.Errors import RecognitionException
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from npo_pipeline.configuration.methods import kinds, method_class
from npo_pipeline.configuration.settings import MethodConfig, RootConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import is_text, short_repr

OVERRIDE = re.compile(r"(?P<key>\+{0,2}[A-Za-z_][A-Za-z0-9_./@:-]*)=(?P<value>.*)", re.DOTALL)
WAYS = "key=value, +key=value or ~key; a list is [0,1], a mapping {rank:16,alpha:32}, text within them that holds signs has quotes"

# Mappings whose keys belong to somebody else (a reasoning-gym dataset): overrides may add to them.
OPEN_KEYS = ("task.config.", "task.cold_start_config.", "evaluate.benchmarks.")


def split(overrides: str) -> list[str]:
    """As a shell would. Raises ConfigError for a quote without its partner."""
    try:
        return shlex.split(overrides)
    except ValueError as error:
        raise ConfigError(f"overrides={overrides!r}: {error}; every quote needs its partner") from None


def opened(override: str, methods: Collection[str]) -> str:
    """What may add keys without a plus: also to a method, whose file names some; they are checked against the settings of its kind."""
    return f"++{override}" if override.startswith((*OPEN_KEYS, *(f"method.{name}." for name in methods))) else override


def for_hydra(word: str) -> str:
    """The override with its value in Hydra's quotes where that keeps it as it is written. Raises ConfigError if it is none.

    Example: "task.train=a b(1).jsonl" -> "task.train='a b(1).jsonl'"; "seeds=[0,1]" stays.
    """
    if not is_text(word) or "\0" in word:
        raise ConfigError(f"overrides: {short_repr(word)}: not readable as text; expected {WAYS}")
    found = OVERRIDE.fullmatch(word)
    if found and _is_as_written(found["key"].lstrip("+"), found["value"]):
        return f"{found['key']}={QuotedString(found['value'], Quote.single).with_quotes()}"
    if _parsed(word) is None:
        raise ConfigError(f"overrides: {short_repr(word)}: not readable; expected {WAYS}")
    return word


def check_texts(found: Any, hint: Any, key: str = "") -> None:
    """Raises ConfigError naming the first number, truth value or date that stands where the settings say text: its spelling is lost."""
    if says_text(hint) and found is not None and not isinstance(found, str):
        kind = type(found).__name__
        raise ConfigError(f"{key}={short_repr(found)}: expected text, but without quotes this reads as {kind}; write it in quotes")
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for name, value in inner:
        place = f"{key}[{name}]" if isinstance(found, list) else f"{key}.{name}".lstrip(".")
        check_texts(value, _inside(hint, str(name)), place)


def says_text(hint: Any) -> bool:
    return _present(hint) is str


def declared(key: str) -> Any:
    """The type that the settings give a dotted key; Any where they leave it open. Example: "task.revision" -> str | None."""
    hint: Any = RootConfig
    for name in key.split("."):
        hint = _inside(hint, name)
    return hint


def _is_as_written(key: str, value: str) -> bool:
    """Whether the value is to be taken letter by letter: text that has no quotes of its own, or what Hydra cannot read."""
    hint = declared(key)
    if says_text(hint):
        is_none = value == "null" and NoneType in get_args(hint)
        return not is_none and not (value[:1] in ("'", '"') and isinstance(_parsed(f"key={value}"), QuotedString))
    return not value.startswith(("[", "{")) and _parsed(f"key={value}") is None


def _parsed(word: str) -> Any:
    """The value as Hydra reads it, True where that is none, or None if it cannot."""
    try:
        return OverridesParser.create().parse_override(word)._value or True
    except (HydraException, RecognitionException, ValueError, RecursionError):
        return None


def _inside(hint: Any, name: str) -> Any:
    hint = _present(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = _hints(hint)
        if name not in hints and issubclass(hint, MethodConfig) and name in kinds():  # a kind's own settings have its name
            own: Any = method_class(name)
            hints = _hints(own)
        return hints.get(name, Any)
    return (get_args(hint) or (Any,))[-1] if get_origin(hint) in (dict, list) else Any


def _present(hint: Any) -> Any:
    """Of `str | None` the str."""
    others = [kind for kind in get_args(hint) if kind is not NoneType]
    return others[0] if get_origin(hint) in (Union, UnionType) and len(others) == 1 else hint


@cache
def _hints(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)
