"""What a stage hands to the room that does its work."""

import argparse
from dataclasses import dataclass
from typing import Generic, TypeVar

from npo_pipeline.storage.layout import Layout

Config = TypeVar("Config")


@dataclass(frozen=True)
class Context(Generic[Config]):
    """What a stage is given. `options` are the command line's: runtime matters that do not change what is written."""

    config: Config
    config_sha256: str
    layout: Layout
    options: argparse.Namespace
