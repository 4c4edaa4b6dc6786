"""What a stage hands to the room that does its work."""

import argparse
from dataclasses import dataclass
from typing import Generic, TypeVar

from npo_pipeline.storage.layout import Layout

Config = TypeVar("Config")


@dataclass(frozen=True)
class Context(Generic[Config]):
    """What a stage is given. `options` are the command line's: runtime matters that do not change what is written.

    `kept_bytes`: forecast of what training keeps on its device while it samples (npo_pipeline.planning.engine); None: nobody knows.
    """

    config: Config
    config_sha256: str
    layout: Layout
    options: argparse.Namespace
    kept_bytes: int | None = 0
