"""The workflow on a real SLURM cluster of two nodes (slurm_cluster.py): jobs, nodes and controllers that end before their time.

Prints a table of what was done and what came of it.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from faults import printed
from slurm_cluster import NODES, Cluster, call, missing, running, wait
from workflow_runner import PROJECT, TINY, Workflow

pytestmark = pytest.mark.slow

PROFILE = ["--profile", "workflow/profiles/slurm", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]
STEPS = "probe.steps=40 probe.checkpoint_every=10 guidance.every=20 guidance.lookback=40"
LONG = "probe.steps=100 probe.checkpoint_every=50 guidance.every=50 guidance.lookback=100"
LONGEST = 800  # seconds that a machine with much else to do may take for anything; pytest's own limit is 900
# The probe fills its node, so that what takes the node must take it from the probe; each guide job fills half of one, with a GPU.
NEEDS = ["--set-resources", "probe:mem_mb=7500", "probe:slurm_partition=low", "guide_job:mem_mb=5000", "guide_job:gpu=1"]


STARTED: list[subprocess.Popen[str]] = []


@dataclass
class Table:
    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: str, outcome: str) -> None:
        self.rows.append((what, outcome))

    def __str__(self) -> str:
        return "\n".join(f"| {what} | {outcome} |" for what, outcome in [("what happens", "what comes of it"), ("---", "---"), *self.rows])


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    yield from printed(Table(), request)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reasons := missing():
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(f"no SLURM cluster here: {', '.join(reasons)}")
    yield from running(tmp_path_factory.mktemp("slurm"))
    for process in STARTED:  # after a test that failed: without a cluster they would wait for ever
        process.kill()


@dataclass
class Controller:
    """A running Snakemake in `workflow.folder`; what it says goes to a file, so that a kill loses nothing."""

    workflow: Workflow
    process: subprocess.Popen[str]
    said: Path

    def end(self, code: int | None = 0) -> str:
        """Wait; what it said. The exit code must be `code`, where one is given."""
        found = self.process.wait(timeout=LONGEST)
        text = self.said.read_text()
        assert code is None or found == code, text
        return text

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def start(workflow: Workflow, place: list[str], *arguments: str, overrides: str) -> Controller:
    config = ["--config", f"overrides={TINY} {overrides}", "guide_jobs=2"]
    command = [sys.executable, "-m", "snakemake", "--directory", str(workflow.folder), *place, *arguments, *config]
    said = workflow.folder / f"said-{len(list(workflow.folder.glob('said-*')))}"
    with said.open("w") as stream:
        STARTED.append(subprocess.Popen(command, cwd=PROJECT, stdout=stream, stderr=subprocess.STDOUT, text=True))
    return Controller(workflow, STARTED[-1], said)


def until(controller: Controller, path: str) -> None:
    """There is such a file in the results. The controller must be at work meanwhile."""

    def ready() -> bool:
        assert controller.process.poll() is None, controller.said.read_text()
        return any(controller.workflow.results.glob(path))

    wait(ready, LONGEST, path)


def resumed_at(workflow: Workflow, seed: int) -> int:
    """The step that the probe's last attempt went on from."""
    found = re.search(r"probe: resuming from step (\d+)", (workflow.results / f"logs/seed-{seed}/probe.log").read_text())
    assert found, "it began anew"
    return int(found[1])


@pytest.fixture(scope="module")
def experiments(cluster: Cluster, table: Table, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, Workflow]:
    """One without a cluster and undisturbed; one through the slurm profile, whose slurmctld is killed and whose probe is preempted."""
    calm, disturbed = Workflow(tmp_path_factory.mktemp("calm")), Workflow(tmp_path_factory.mktemp("disturbed"))
    beside = start(calm, ["--cores", "1"], overrides=STEPS)
    controller = start(disturbed, PROFILE, *NEEDS, overrides=STEPS)
    held = freeze(controller, 0)  # a probe this small is over before SLURM has made up its mind
    cluster.kill("slurmctld")
    call("slurmctld")
    probe = cluster.job("probe", "RUNNING")
    assert probe
    taken = next(job["NodeList"] for job in cluster.jobs() if job["JobId"] == probe)
    call("sbatch", "--partition=high", f"--nodelist={taken}", "--mem=7500", "--output=/dev/null", "--wrap", "sleep 3")
    thaw_when_told_to_end(held)
    controller.end()
    beside.end()
    return calm, disturbed


def test_every_stage_gives_the_undisturbed_bytes(experiments: tuple[Workflow, Workflow], table: Table) -> None:
    calm, disturbed = experiments
    assert disturbed.digests() == calm.digests()
    table.add(
        "the embedded default at a tiny size, `--profile workflow/profiles/slurm`",
        f"{len(calm.digests())} files, the same bytes as without a cluster",
    )


