# Which outputs are current: decided once, before Snakemake looks at anything, from what the results hold (npo_pipeline.storage.inputs).
from contextlib import ExitStack

from npo_pipeline.errors import LockedError, StorageError
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.storage.inputs import mend_times, read_record, recorded_outputs, why_stale, write_record
from npo_pipeline.storage.lock import only_writer
from snakemake.settings.types import RerunTrigger

HELD = ExitStack()  # the lock on the results, until this process ends


def configured(stage):
    """The input `config` of a rule: the configuration of its stage, named by the rule's wildcards."""

    def file(wildcards):
        settle()
        return f"{RESULTS}/config/{stage.format(**dict(wildcards.items()))}.yaml"

    return file


@cache
def settle():
    """Bring results and Snakemake's mind together; the names of the stages whose configuration is not the one that is there."""
    if not workflow.is_main_process:
        return frozenset()
    take_turns()
    works = workflow.execution_settings is not None and not workflow.dryrun and not workflow.touch
    if works:
        take_over()
    # What changed is decided below and by modification times. A run that was killed is gone on with, without being asked.
    if workflow.dag_settings.rerun_triggers == RerunTrigger.all():
        workflow.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME, RerunTrigger.INPUT})
    workflow.dag_settings.force_incomplete = True
    texts = {f"config/{stage}.yaml": to_yaml(values) for stage, values in STAGES.items()}
    judge_outputs(texts)
    return renew_configs(texts, works)


def take_over():
    """Keep every other run off these results. What a run that was killed has left of its locks goes: nobody holds ours."""
    try:
        HELD.enter_context(only_writer(Path(RESULTS)))
    except LockedError as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(
            f"\n{RESULTS}: no folder to write results to ({error.strerror}); expected one that can be made and written to", file=sys.stderr
        )
        sys.exit(StorageError.exit_code)
    for lock in Path(".snakemake/locks").glob("*.lock"):
        if any(line.startswith(f"{RESULTS}/") for line in lock.read_text().splitlines()):
            lock.unlink()
    for code in Path(f"{RESULTS}/logs").rglob(f"*{EXIT}"):
        code.unlink()


def judge_outputs(texts):
    """Say of each output why it is made again; what is as it was made stays, whatever its modification time."""
    root = Path(RESULTS)
    records = {output: read_record(root, output) for output in recorded_outputs(root)}
    reasons = {output: why_stale(root, record, texts) for output, record in records.items() if record}
    mend_times(root, {output: records[output] for output, reason in reasons.items() if not reason})
    stale = {output: reason for output, reason in reasons.items() if reason}
    workflow.dag.forcefiles.update(map(str, stale))
    for output, reason in stale.items():
        if is_asked_for(output.relative_to(root).parts):
            print(f"{output}: is made again, and what follows from it: {reason}", file=sys.stderr)


def is_asked_for(parts):
    """Whether an output is of a seed and a run of this experiment, so far as its name tells."""
    seeds, names = {f"seed-{seed}" for seed in ROOT.seeds}, {"probe", "guide", "evaluation", *METHODS}
    return not parts[0].startswith("seed-") or (parts[0] in seeds and (parts[1] in names or parts[1].startswith("round-")))


def renew_configs(texts, works):
    """A configuration that is not what was composed is replaced before anything reads it."""
    files = {name: Path(RESULTS) / name for name in texts}
    changed = [name for name, file in files.items() if file.is_file() and file.read_text() != texts[name]]
    if works:
        for name in changed:
            write_text(files[name], texts[name])
    return frozenset(name.removeprefix("config/").removesuffix(".yaml") for name in changed)


def record_outputs():
    """When a run ends: what each output that is there, and current, was made from; unless that was edited since."""
    for job in workflow.dag.jobs:
        made = workflow.dag.finished(job)
        if job.rule.name not in ("all", "config") and (made or not workflow.dag.needrun(job)):
            for output in filter(Path.is_file, map(Path, job.output)):
                record_output(output, [Path(file) for file in job.input], made)


def record_output(output, inputs, made):
    """`made`: by this run; what an earlier one has recorded stands."""
    edited = any(file.is_file() and file.stat().st_mtime > output.stat().st_mtime for file in inputs)
    if not edited and (made or read_record(Path(RESULTS), output) is None):
        write_record(Path(RESULTS), output, inputs)
