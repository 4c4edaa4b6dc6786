"""The kinds of what stands in lists and mappings: OmegaConf checks plain values, but lets a list pass where a list of numbers is asked for.

Example: `evaluate.ks=[[], 4]`, where the dataclass says list[int].
"""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from npo_pipeline.configuration.checks.require import require

PLAIN = (int, float, str)


def check_kinds(found: Any, prefix: str = "") -> None:
    """Raises ConfigError naming the first element, of a list in a dataclass or below it, that is not of the kind it is declared as."""
    hints = get_type_hints(type(found))
    for field in fields(found):
        key, value, hint = f"{prefix}{field.name}", getattr(found, field.name), hints[field.name]
        if get_origin(hint) is list and get_args(hint)[0] in PLAIN:
            _check_elements(key, value, get_args(hint)[0])
        for name, inner in _inner(key, value):
            if is_dataclass(inner):
                check_kinds(inner, f"{name}.")


def _check_elements(key: str, values: list[Any], kind: type) -> None:
    for i, value in enumerate(values):
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        require(fits and not isinstance(value, bool), f"{key}[{i}]", value, f"{kind.__name__}, as the others of {key}")


def _inner(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{key}.{name}", inner) for name, inner in value.items()]
    return [(f"{key}[{i}]", inner) for i, inner in enumerate(value)] if isinstance(value, list) else [(key, value)]
