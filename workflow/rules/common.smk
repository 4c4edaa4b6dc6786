# What the rules share: the composed configuration, the options of the command line, the folders.
# Parsed again in every job on a cluster, so nothing heavy is imported here.
import re
import shlex
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

from npo_pipeline.configuration.compose import later_rounds, load_compared, load_root, several_starts, stage_configs, to_yaml
from npo_pipeline.configuration.timeline import fitted_windows
from npo_pipeline.errors import ConfigError
from npo_pipeline.cli.failures import failures
from npo_pipeline.cli.words import decode
from npo_pipeline.grpo.reporting import check_sinks
from npo_pipeline.planning.engine import choose_engine
from npo_pipeline.planning.resources import DEVICES, LIGHT, WARNING, stage_device, stage_resources, wants_gpu
from npo_pipeline.rollout.installed import check_installed
from npo_pipeline.storage.layout import AVERAGED, POLICY_AVERAGED, averaged, prepare_name
from npo_pipeline.tasks.rows.files import resolve_path
from npo_pipeline.tasks.rows.local import dataset_files, files_in
from snakemake.exceptions import WorkflowError

OPTIONS = {"experiment": "default", "called": "", "overrides": "", "words": "", "guide_jobs": 1, "device": "auto"}
BACKSLASH = (
    r"Snakemake drops quotes and reads YAML: write a space within a value as '\ ', as in overrides='report.title=My\ title'; or use npo run"
)


def option(key):
    """The value of `--config key=...`: a text, or for guide_jobs a number. Raises ConfigError."""
    value = OPTIONS[key] if config.get(key) is None else config[key]
    if not isinstance(value, type(OPTIONS[key])):
        raise ConfigError(f"--config {key}={value!r}: expected " + ("a whole number" if key == "guide_jobs" else f"a text. {BACKSLASH}"))
    return value


def experiment():
    """Its name: that of `npo run`, where Snakemake would not read it as text, else as it is given."""
    return decode(option("called"))[0] if option("called") else option("experiment")


def override_words():
    """The overrides: those of `npo run`, else the text, split as a shell would.

    Refused: quotes at either end, which Snakemake drops here or on the way to a cluster's jobs, and what it reads as a comment of YAML.
    """
    if option("words"):
        return decode(option("words"))
    text = option("overrides")
    if " #" in text or any(f"overrides={text} #" in str(given) for given in workflow.config_settings.config_args or []):
        raise ConfigError(f"--config overrides={text!r}: what follows ' #' is a comment to Snakemake. {BACKSLASH}")
    if not workflow.is_main_process:
        text = text.replace(r"\\", "\\")  # Snakemake doubles them on the way to a cluster's jobs
    try:
        words = shlex.split(text)
    except ValueError:
        words = None
    if words is None or text != text.strip("'\""):
        raise ConfigError(f"--config overrides={text!r}: a quote is missing, or at an end. {BACKSLASH}")
    return words


SAID = set()


def say(lines):
    """Each once, and not again in every job."""
    for line in lines:
        if workflow.is_main_process and line not in SAID:
            SAID.add(line)
            print(line, file=sys.stderr)


def compose():
    """The configuration that --config asked for. Raises ConfigError naming the option or key that is wrong."""
    if unknown := sorted(set(config) - set(OPTIONS)):
        raise ConfigError(
            f"--config {unknown[0]}=...: no such option; there are {', '.join(OPTIONS)}. Values go into overrides=\"key=value ...\""
        )
    if option("guide_jobs") < 1:
        raise ConfigError(f"--config guide_jobs={option('guide_jobs')}: expected at least 1")
    if option("device") not in DEVICES:
        raise ConfigError(f"--config device={option('device')}: expected one of {', '.join(DEVICES)}")
    composed = load_root(experiment(), override_words())
    root, chosen = choose_engine(composed, option("device"), Path("results") / composed.name)
    if workflow.is_main_process:  # once, not in every job: it may import a task's library
        from npo_pipeline.tasks.checks import check_benchmarks, check_source

        check_source(root.task)
        check_benchmarks(root.evaluate.benchmarks)
        if not workflow.output_settings.dryrun:  # a plan needs no engine
            check_installed(root.engine)
            check_sinks(root.report_to)
        if chosen:
            say([chosen])
    return root, stage_configs(root)


def compose_compared():
    """What the target `comparison` adds, if its methods fit this experiment; else nothing, and why."""
    try:
        compared = replace(load_compared(experiment(), override_words(), ROOT), engine=ROOT.engine)
        return compared.method, stage_configs(compared), fitted_windows(compared), None
    except ConfigError as error:
        return {}, {}, [], error


try:
    ROOT, STAGES = compose()
except ConfigError as error:
    raise WorkflowError(str(error)) from None

