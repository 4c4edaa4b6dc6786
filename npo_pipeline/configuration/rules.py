"""The number of the rules that say which answers are right (settings.RULES), in the stages that it decides for."""

from dataclasses import replace
from typing import Any

from npo_pipeline.configuration.settings import RULES, VerifierConfig
from npo_pipeline.errors import ConfigError


def by_rules(verifier: VerifierConfig) -> VerifierConfig:
    """With the number of the rules that decide what is right, where they do: a whole response that is compared exactly has none."""
    return replace(verifier, rules=RULES if verifier.kind == "math" or verifier.extract != "whole" else None)


def check_rules(stage: Any) -> None:
    """Raises ConfigError for a file whose answers would be judged by other rules than when it was written."""
    verifier = getattr(stage, "verifier", None)
    if verifier and verifier.rules != (expected := by_rules(verifier).rules):
        raise ConfigError(
            f"verifier.rules={verifier.rules}: this code judges by the rules {expected}. Run snakemake again: it writes the file anew, and "
            "judges anew; or take the code that wrote it"
        )
