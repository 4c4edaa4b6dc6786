"""The command `npo`: its subcommands and their options. Each imports what it needs when it is called, so that --help is quick.

Exit codes: 0, 2 for a wrong option, or as a stage's (npo_pipeline/errors.py): 65 data, 66 files, 74 disk, 78 configuration. `npo run`
ends with Snakemake's own.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from npo_pipeline.configuration.options import at_least, device_name
from npo_pipeline.errors import ConfigError, NpoError
from npo_pipeline.shown import one_line
from npo_pipeline.storage.home import usable_caches

STAGES = [
    "prepare",
    "probe",
    "adopt",
    "guide",
    "plan",
    "guided",
    "evaluate",
    "report",
    "teacher",
    "demonstrate",
    "benchmarks",
    "comparison",
    "measure",
]
WORDS = "the experiment, a file of conf/experiment (default: default), then values: task.train=rows.jsonl seeds=[0,1]"
EXAMPLES = """examples:
  npo run                                               the main experiment; the report is results/default/report.html
  npo run chain_sum probe.steps=60 'method=[npo_early]' another one, with other values
  npo run --slurm paper -- --default-resources slurm_account=me slurm_partition=gpu
  npo init mine                                         a folder of one's own, with an experiment to edit

Completion: eval "$(register-python-argcomplete npo)"
"""


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with the error's own code where a NpoError says what is wrong, in one line."""
    usable_caches()  # Snakemake, too, ends in a traceback without any
    given = list(sys.argv[1:] if arguments is None else arguments)
    found = parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(found)
    try:
        options = parsed(found, given)
        options.call(options)
    except NpoError as error:
        print(f"{error.label}: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # of `npo du | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parsed(found: argparse.ArgumentParser, given: list[str]) -> argparse.Namespace:
    """Options may stand before, between and behind the words; what follows `--` is for Snakemake, of `npo run` and `npo sweep`."""
    at = given.index("--") if given[:1] in (["run"], ["sweep"]) and "--" in given else len(given)
    options, more = found.parse_known_args(given[:at])
    if more and ("words" not in options or any(word.startswith("-") for word in more)):
        found.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        options.words += more
    options.raw = given[at + 1 :]
    return options


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="npo",
        description="Near-Future Policy Optimization: post-training with verifiable rewards, guided by later checkpoints of the same run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = found.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    _add_sweep(commands)
    _add_stage(commands)
    _add_plan(commands)
    report = _add(commands, "report", "make a finished run's report anew, and say where it is", _report)
    report.add_argument("folder", nargs="?", type=Path, help="results/NAME (default: the one that was configured last)")
    init = _add(commands, "init", "make a folder of one's own: an experiment to edit, rows to replace", _init)
    init.add_argument("folder", type=Path)
    _add_store(commands)
    return found


def _add(commands: Commands, name: str, what: str, call: Callable[..., None]) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=what, description=what)
    command.set_defaults(call=call)
    return command


def _add_run(commands: Commands) -> None:
    run = _add(commands, "run", "run an experiment, or go on with it", _run)
    run.usage = "npo run [experiment] [key=value ...] [options] [-- Snakemake's own options]"
    _add_words(run)
    _add_where(run)
    run.add_argument("--guide-jobs", type=at_least(1), metavar="N", help="jobs that share the guide checkpoints (default 1)")
    run.add_argument("--target", action="append", help="comparison, signal_study, or a file of results/ (default: the report)")


def _add_sweep(commands: Commands) -> None:
    sweep = _add(commands, "sweep", "GRPO at every point of a grid: npo sweep sparse grpo.learning_rate=5e-5,1e-4 'seeds=[11,12]'", _sweep)
    sweep.usage = "npo sweep [experiment] key=value,value ... [options] [-- Snakemake's own options]"
    _add_words(sweep)
    _add_where(sweep)
    sweep.set_defaults(guide_jobs=None)


