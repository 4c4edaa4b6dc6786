"""`task.verifier.function`: which file it names, and the sha256 by which a change of the file makes what follows anew.

Nothing of a user's code runs here: the file is found and read, and its imports are followed as text.
"""

import ast
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

from npo_pipeline.configuration.places import PROJECT
from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.errors import ConfigError

KEY = "task.verifier.function"


def with_digest(verifier: VerifierConfig) -> VerifierConfig:
    """The verifier with `function_sha256` of the file as it is now; as it was where the kind is another. Raises ConfigError."""
    return replace(verifier, function_sha256=digest(verifier.function)) if verifier.kind == "python" and verifier.function else verifier


def check_unchanged(verifier: VerifierConfig) -> None:
    """Raises ConfigError if the function's file is gone, or another than the configuration was made for."""
    if verifier.kind != "python" or not verifier.function:
        return
    if (found := digest(verifier.function)) != verifier.function_sha256:
        raise ConfigError(
            f"{KEY}={verifier.function}: its file has sha256 {found[:12]}, expected {str(verifier.function_sha256)[:12]} as in "
            "verifier.function_sha256; it was changed since: run snakemake again, which makes what it judged anew, or take the file back"
        )


def split_function(function: str) -> tuple[str, str]:
    """("my_rewards.py", "score") of "my_rewards.py:score"."""
    place, _, name = function.rpartition(":")
    return place, name


def find_source(function: str) -> tuple[Path, Path, str]:
    """Its file, the folder that its imports start from, and its module's name there.

    A file is looked for from the working directory, then from the project's root; a module where Python looks, the working
    directory first. Raises ConfigError if there is none.
    """
    place, _ = split_function(function)
    if is_file_name(place):
        given = Path(place).expanduser()
        file = next((file for file in (given.absolute(), PROJECT / given) if file.is_file()), None)
        if file is None:
            raise ConfigError(f"{KEY}={function}: no file {place} in {Path.cwd()}, nor in {PROJECT}; mend the path")
        return file, file.parent, file.stem
    file = _module_file(place)
    if file is None:
        raise ConfigError(f"{KEY}={function}: no module {place} that Python finds from {Path.cwd()}; install it, or name a .py file")
    levels = place.count(".") + (file.name == "__init__.py")
    return file, file.parents[levels], place


def is_file_name(place: str) -> bool:
    return place.endswith(".py") or "/" in place


def digest(function: str) -> str:
    """The sha256 of its file; of a list of files and their sha256 where it imports others of its folder, or of its package."""
    file, folder, module = find_source(function)
    package = None if is_file_name(split_function(function)[0]) else module.partition(".")[0]
    hashes = {str(found.relative_to(folder)): hashlib.sha256(_read(found)).hexdigest() for found in _own_files(file, folder, package)}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{value}  {name}\n" for name, value in sorted(hashes.items())).encode()).hexdigest()


def _module_file(module: str) -> Path | None:
    """Found part by part, so that no package of it is imported."""
    top, *rest = module.split(".")
    spec = PathFinder.find_spec(top, [os.getcwd()]) or find_spec(top)
    for i in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(".".join([top, *rest[: i + 1]]), list(spec.submodule_search_locations))
    return Path(spec.origin).absolute() if spec and spec.origin and spec.origin.endswith(".py") else None


def _own_files(file: Path, folder: Path, package: str | None) -> set[Path]:
    """`file` and what it imports, and so on, as far as that lies in `folder`, of `package` alone where it has one."""
    found, todo = {file}, [file]
    while todo:
        here = todo.pop()
        for name in _imports(here, folder):
            if package is None or name[0] == package:
                new = {place for place in _places(folder, name) if place.is_file()} - found
                found |= new
                todo += new
    return found


def _imports(file: Path, folder: Path) -> Iterator[tuple[str, ...]]:
    """Names that a file may import, as their parts: ("pkg", "mod", "thing"). None of a file that is no Python: loading it tells."""
    try:
        nodes = list(ast.walk(ast.parse(_read(file))))
    except (SyntaxError, ValueError, RecursionError):
        return
    above = file.relative_to(folder).parent.parts
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (*(above[: len(above) - node.level + 1] if node.level else ()), *(node.module.split(".") if node.module else ()))
            yield from ((*base, alias.name) for alias in node.names)


def _places(folder: Path, name: tuple[str, ...]) -> Iterator[Path]:
    for end in range(1, len(name) + 1):
        place = folder.joinpath(*name[:end])
        yield from (place / "__init__.py", place.with_name(f"{place.name}.py"))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{KEY}: {file} cannot be read: {error.strerror}; mend its permissions") from None