say(fitted_windows(ROOT))
COMPARED, COMPARED_STAGES, COMPARED_FITTED, COMPARISON_ERROR = compose_compared()
STAGES = COMPARED_STAGES | STAGES
METHODS = list(ROOT.method)
RUNS = [*METHODS, *later_rounds(ROOT)]  # "npo", "round-2/npo"
KNOWN = COMPARED | ROOT.method  # the methods, those of the comparison too
GUIDED_SEEDS = ROOT.seeds if any("guides" in method.needs for method in ROOT.method.values()) else []
PYTHON = sys.executable
DEVICE = stage_device(ROOT, option("device"))
LIGHT_NEEDS = asdict(LIGHT)
EXIT = ".exit"  # behind a log's name: the exit code of its stage
# `stage LOG NAME OPTION...` runs a stage, on the terminal and in its log. SLURM and a terminal send a signal to every process of a job:
# shell and tee outlive it, so that the stage can save its state and say so.
shell.prefix(
    'set -euo pipefail; trap : TERM USR1; stage() {{ local log=$1 name=$2 code=0; shift 2; rm -f "$log"%(exit)s; '
    '%(python)s -m npo_pipeline.stages.$name "$@" 2>&1 | bash -c \'trap "" INT TERM USR1; exec tee "$0"\' "$log" || code=$?; '
    'echo $code > "$log"%(exit)s || true; return $code; }}; ' % {"exit": EXIT, "python": shlex.quote(PYTHON)}
)
# Over which processes a run trains, for the scheduler too; on several nodes the stage calls srun itself.
RANKS = {"nproc": ROOT.trainer.nproc, "nodes": ROOT.trainer.nodes}
if ROOT.trainer.nodes > 1:
    RANKS |= {"mpi": "srun", "tasks": ROOT.trainer.nodes, "tasks_per_gpu": 0}
RECOMPUTE = " --recompute-activations" if ROOT.trainer.recompute_activations else ""
RECOMPUTE += f" --report-to {' '.join(ROOT.report_to)}" if ROOT.report_to else ""
RESULTS = f"results/{ROOT.name}"


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


wildcard_constraints:
    round=r"(round-\d+/)?",
    start=r"\d+",
    seed=r"\d+",
    job=r"\d+",
    jobs=r"\d+",
    stage="|".join(map(re.escape, STAGES)),
    method="|".join(map(re.escape, KNOWN)),
    run="|".join(map(re.escape, ["probe", *KNOWN, *RUNS])),
    policy="|".join(map(re.escape, ["initial", "probe", *KNOWN, *RUNS])),


@cache
def planned():
    """What each computing stage asks for, of the methods that `comparison` adds too."""
    return stage_resources(replace(ROOT, method=KNOWN), DEVICE, option("guide_jobs"))


def take_turns():
    """Jobs on this machine hold its GPU one at a time, unless --resources gpu=N or a profile says otherwise; a scheduler's jobs do not."""
    if wants_gpu(ROOT, option("device")) and workflow.local_exec and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", 1)


def device_of(stage):
    """Of a stage that takes the GPU only where it asks for one."""
    return lambda wildcards: DEVICE if DEVICE == "auto" or planned()[stage].gpu else "cpu"


def needs(stage):
    """Resources of a rule: those of a computing stage, by its name or, if it is a run of a method, by the rule's wildcards. `--set-resources` wins."""

    def one(key):
        return lambda wildcards: asdict(planned()[stage or f"{wildcards.round}{wildcards.method}"])[key]

    return {key: one(key) for key in asdict(LIGHT)}


def as_inputs(files):
    """Their names, each once. Raises WorkflowError for one that Snakemake would take for a pattern."""
    names = sorted({str(file) for file in files})
    if wrong := next((name for name in names if "{" in name), None):
        raise WorkflowError(f"{wrong!r}: Snakemake reads a brace in a file's name as a wildcard; rename the file or its folder")
    return names


def artifacts(wildcards):
    """Every declared file of the experiment, so that whichever is deleted is made again."""
    settle()
    return [
        f"{RESULTS}/report.html",
        *sorted({prepared_for(seed) for seed in ROOT.seeds}),
        *benchmark_manifest(wildcards),
        *expand(f"{RESULTS}/seed-{{seed}}/probe/manifest.json", seed=ROOT.seeds),
        *expand(f"{RESULTS}/seed-{{seed}}/guide/{{file}}", seed=GUIDED_SEEDS, file=["manifest.json", "signal.parquet"]),
        *expand(f"{RESULTS}/seed-{{seed}}/{{run}}/schedule.yaml", seed=ROOT.seeds, run=filter(is_scheduled, RUNS)),
        *expand(f"{RESULTS}/seed-{{seed}}/{{run}}/manifest.json", seed=ROOT.seeds, run=RUNS),
        *expand(f"{RESULTS}/seed-{{seed}}/{{run}}/{POLICY_AVERAGED}/manifest.json", seed=ROOT.seeds, run=averaged_of(["probe", *RUNS])),
        *evaluations(wildcards),
    ]


def is_scheduled(run):
    """Whether the run of this method, in whichever round, follows a schedule."""
    return KNOWN[run.split("/")[-1]].scheduled


def prepared(wildcards):
    """The manifest of the problems and the initial policy of a training seed."""
    return prepared_for(int(wildcards.seed))


def prepared_for(seed):
    return f"{RESULTS}/{prepare_name(seed % (several_starts(ROOT) or 1))}/manifest.json"


def probe_manifest(wildcards):
    """Of the run whose checkpoints guide this round: the probe's, or a guided run's of the round before."""
    return f"{RESULTS}/seed-{wildcards.seed}/{STAGES[wildcards.round + 'guide']['probe_run']}/manifest.json"


def averaged_of(runs):
    """Those of which an averaged policy is made."""
    return runs if "average" in STAGES else []


def evaluations(wildcards):
    """The held-out results of every policy and seed: what the report compares."""
    return evaluations_of(ROOT.seeds, RUNS)


def evaluations_of(seeds, methods):
    runs = ["probe", *methods]
    policies = ["initial", *runs, *map(averaged, averaged_of(runs))]
    return expand(f"{RESULTS}/seed-{{seed}}/evaluation/{{policy}}.json", seed=seeds, policy=policies)
