"""Overrides on their way through Snakemake's `--config`, to its own process and to a cluster's jobs: no sign of them means anything."""

import base64
import json
from collections.abc import Sequence

from npo_pipeline.errors import ConfigError


def encode(words: Sequence[str]) -> str:
    """Letters, digits, - and _ alone, and a letter first, so that no shell and no YAML reads something else. Example: [] -> "W10"."""
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")


def decode(text: str) -> list[str]:
    """Raises ConfigError for a text that `encode` did not write."""
    try:
        words = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        assert isinstance(words, list)
        assert all(isinstance(word, str) for word in words)
    except (ValueError, AssertionError):
        raise ConfigError(f'--config words={text!r}: expected what `npo run` writes; by hand, write overrides="key=value ..."') from None
    return words
