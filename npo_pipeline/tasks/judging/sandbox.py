"""How a worker process is made safe for what models write: quiet, bounded in memory, without files and without `eval` on answers.

Some reasoning-gym scorers call `eval` on the answer, or sympy's parser, which does. Text from a model is data: `eval` becomes
`ast.literal_eval` in those modules, and sympy evaluates arithmetic and elementary functions only.
"""

import ast
import importlib
import logging
import os
import re
import resource
import signal
import sys
import warnings
from typing import Any

from npo_pipeline.configuration.settings import VerifierConfig

MEMORY_BYTES = 2**30  # that an answer may claim, beyond what the libraries take
KEPT_BYTES = MEMORY_BYTES // 4  # that earlier answers may have left behind in caches: sympy keeps what it has worked out
EVALUATING = (
    "algorithmic.string_insertion",
    "algorithmic.spiral_matrix",
    "algorithmic.binary_matrix",
    "algorithmic.number_sorting",
    "games.n_queens",
)

_start_bytes = 0  # of a worker that is ready; 0: not bounded

_CONSTRUCTORS = {"Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "sqrt", "root", "cbrt", "factorial", "Abs", "Max", "Min"}
_LITERAL = re.compile(r"[\w.+-]*")
_ALLOWED = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.operator,
    ast.unaryop,
    ast.Constant,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.keyword,
    ast.Tuple,
)


def prepare_worker(kind: str, verifier: VerifierConfig | None = None) -> None:
    """Import what judging `kind` ("math", "reasoning_gym", or "python" as `verifier` says) needs, so that no answer's time pays for it,
    then close the doors."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for number in (signal.SIGINT, signal.SIGUSR1):  # a terminal and SLURM signal the whole group: the run ends its step with its workers
        signal.signal(number, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # scorers that print must not write into the parent's output
    if kind == "python":
        own_reward = importlib.import_module("npo_pipeline.tasks.judging.own_reward")
        own_reward.load(verifier)
    elif kind == "math":
        importlib.import_module("math_verify")
    else:
        importlib.import_module("reasoning_gym")
        for name in EVALUATING:
            importlib.import_module(f"reasoning_gym.{name}").__dict__["eval"] = ast.literal_eval
    if kind != "python":  # whose code is the user's own: it may do with sympy what it likes
        _guard_sympy()
    os.dup2(1, 2)  # nor into its log; what went wrong before this can be read there
    _set_bounds()


def _guard_sympy() -> None:
    sympy_parser: Any = importlib.import_module("sympy.parsing.sympy_parser")
    stringify = sympy_parser.stringify_expr

    def checked(*args: Any, **kwargs: Any) -> str:
        code = str(stringify(*args, **kwargs))
        check_expression(code)
        return code

    sympy_parser.stringify_expr = checked


def check_expression(code: str) -> None:
    """Raises ValueError if Python code, as sympy's parser is about to evaluate it, holds more than arithmetic and elementary functions."""
    for node in ast.walk(ast.parse(code.strip(), mode="eval")):
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{type(node).__name__} in an answer")
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and _elementary(node.func.id)):
            raise ValueError("a call in an answer")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _LITERAL.fullmatch(node.value):
            raise ValueError("a text in an answer")


def _elementary(name: str) -> bool:
    sympy: Any = importlib.import_module("sympy")
    return name in _CONSTRUCTORS or isinstance(getattr(sympy, name, None), sympy.FunctionClass)


def _set_bounds() -> None:
    """Memory; and no file may get a byte, be it one that a scorer opens or the image of a worker that crashed."""
    if sys.platform == "linux":
        global _start_bytes
        _start_bytes = _memory_bytes()
        _lower(resource.RLIMIT_AS, _start_bytes + MEMORY_BYTES)
        _lower(resource.RLIMIT_FSIZE, 0)
        _lower(resource.RLIMIT_CORE, 0)


def _lower(limit: int, wanted: int) -> None:
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def memory_is_short() -> bool:
    """Whether earlier answers left so much behind that the next one might run out of memory for it."""
    return _start_bytes > 0 and _memory_bytes() > _start_bytes + KEPT_BYTES


def _memory_bytes() -> int:
    """Of this process's address space, which is what its bound counts."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[0]) * resource.getpagesize()
