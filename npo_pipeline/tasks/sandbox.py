"""How a worker process is made safe for what models write: quiet, bounded in memory, and without `eval` on answers.

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

MEMORY_BYTES = 4 * 2**30  # that an answer may claim, beyond what the libraries take
EVALUATING = (
    "algorithmic.string_insertion",
    "algorithmic.spiral_matrix",
    "algorithmic.binary_matrix",
    "algorithmic.number_sorting",
    "games.n_queens",
)

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


def prepare_worker(kind: str) -> None:
    """Import what judging `kind` ("math" or "reasoning_gym") needs, so that no answer's time pays for it, then close the doors."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for number in (signal.SIGINT, signal.SIGUSR1):  # a terminal and SLURM signal the whole group: the run ends its step with its workers
        signal.signal(number, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # scorers that print must not write into the parent's output
    if kind == "math":
        importlib.import_module("math_verify")
    else:
        importlib.import_module("reasoning_gym")
        for name in EVALUATING:
            importlib.import_module(f"reasoning_gym.{name}").__dict__["eval"] = ast.literal_eval
    _guard_sympy()
    _bound_memory()


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


def _bound_memory() -> None:
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as stream:
            now = int(stream.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = now + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