def test_a_preempted_probe_goes_on_where_it_was(cluster: Cluster, experiments: tuple[Workflow, Workflow], table: Table) -> None:
    _, disturbed = experiments
    (probe,) = [job for job in cluster.jobs() if job.get("Comment", "").startswith("rule_probe") and job["Partition"] == "low"]
    assert int(probe["Restarts"]) >= 1
    step = resumed_at(disturbed, 0)
    table.add("probe preempted by a job of higher priority, requeued", f"same job id, resumed at step {step} of 40, same bytes")


def test_guides_are_scattered_with_a_gpu_each(cluster: Cluster, experiments: tuple[Workflow, Workflow], table: Table) -> None:
    jobs = {job["JobId"]: job["NodeList"] for job in cluster.jobs() if job.get("Comment", "").startswith("rule_guide_job")}
    assert set(jobs.values()) == set(NODES)
    gpus = {task.gpus for task in cluster.tasks() if task.job in jobs}
    assert gpus <= {"0", "1"}, "one each"
    assert len(gpus) >= 1
    others = {task.gpus for task in cluster.tasks() if task.job not in jobs}
    assert others == {"none"}, "a tiny policy asks for no GPU"
    table.add("`guide_jobs=2`", "one job on each node")
    table.add("`gpu` asked for", f"CUDA_VISIBLE_DEVICES={', '.join(sorted(gpus))} in these jobs, unset in all others")
    table.add("slurmctld killed with -9 while jobs run, started again", "they go on, nothing is submitted twice")


def test_files_grow_with_steps_and_checkpoints_not_with_prompts(experiments: tuple[Workflow, Workflow]) -> None:
    """40 steps of 32 roll-outs, 5 checkpoints, 2 guide checkpoints with up to 32 prompts each."""
    names = list(experiments[0].digests("seed-0"))
    assert sum("/probe/rollouts/" in name for name in names) == 40
    assert sum("/probe/" in name for name in names) <= 40 + 6 * 5 + 10
    assert sum("/guide/step-" in name for name in names) <= 4 * 2


def prepared(experiments: tuple[Workflow, Workflow], folder: Path) -> Workflow:
    """A copy of the undisturbed experiment with nothing but its problems and its initial policy."""
    shutil.copytree(experiments[0].folder, folder)
    workflow = Workflow(folder)
    shutil.rmtree(workflow.results / "seed-0")
    return workflow


def probe_file(seed: int) -> str:
    return f"results/default/seed-{seed}/probe/manifest.json"


def probe_of(cluster: Cluster, seed: int, state: str = "RUNNING") -> str | None:
    return cluster.job(f"probe_wildcards_{seed}", state)


def freeze(controller: Controller, seed: int) -> int:
    """Once it has saved a state, the probe's process stands still as one does whose step takes very long; its id."""
    until(controller, f"seed-{seed}/probe/state/step-*")
    wanted = f"--seed\0{seed}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            is_probe = command.split(b"\0")[2:3] == [b"npo_pipeline.stages.probe"] and wanted in command
            if is_probe and (process / "cwd").samefile(controller.workflow.folder):
                os.kill(int(process.name), signal.SIGSTOP)
                return int(process.name)
    raise AssertionError(f"no probe of seed {seed} runs")


def thaw_when_told_to_end(process: int) -> None:
    """SLURM looks at the clock every 30 s."""

    def told() -> bool:
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            return True
        pending = int(re.findall(r"ShdPnd:\s+(\w+)", status)[0], 16)
        return "State:\tT" not in status or bool(pending >> (signal.SIGTERM - 1) & 1)

    wait(told, 120, "SIGTERM for the probe")
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


def has_resumed(workflow: Workflow, seed: int) -> bool:
    log = workflow.results / f"logs/seed-{seed}/probe.log"
    return log.exists() and "resuming from step" in log.read_text()


