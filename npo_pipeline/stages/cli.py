"""The command line that all stages share: `python -m npo_pipeline.stages.<stage> --config FILE [--seed N]`.

A wrong input is one line on stderr and an exit code of its own (npo_pipeline.errors); a traceback means a bug.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from npo_pipeline.compose import load_stage
from npo_pipeline.errors import NpoError
from npo_pipeline.storage.layout import Layout

Config = TypeVar("Config")


@dataclass(frozen=True)
class Context(Generic[Config]):
    """What a stage is given. `options` are the command line's: runtime matters that do not change what is written."""

    config: Config
    config_sha256: str
    layout: Layout
    options: argparse.Namespace


def parser(stage: str, doc: str | None) -> argparse.ArgumentParser:
    """The options of every stage."""
    parser = argparse.ArgumentParser(
        prog=f"python -m npo_pipeline.stages.{stage}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration, results/<experiment>/config/<stage>.yaml")
    parser.add_argument("--root", type=Path, help="results/<experiment>; default: the folder above the configuration's")
    parser.add_argument("--seed", type=int, default=0, help="which of the experiment's seeds (default 0)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--workers", type=int, default=1, help="verifier processes (default 1)")
    return parser


def add_save_every(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--save-every", type=int, default=10, help="steps between saved trainer states, for a resume (default 10)")
    return parser


def run_stage(options: argparse.ArgumentParser, schema: type[Config], run: Callable[[Context[Config]], None]) -> None:
    """Parse, load the configuration, run; exit with the error's own code where the input was wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    arguments = options.parse_args()
    try:
        config, digest = load_stage(arguments.config, schema)
        root = arguments.root or arguments.config.resolve().parent.parent
        run(Context(config, digest, Layout(root, arguments.seed), arguments))
    except NpoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
