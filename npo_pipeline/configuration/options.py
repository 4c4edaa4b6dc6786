"""The types of command line options: a wrong value is named with what was expected, before anything is loaded."""

import argparse
import re
from collections.abc import Callable

from npo_pipeline.configuration.checks.require import is_run_name


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number, `least` or more."""

    def whole_number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"found {text}, expected at least {least}")
        return int(text)

    return whole_number


def share(text: str) -> float:
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a share from 0 to 1")
    return float(text)


def device_name(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected auto, cpu, cuda or cuda:N")
    return text


def plain_name(text: str) -> str:
    """A policy's: `probe`, `npo`, `round-2/npo`."""
    if not is_run_name(text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a name, not a path")
    return text