def test_walltime_lost_node_and_scancel(cluster: Cluster, experiments: tuple[Workflow, Workflow], table: Table, tmp_path: Path) -> None:
    """Two probes, one on each node: seed 1 comes to the end of its walltime; seed 2 loses its node, and is cancelled afterwards."""
    workflow = prepared(experiments, tmp_path / "faults")
    options = ["--set-resources", "probe:mem_mb=5000", "--retries", "1"]
    controller = start(workflow, PROFILE, probe_file(1), probe_file(2), *options, overrides=f"{LONG} seeds=[1,2]")
    held = {seed: freeze(controller, seed) for seed in (1, 2)}
    first, second = probe_of(cluster, 1), probe_of(cluster, 2)
    call("scontrol", "update", f"JobId={first}", "TimeLimit=1")
    thaw_when_told_to_end(held[1])
    (lost,) = [job["NodeList"] for job in cluster.jobs() if job["JobId"] == second]
    cluster.fail_node(lost)
    wait(lambda: probe_of(cluster, 2) is None, 60, "its job is taken back from the lost node")
    call("slurmd", "-N", lost)
    wait(lambda: has_resumed(workflow, 2), LONGEST, "it runs again")
    assert probe_of(cluster, 2) == second, "requeued by SLURM, not submitted again"
    table.add(
        "a node goes down under a probe", f"SLURM requeues it under the same job id, resumed at step {resumed_at(workflow, 2)} of 100"
    )
    call("scancel", str(second))
    said = controller.end()
    assert f"SLURM-job '{second}' failed, SLURM status is: 'CANCELLED'" in said
    assert f"SLURM-job '{first}' failed" in said
    (before,) = (workflow.folder / ".snakemake/slurm_logs").rglob(f"{first}.log")
    saved = re.search(r"stopped: probe: by SIGTERM before step (\d+); the same command resumes there", before.read_text())
    assert saved
    assert int(saved[1]) == resumed_at(workflow, 1)
    table.add(
        "`scancel` of a running probe",
        f"reported as CANCELLED, submitted again by `--retries`, resumed at step {resumed_at(workflow, 2)} of 100",
    )
    table.add(
        "a probe comes to the end of its walltime",
        f"SIGTERM (with `runtime` over 2 min that early), saved, submitted again by `--retries`, resumed at step {saved[1]} of 100",
    )


def test_what_cannot_heal_is_submitted_once(cluster: Cluster, experiments: tuple[Workflow, Workflow], table: Table, tmp_path: Path) -> None:
    """The profile asks for three more tries; a damaged problem file (exit code 66) is the same after each of them."""
    workflow = prepared(experiments, tmp_path / "hopeless")
    problems = workflow.results / "prepare/problems.parquet"
    problems.write_bytes(problems.read_bytes()[:-1] + b"x")
    said = start(workflow, PROFILE, probe_file(5), overrides=f"{LONG} seeds=[5]").end(code=1)
    assert "problems.parquet: damaged" in said
    assert len(list((workflow.folder / ".snakemake/slurm_logs").rglob("rule_probe/**/*.log"))) == 1, said
    table.add("a stage refuses its input", "submitted once, in spite of `--retries 3`")


def test_a_killed_controller(cluster: Cluster, experiments: tuple[Workflow, Workflow], table: Table, tmp_path: Path) -> None:
    """Its jobs go on. A second controller submits the same job: it refuses to write where the first one's is writing."""
    workflow = prepared(experiments, tmp_path / "killed")
    ask = [probe_file(3), "--retries", "0"]
    overrides = f"{LONG} seeds=[3]"
    first = start(workflow, PROFILE, *ask, overrides=overrides)
    held = freeze(first, 3)
    first.kill()
    orphan = probe_of(cluster, 3)
    said = start(workflow, PROFILE, *ask, overrides=overrides).end(code=1)
    assert re.search(r"logs/seed-3/probe.log: .*/seed-3/probe: process \d+ on .* is writing to it", said), said
    assert probe_of(cluster, 3) == orphan, "still at work"
    os.kill(held, signal.SIGCONT)
    call("scancel", str(orphan))
    wait(lambda: probe_of(cluster, 3) is None, 60, "it has ended")
    start(workflow, PROFILE, *ask, overrides=overrides).end()
    step = resumed_at(workflow, 3)
    table.add(
        "Snakemake killed with -9 and started again",
        "its job goes on; a second job on the same folder refuses, exit 75, and names its holder",
    )
    table.add("then `scancel` of that job, Snakemake again", f"resumed at step {step} of 100")


def test_a_trainer_over_two_nodes(cluster: Cluster, table: Table, tmp_path: Path) -> None:
    """One process on each, started by srun within the job that Snakemake submitted."""
    workflow = Workflow(tmp_path)
    probe = "results/default/seed-0/probe/manifest.json"
    start(workflow, PROFILE, probe, overrides="trainer.nodes=2").end()
    (job,) = [job for job in cluster.jobs() if job.get("Comment", "").startswith("rule_probe") and job["NumNodes"] == "2"]
    assert job["JobState"] == "COMPLETED"
    assert len((workflow.results / "seed-0/probe/metrics.jsonl").read_text().splitlines()) == 4
    table.add("`trainer.nodes=2`", "one job on both nodes, a process on each")
