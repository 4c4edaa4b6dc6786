"""The command line that all stages share: `python -m npo_pipeline.stages.<stage> --config FILE [--seed N]`.

A wrong input is one line on stderr and an exit code of its own (npo_pipeline.errors); a traceback means a bug.
"""

import argparse
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from npo_pipeline.configuration.compose import load_stage
from npo_pipeline.configuration.options import at_least, device_name
from npo_pipeline.configuration.reward_file import check_unchanged
from npo_pipeline.configuration.settings import SINKS
from npo_pipeline.context import Config, Context
from npo_pipeline.distributed.group import is_one_of_many
from npo_pipeline.distributed.launch import launch
from npo_pipeline.errors import Interrupted, NpoError, StorageError
from npo_pipeline.grpo.reporting import check_sinks
from npo_pipeline.rollout.installed import check_installed
from npo_pipeline.shown import one_line
from npo_pipeline.storage.home import usable_caches
from npo_pipeline.storage.layout import Layout

# What a disk that is full, read-only, failing or somebody else's says, wherever a file is touched.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}


def parser(stage: str, doc: str | None) -> argparse.ArgumentParser:
    """The options of every stage."""
    parser = argparse.ArgumentParser(
        prog=f"python -m npo_pipeline.stages.{stage}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration, results/<experiment>/config/<stage>.yaml")
    parser.add_argument("--root", type=Path, help="results/<experiment>; default: the folder above the configuration's")
    parser.add_argument("--seed", type=at_least(0), default=0, help="which of the experiment's seeds (default 0)")
    parser.add_argument("--device", type=device_name, default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--workers", type=at_least(1), default=1, help="verifier processes (default 1)")
    return parser


def add_training(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """What a stage that trains is told beside its configuration. Results are the same for any of it, up to rounding."""
    parser.add_argument("--save-every", type=at_least(1), default=10, help="most steps between saved trainer states (default 10)")
    parser.add_argument("--nproc", type=at_least(1), default=1, help="processes per node, each with a GPU where there are any (default 1)")
    parser.add_argument("--nodes", type=at_least(1), default=1, help="nodes of this SLURM job (default 1)")
    wait = "seconds that processes wait for each other at most (default 1800)"
    parser.add_argument("--rank-timeout", type=at_least(1), default=1800, help=wait)
    less = "compute activations again in the backward instead of keeping them: less memory, a third more time"
    parser.add_argument("--recompute-activations", action="store_true", help=less)
    sinks = "where the metrics of each step go beside metrics.jsonl"
    parser.add_argument("--report-to", nargs="+", choices=SINKS, default=[], help=sinks)
    return parser


def run_stage(options: argparse.ArgumentParser, schema: type[Config], run: Callable[[Context[Config]], None]) -> None:
    """Parse, load the configuration, run; exit with the error's own code where the input was wrong."""
    usable_caches()  # before a library looks for its own
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    arguments = options.parse_args()
    root = arguments.root or experiment_folder(arguments.config.resolve())
    try:
        config, digest = load_stage(arguments.config, schema)
        if hasattr(config, "engine"):
            check_installed(config.engine)
        if verifier := getattr(getattr(config, "task", config), "verifier", None):
            check_unchanged(verifier)
        check_sinks(getattr(arguments, "report_to", ()))
        if "nproc" in arguments and arguments.nproc * arguments.nodes > 1 and not is_one_of_many():
            module = options.prog.split()[-1]
            sys.exit(launch(module, sys.argv[1:], arguments.nproc, arguments.nodes, arguments.rank_timeout))
        place = {key: getattr(config, key) for key in ("round", "probe_run") if hasattr(config, key)}
        run(Context(config, digest, Layout(root, arguments.seed, **place), arguments))
    except NpoError as error:
        _stop(error)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        reason = f"{root}: the disk refused {error.filename}: {error.strerror}"
        _stop(StorageError(f"{reason}. Free space or mend the permissions, then run the same command again."))


def experiment_folder(config: Path) -> Path:
    """results/<experiment> of a file below results/<experiment>/config/; of one that lies elsewhere, two folders up."""
    return next((folder.parent for folder in config.parents if folder.name == "config"), config.parent.parent)


def _stop(error: NpoError) -> NoReturn:
    if isinstance(error, Interrupted):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends; another rank that was faster has the launcher tell this one so
    if not (isinstance(error, Interrupted) and int(os.environ.get("RANK", "0")) > 0):  # all ranks stop for the same reason
        print(f"{error.label}: {one_line(str(error))}", file=sys.stderr)
    sys.exit(error.exit_code)
