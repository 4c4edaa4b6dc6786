"""`npo run` hands an experiment to Snakemake, `npo report` makes a report anew. Both become the process that does the work."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from npo_pipeline.cli.words import encode
from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.places import PROJECT
from npo_pipeline.errors import ArtifactError

# What Snakemake reads as text; `7`, `1e3` and `true` it would read as something else.
PLAIN = re.compile(r"(?!(true|false|null|yes|no|on|off|nan|inf|infinity|y|n)$)[a-z][a-z0-9_-]*")


def run(experiment: str, overrides: Sequence[str], options: argparse.Namespace) -> None:
    """Compose first, so that a wrong value is one line before Snakemake starts. Raises ConfigError.

    Of an adopted run without a start nothing is made: it is said where to begin.
    """
    root = load_root(experiment, overrides)
    if root.probe.adopt and root.guided.start is None:
        from npo_pipeline.cli.propose import propose

        return propose(root, experiment, overrides)
    sys.stdout.flush()
    os.execv(sys.executable, command(experiment, overrides, options))


def command(experiment: str, overrides: Sequence[str], options: argparse.Namespace) -> list[str]:
    called = {"experiment": experiment} if PLAIN.fullmatch(experiment) else {"called": encode([experiment])}
    config = called | {"words": encode(overrides), "device": options.device, "guide_jobs": options.guide_jobs}
    return [
        *[sys.executable, "-m", "snakemake", "--config", *(f"{key}={value}" for key, value in config.items() if value is not None)],
        *["--snakefile", str(PROJECT / "Snakefile"), "--profile", profile(options.profile)],
        *(["--cores", options.cores] if options.cores else []),
        *(["--dry-run"] if options.dry_run else []),
        *options.raw,
        *(["--", *options.target] if options.target else []),
    ]


def profile(name: str) -> str:
    """The folder of a profile that comes with the project; any other is Snakemake's to find."""
    shipped = PROJECT / "workflow/profiles" / name
    return str(shipped) if (shipped / "config.yaml").is_file() else name


def report(folder: Path | None) -> None:
    """Raises ArtifactError where there is no configuration of a report."""
    configured = [folder / "config/report.yaml"] if folder else sorted(Path("results").glob("*/config/report.yaml"), key=_changed)
    if not configured or not configured[-1].is_file():
        raise ArtifactError(f"{folder or 'results'}: holds no config/report.yaml; expected results/NAME of a finished run")
    print(f"{configured[-1].parent.parent / 'report.html'}: made anew", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "npo_pipeline.stages.report", "--config", str(configured[-1])])


def _changed(path: Path) -> float:
    return path.stat().st_mtime
