"""A user's own reward function, in a worker process: loaded once from the very file that the configuration was made for, then called.

What the function does wrong with one response is told beside its reward of 0; that it cannot be loaded stops the run.
"""

import copy
import importlib
import importlib.util
import inspect
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from npo_pipeline.configuration.reward_file import KEY, check_unchanged, find_source, is_file_name, split_function
from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line, short_repr

LOAD_SECONDS = 120  # that importing its file may take, whatever that imports
HERE = Path(__file__).parent
EXPECTED = "score(text, reference, metadata)"

_function: Callable[..., Any] | None = None
_failure = "not loaded"


class _Stuck(BaseException):
    """Not an Exception: a file that catches those must not swallow it."""


def load(verifier: VerifierConfig) -> None:
    """Import the function. Never raises, as a worker that does not start says nothing: `reward` tells what was wrong."""
    global _function, _failure
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(LOAD_SECONDS)
    try:
        check_unchanged(verifier)
        _function = _found(str(verifier.function))
    except ConfigError as error:
        _failure = str(error)
    except BaseException as error:  # the file is a user's: it may even exit
        said = f"took more than {LOAD_SECONDS} seconds" if isinstance(error, _Stuck) else said_of(error)
        _failure = f"{KEY}={verifier.function}: its file cannot be imported: {said}; mend it"
    finally:
        signal.alarm(0)


def check_loaded() -> None:
    """Raises ConfigError if the function could not be loaded."""
    if _function is None:
        raise ConfigError(_failure)


def reward(text: str, reference: str, metadata: dict[str, Any]) -> float:
    """What the function gives a response. Raises ValueError where that is no number in [0, 1], and whatever the function raises."""
    check_loaded()
    assert _function is not None
    value = _function(text, reference, copy.deepcopy(metadata))  # responses to one problem share it
    plain = value.item() if not isinstance(value, Real) and callable(getattr(value, "item", None)) else value  # of NumPy or torch
    number = float(plain) if isinstance(plain, Real) else math.nan
    if not 0 <= number <= 1:  # NaN is not
        raise ValueError(f"it returned {short_repr(value)}, expected a number from 0 to 1, or a bool")
    return number


def _found(function: str) -> Callable[..., Any]:
    place, name = split_function(function)
    file, folder, module = find_source(function)
    sys.path[:0] = [str(folder)] if str(folder) == os.getcwd() else [str(folder), os.getcwd()]
    loaded = _from_file(file) if is_file_name(place) else importlib.import_module(module)
    if not hasattr(loaded, name):
        own = [key for key, value in vars(loaded).items() if inspect.isfunction(value) and value.__module__ == loaded.__name__]
        raise ConfigError(f"{KEY}={function}: {place} has no {name}; its functions are {', '.join(own) or 'none'}")
    found = getattr(loaded, name)
    if not callable(found):
        raise ConfigError(f"{KEY}={function}: {name} is of type {type(found).__name__}, expected a function {EXPECTED}")
    _check_signature(function, found)
    return found


def _from_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("npo_own_reward", file)  # a name that shadows no module, whatever the file's is
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _check_signature(function: str, found: Callable[..., Any]) -> None:
    with suppress(ValueError):  # a function written in C may have none
        signature = inspect.signature(found)
        try:
            signature.bind("", "", {})
        except TypeError as error:
            raise ConfigError(
                f"{KEY}={function}: takes {signature}, so that calling it with three arguments fails ({error}); expected {EXPECTED}"
            ) from None


def said_of(error: BaseException) -> str:
    """What went wrong, and where in a user's code. Example: "ZeroDivisionError: division by zero (my_rewards.py, line 7)"."""
    text = one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    files = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    theirs = [(file, line) for file, line in files if file.is_file() and HERE not in file.parents]
    return f"{text} ({theirs[-1][0].name}, line {theirs[-1][1]})" if theirs else text


def _stop(*_: object) -> None:
    raise _Stuck
