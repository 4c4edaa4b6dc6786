"""What can be wrong with the files of an experiment: each makes a function that damages the one in a folder."""

import os
from collections.abc import Callable
from pathlib import Path

import yaml

Damage = Callable[[Path], object]


def edit(name: str, **values: object) -> Damage:
    """Set keys of a YAML file; `a__b` is key b of mapping a."""

    def change(root: Path) -> None:
        content = yaml.safe_load((root / name).read_text())
        for key, value in values.items():
            *parents, last = key.split("__")
            place = content
            for parent in parents:
                place = place[int(parent)] if isinstance(place, list) else place[parent]
            place[last] = value
        (root / name).write_text(yaml.safe_dump(content))

    return change


def cut(name: str) -> Damage:
    return lambda root: os.truncate(root / name, (root / name).stat().st_size // 2)


def remove(name: str) -> Damage:
    return lambda root: (root / name).unlink()


def write(name: str, text: str) -> Damage:
    return lambda root: (root / name).write_text(text)


def nothing(root: Path) -> None:
    """No file: the command line itself is wrong."""
