"""How a wrong value of the configuration is refused: the key, what was found, what is expected."""

from typing import Any

from npo_pipeline.errors import ConfigError


def require(condition: bool, key: str, found: Any, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{key}={found!r}: expected {expected}")


def one_of(key: str, found: str, allowed: tuple[str, ...]) -> None:
    require(found in allowed, key, found, "one of " + ", ".join(allowed))
