"""What is in a results folder, from the command line.

    python -m npo_pipeline.storage export results/default/seed-0/probe 40 my-policy    any checkpoint as a Hugging Face directory
    python -m npo_pipeline.storage verify results/default        every manifest, record and checkpoint, or of one run: what is damaged
    python -m npo_pipeline.storage mend results/default          make ready what is damaged to be made anew by snakemake, and only that
    python -m npo_pipeline.storage du results/default            the room that each stage takes

Exit codes: 0, or as a stage's (npo_pipeline.errors): 66 damaged or missing, 74 the disk refused, 78 a wrong argument.
"""

import argparse
import sys
from pathlib import Path

from npo_pipeline.errors import ArtifactError, ConfigError, NpoError
from npo_pipeline.shown import one_line
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.inspection import damages, human, stages_below, unfinished, usage
from npo_pipeline.storage.mending import remove_vouchers


def export(run: Path, step: int, out: Path) -> None:
    """Raises ConfigError if `out` is there already, ArtifactError if the checkpoint is missing or damaged."""
    if out.exists():
        raise ConfigError(f"{out}: exists already, and nothing is overwritten; name a new folder")
    if step not in (records := read_records(run)):
        raise ArtifactError(f"{run}: has no checkpoint {step}; there are {', '.join(map(str, records)) or 'none'}")

    from npo_pipeline.policy.checkpoints import Walk
    from npo_pipeline.policy.device import pick_device
    from npo_pipeline.policy.policy import export_policy

    export_policy(Walk(run, step, pick_device("cpu")).policy, out)
    print(f"{out}: checkpoint {step} of {run}, weights sha256 {records[step].weights_sha256}")


def verify(folder: Path, files_only: bool) -> None:
    """Print what is damaged, one per line. Raises ArtifactError if anything is."""
    for stage in unfinished(folder):
        print(f"{stage}: no manifest, so it is not finished")
    for line in (bad := damages(folder)):
        print(one_line(line))
    runs = [stage for stage in stages_below(folder) if (stage / "checkpoints").is_dir()]
    restored = 0 if bad or files_only else sum(map(restore_all, runs))
    if bad:
        raise ArtifactError(f"{folder}: {len(bad)} files are damaged or missing")
    print(f"{folder}: {len(stages_below(folder))} stages, all files as listed; {restored} checkpoints restored to their sha256")


def restore_all(run: Path) -> int:
    """Restore every checkpoint of a run and hash its weights. Raises ArtifactError for the first that differs."""
    from npo_pipeline.policy.checkpoints import Walk
    from npo_pipeline.policy.device import pick_device

    if not (steps := list(read_records(run))):
        return 0
    walk = Walk(run, steps[0], pick_device("cpu"))
    for step in steps:
        walk.to(step)
        walk.sha256()
    return len(steps)


def mend(folder: Path) -> None:
    """Print what is removed. Raises ArtifactError if there is nothing below `folder`, LockedError while a stage of it is being written."""
    removed = remove_vouchers(folder)
    for path in removed:
        print(f"{path}: removed")
    print(f"{folder}: nothing is damaged" if not removed else f"{folder}: run snakemake again, it makes anew what is missing")


def du(folder: Path) -> None:
    rows = list(usage(folder))
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{row.name:{width}}  {human(row.size):>9}  {row.files:>6} files  {row.note}".rstrip())


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m npo_pipeline.storage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("export", help="write a checkpoint as an ordinary Hugging Face directory; an adapter is merged")
    command.add_argument("run", type=Path)
    command.add_argument("step", type=int)
    command.add_argument("out", type=Path)
    command.set_defaults(call=lambda options: export(options.run, options.step, options.out))
    command = commands.add_parser("verify", help="check every file against its manifest, and every checkpoint's weights")
    command.add_argument("folder", type=Path, help="a run, or an experiment")
    command.add_argument("--files-only", action="store_true", help="do not restore checkpoints")
    command.set_defaults(call=lambda options: verify(options.folder, options.files_only))
    command = commands.add_parser("mend", help="remove the manifests of what is damaged, so that snakemake makes it anew")
    command.add_argument("folder", type=Path, help="an experiment, or a run")
    command.set_defaults(call=lambda options: mend(options.folder))
    command = commands.add_parser("du", help="what each stage occupies")
    command.add_argument("folder", type=Path, help="a run, or an experiment")
    command.set_defaults(call=lambda options: du(options.folder))
    return parser


def main() -> None:
    options = parser().parse_args()
    try:
        options.call(options)
    except NpoError as error:
        print(f"{error.label}: {one_line(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
