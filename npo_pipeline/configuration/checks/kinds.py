"""The kinds of what stands in lists and mappings: OmegaConf checks plain values, but lets a list pass where a list of numbers is asked for.

Example: `evaluate.ks=[[], 4]`, where the dataclass says list[int]. And numbers that no machine counts with, or that only say "no number".
"""

from dataclasses import fields, is_dataclass
from math import isfinite, isnan
from typing import Any, get_args, get_origin, get_type_hints

from npo_pipeline.configuration.checks.require import require

PLAIN = (int, float, str)
BOUNDS = {"clip_high", "max_grad_norm"}  # infinite: no bound


def check_kinds(found: Any, prefix: str = "") -> None:
    """Raises ConfigError naming the first number that is none, or the first element of a list that is not of its declared kind."""
    hints = get_type_hints(type(found))
    for field in fields(found):
        key, value, hint = f"{prefix}{field.name}", getattr(found, field.name), hints[field.name]
        _check_number(key, value, field.name in BOUNDS)
        if get_origin(hint) is list and get_args(hint)[0] in PLAIN:
            _check_elements(key, value, get_args(hint)[0])
        for name, inner in _inner(key, value):
            if is_dataclass(inner):
                check_kinds(inner, f"{name}.")


def _check_number(key: str, value: Any, may_be_infinite: bool) -> None:
    if isinstance(value, float):
        require(isfinite(value) or (may_be_infinite and not isnan(value)), key, value, "a finite number")
    if isinstance(value, int) and not key.endswith("seed"):  # seeds have a bound of their own
        require(abs(value) < 2**63, key, value, "a number below 2**63 in size")


def _check_elements(key: str, values: list[Any], kind: type) -> None:
    for i, value in enumerate(values):
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        _check_number(f"{key}[{i}]", value if isinstance(value, float) else 0, False)
        require(fits and not isinstance(value, bool), f"{key}[{i}]", value, f"{kind.__name__}, as the others of {key}")


def _inner(key: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"{key}.{name}", inner) for name, inner in value.items()]
    return [(f"{key}[{i}]", inner) for i, inner in enumerate(value)] if isinstance(value, list) else [(key, value)]
