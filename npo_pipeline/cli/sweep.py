"""`npo sweep`: GRPO at every point of a grid of overrides, over the experiment's seeds, in one table.

    npo sweep sparse grpo.learning_rate=5e-5,1e-4,2e-4 grpo.warmup_steps=0,20 'seeds=[11,12]'

A value with commas is a list of choices, as in Hydra's own sweeps. Each point is an experiment of its own, results/NAME-POINT, of which
the probe and its evaluation are made; what is there already is not made again, and points that share their start share its making.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from antlr4.error.Errors import RecognitionException
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from npo_pipeline.cli.run import command
from npo_pipeline.configuration.compose import load_root, several_starts, stage_configs, to_yaml
from npo_pipeline.configuration.overrides import declared, says_text
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.layout import prepare_name
from npo_pipeline.storage.manifest import NAME

QUOTES = "'\""
CHOICE = re.compile(r"'[^']*'|\"[^\"]*\"|[^,]+")  # of a text with commas


@dataclass(frozen=True)
class Place:
    """A point of the grid before it is run: its own words, all words of its experiment, and that experiment."""

    values: tuple[str, ...]
    overrides: list[str]
    root: RootConfig

    @property
    def folder(self) -> Path:
        return Path("results") / self.root.name


def sweep(experiment: str, overrides: Sequence[str], options: argparse.Namespace) -> None:
    """Compose every point first. Raises ConfigError for a grid that cannot work; ends with Snakemake's own code where a point failed."""
    places = points(experiment, overrides)
    for place in places:
        if not options.dry_run:
            share_start(place, places)
        options.target = [f"{place.folder}/seed-{seed}/evaluation/probe.json" for seed in place.root.seeds]
        print(f"{', '.join(place.values)}: {place.folder}", flush=True)
        if code := subprocess.run(command(experiment, place.overrides, options), check=False).returncode:
            sys.exit(code)
    if not options.dry_run:
        write_table(base_name(experiment, overrides), places)


def grid(overrides: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """The choices of each word that has several, and the other words, whatever is wrong with them. Text with commas needs quotes."""
    choices, fixed = [], []
    for word in overrides:
        found = _parsed(word)
        if found and found.is_sweep_override():
            choices.append([f"{found.get_key_element()}={value}" for value in _values(word, found)])
        else:
            fixed.append(word)
    return choices, fixed


def _values(word: str, found: Override) -> list[str]:
    """The choices of a word; of a text each as it is written, since Hydra would print a number's own way. Raises ConfigError."""
    key, _, written = word.partition("=")
    if says_text(declared(key.lstrip("+"))) and found.is_choice_sweep() and not written.startswith("choice("):
        return [value.strip() for value in CHOICE.findall(written)]
    try:
        return [str(value) for value in found.sweep_string_iterator()]
    except HydraException:
        raise ConfigError(f"{word}: expected values with commas between them, as in {key}=1,2") from None


def _parsed(word: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, RecognitionException, ValueError):  # a path or a title: text that need not be readable to Hydra
        return None


def points(experiment: str, overrides: Sequence[str]) -> list[Place]:
    """Every point, composed and checked. Raises ConfigError naming the key that is wrong, or where there is no grid."""
    choices, fixed = grid(overrides)
    if not choices:
        raise ConfigError("sweep: found no grid; expected at least one key with several values, as grpo.learning_rate=5e-5,1e-4")
    if any(values[0].startswith("seeds=") for values in choices):
        raise ConfigError("sweep: seeds is no part of a grid; seeds=[1,2] runs every point over both seeds")
    name = base_name(experiment, overrides)
    found = [_place(experiment, fixed, name, values) for values in product(*choices)]
    folders = [place.folder for place in found]
    if twice := [place for place in found if folders.count(place.folder) > 1]:
        both = " and ".join(", ".join(place.values) for place in twice[:2])
        raise ConfigError(f"sweep: {both} would both be {twice[0].folder}; expected values that differ in letters or digits")
    return found


def base_name(experiment: str, overrides: Sequence[str]) -> str:
    """The experiment's, with the first of each key's choices: without one of them it may not compose."""
    choices, fixed = grid(overrides)
    return load_root(experiment, [*fixed, *(values[0] for values in choices)]).name


def _place(experiment: str, fixed: Sequence[str], name: str, values: tuple[str, ...]) -> Place:
    last = [value.partition("=") for value in values]
    called = "-".join(
        [name, *(f"{key.split('.')[-1]}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', chosen.strip(QUOTES))}" for key, _, chosen in last)]
    )
    overrides = [*(word for word in fixed if not word.startswith("name=")), *values, f"name={called}"]
    return Place(values, overrides, load_root(experiment, overrides))


def share_start(place: Place, places: Sequence[Place]) -> None:
    """Copy the problems and the initial policies from a point that has made the same already."""
    text, starts = to_yaml(stage_configs(place.root)["prepare"]), several_starts(place.root) or 1
    for other in places:
        file = other.folder / "config/prepare.yaml"
        if not (file.is_file() and file.read_text(encoding="utf-8") == text):
            continue
        for name in sorted({prepare_name(seed % starts) for seed in place.root.seeds}):
            if (other.folder / name / NAME).is_file() and not (place.folder / name).exists():
                _copy_start(other.folder, place.folder, name)


def _copy_start(source: Path, target: Path, name: str) -> None:
    """A folder of that name, which appears when it is whole, and the configuration that it was made by."""
    (target / "config").mkdir(parents=True, exist_ok=True)
    shutil.copy2(source / "config/prepare.yaml", target / "config")
    partial = target / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source / name, partial)
    partial.rename(target / name)


def write_table(name: str, places: Sequence[Place]) -> None:
    """results/NAME-sweep/table.md and table.csv. Raises ArtifactError where a point's results are damaged."""
    from npo_pipeline.analysis.sweep import csv_table, load_point, markdown_table

    found = [load_point(place.values, place.folder, place.root.seeds) for place in places]
    folder = Path("results") / f"{name}-sweep"
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (("table.csv", csv_table(found)), ("table.md", markdown_table(found))):
        write_text(folder / file, text)
    print(f"{markdown_table(found)}\n{folder / 'table.md'}")
