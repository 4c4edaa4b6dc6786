"""What `${name}` stands for, and text that holds these very signs."""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf


def resolved(composed: DictConfig) -> DictConfig:
    """With what its interpolations stand for, whose types would escape the checks otherwise, as text that is not read once more."""
    return OmegaConf.create(_as_it_is(OmegaConf.to_container(composed, resolve=True)))


def _as_it_is(value: Any) -> Any:
    """A text that holds `${` has it as `\\${`, and twice the backslashes before it: so OmegaConf writes the signs themselves."""
    if isinstance(value, dict):
        return {key: _as_it_is(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_it_is(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value) if isinstance(value, str) else value