def _add_where(run: argparse.ArgumentParser) -> None:
    run.add_argument("-n", "--dry-run", action="store_true", help="only say what would be made")
    run.add_argument("--cores", help="processes at a time (default: all cores; with --slurm: as the profile says)")
    where = run.add_mutually_exclusive_group()
    where.add_argument("--slurm", action="store_const", dest="profile", const="slurm", help="on a SLURM cluster: --profile slurm")
    where.add_argument("--profile", help="workstation (default), slurm, or a folder with a config.yaml")
    run.set_defaults(profile="workstation")
    run.add_argument("--device", type=device_name, help="cpu, cuda, or auto: cuda where there is one (default)")


def _add_stage(commands: Commands) -> None:
    stage = _add(commands, "stage", "one stage by itself: npo stage probe --help", _stage)
    stage.add_argument("stage", choices=STAGES)
    stage.add_argument("arguments", nargs=argparse.REMAINDER, help="--config FILE and its own options")


def _add_plan(commands: Commands) -> None:
    plan = _add(commands, "plan", "what an experiment asks for: GPU memory, GPUs, disk, sampled tokens", _plan)
    _add_words(plan)
    from npo_pipeline.planning.options import add_options

    add_options(plan)


def _add_words(command: argparse.ArgumentParser) -> None:
    command.add_argument("words", nargs="*", metavar="experiment key=value", help=WORDS).completer = _complete  # type: ignore[attr-defined]


def _add_store(commands: Commands) -> None:
    command = _add(commands, "verify", "check every file against its manifest, and every checkpoint's weights", _verify)
    command.add_argument("folder", type=Path, help="a run, or an experiment")
    command.add_argument("--files-only", action="store_true", help="do not restore checkpoints")
    command = _add(commands, "mend", "remove the manifests of what is damaged, so that it is made anew", _mend)
    command.add_argument("folder", type=Path, help="an experiment, or a run")
    command = _add(commands, "du", "what each stage occupies", _du)
    command.add_argument("folder", type=Path, help="a run, or an experiment")
    command = _add(commands, "export", "write a checkpoint as an ordinary Hugging Face directory; an adapter is merged", _export)
    command.add_argument("run", type=Path, help="results/NAME/seed-0/probe")
    command.add_argument("step", type=int)
    command.add_argument("out", type=Path)
    command = _add(commands, "export-guides", "write guide trajectories as a dataset with a card, for other trainers", _export_guides)
    command.add_argument("guide", type=Path, help="results/NAME/seed-0/guide, or one step-000040 in it")
    command.add_argument("out", type=Path)
    command.add_argument("--step", type=at_least(0), action="append", default=[], help="only this guide checkpoint (repeatable)")
    command.add_argument("--push", metavar="OWNER/NAME", help="also upload it to the hub, as a private dataset where there is none yet")


def split_words(words: Sequence[str]) -> tuple[str, list[str]]:
    """The experiment, and the overrides. Raises ConfigError."""
    names = [word for word in words if "=" not in word and not word.startswith("~")]
    if len(names) > 1:
        raise ConfigError(f"{names[1]}: found a second word without '='; expected one experiment, then key=value")
    return (names or ["default"])[0], [word for word in words if word not in names]


def _complete(prefix: str, **_: object) -> list[str]:
    from npo_pipeline.cli.completion import complete

    return complete(prefix)


def _run(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.run import run

    run(*split_words(options.words), options)


def _sweep(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.sweep import sweep

    sweep(*split_words(options.words), options)


def _stage(options: argparse.Namespace) -> None:
    os.execv(sys.executable, [sys.executable, "-m", f"npo_pipeline.stages.{options.stage}", *options.arguments])


def _plan(options: argparse.Namespace) -> None:
    from npo_pipeline.planning.__main__ import show

    show(*split_words(options.words), options)


def _report(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.run import report

    report(options.folder)


def _init(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.init import init

    init(options.folder)


def _verify(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.store import verify

    verify(options.folder, options.files_only)


def _mend(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.store import mend

    mend(options.folder)


def _du(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.store import du

    du(options.folder)


def _export(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.store import export

    export(options.run, options.step, options.out)


def _export_guides(options: argparse.Namespace) -> None:
    from npo_pipeline.cli.store import export_guides

    export_guides(options.guide, options.out, options.step, options.push)
