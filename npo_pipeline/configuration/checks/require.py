"""How a wrong value of the configuration is refused: the key, what was found, what is expected."""

import re
from collections.abc import Collection
from typing import Any

from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import short_repr

MOST_STEPS = 10**7  # more than any run has: what is asked for per step is laid out before it begins
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
RUN = rf"(round-[0-9]{{1,9}}/)?{NAME}"


def require(condition: bool, key: str, found: Any, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{key}={short_repr(found)}: expected {expected}")


def check_seed(key: str, found: int, shown: Any = None) -> None:
    """A seed is given to torch and numpy, and stands in file names: 63 bits, so that all of them take it. `shown`: the list it is of."""
    require(0 <= found < 2**63, key, found if shown is None else shown, f"numbers from 0 up, below 2**63={2**63}")


def plain_name(key: str, found: str, not_one_of: Collection[str] = ()) -> None:
    """A name becomes a folder, a wildcard of the workflow, a word in a shell, a label: nothing in it may mean something there."""
    expected = "a plain name: letters, digits and _ . -, at most 100 of them, the first not a dot or dash"
    require(bool(re.fullmatch(NAME, found)), key, found, expected)
    require(found not in not_one_of and not re.fullmatch(r"round-[0-9]+", found), key, found, "another name: this is one of the pipeline's")


def is_run_name(text: str) -> bool:
    """Whether it names a training run as the results do: `probe`, `npo`, `round-2/npo`."""
    return bool(re.fullmatch(RUN, text))


def one_of(key: str, found: str, allowed: tuple[str, ...]) -> None:
    require(found in allowed, key, found, "one of " + ", ".join(allowed))
