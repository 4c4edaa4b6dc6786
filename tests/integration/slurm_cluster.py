"""A real SLURM cluster on this machine: munged, slurmctld and two slurmd with fake GPUs, up in about a second. Debian 12, as root.

    apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge

Its configuration has to be /etc/slurm/slurm.conf: Snakemake's job step strips SLURM_CONF. One that was not written here is not touched.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "# Written by npo_pipeline's tests, and removed by them.\n"
CONF, GRES = Path("/etc/slurm/slurm.conf"), Path("/etc/slurm/gres.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")
NODES = ("n1", "n2")
FIRST_PORT = 17001
GPUS = 2  # of each node

# `low` is preempted by `high`, which takes its jobs back to the queue. A node counts as down five seconds after it was last heard of.
SLURM_CONF = """\
ClusterName=npo
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=10
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/task_prolog
MpiDefault=none
ReturnToService=2
SlurmdTimeout=5
KillWait=20
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MinJobAge=3600
JobRequeue=1
JobFileAppend=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17001-17002] CPUs=4 RealMemory=8000 Gres=gpu:{gpus}
PartitionName=main Nodes=n[1-2] Default=YES PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes=n[1-2] PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=n[1-2] PriorityTier=9 PreemptMode=OFF
"""
GRES_CONF = "AutoDetect=off\nNodeName=n[1-2] Name=gpu File={folder}/gpu[0-{last}]\n"
# Of every task: its job, its node, and the GPUs that a program in it sees.
TASK_PROLOG = '#!/bin/sh\necho "$SLURM_JOB_ID $SLURMD_NODENAME ${{CUDA_VISIBLE_DEVICES:-none}}" >> {folder}/tasks\n'


def missing() -> list[str]:
    """What keeps a cluster from being started here; empty where one can be."""
    programs = [f"{name} is not installed" for name in PROGRAMS if not shutil.which(name)]
    root = [] if os.geteuid() == 0 else ["only root can start it"]
    return programs + root + taken()


def taken() -> list[str]:
    """Whose the configuration is, if it is not ours, or if another run of the tests has a cluster up."""
    if not CONF.exists():
        return []
    text = CONF.read_text()
    if not text.startswith(MARK):
        return [f"{CONF} is somebody else's"]
    folder = Path(text.split("StateSaveLocation=")[1].split("/state\n")[0])
    return [f"another run of the tests has its cluster up, in {folder}"] if Cluster(folder).runs("slurmctld") else []


@dataclass(frozen=True)
class Task:
    """A job step as its node saw it: `gpus` is CUDA_VISIBLE_DEVICES, or "none"."""

    job: str
    node: str
    gpus: str


@dataclass
class Cluster:
    """Daemons by the names of their pid files in `folder`: munged, slurmctld, n1, n2."""

    folder: Path

    def start(self) -> None:
        """Write the configuration, start the daemons, wait until both nodes are idle. RuntimeError with the reason if they are not."""
        if reasons := missing():
            raise RuntimeError(", ".join(reasons))
        self._configure()
        key, socket = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = [f"--{kind}-file={self.folder}/munged.{kind}" for kind in ("pid", "log", "seed")]
        call("munged", "--force", f"--key-file={key}", f"--socket={socket}", *files)
        call("slurmctld")
        for node in NODES:
            call("slurmd", "-N", node)
        wait(lambda: call("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(len(NODES)), 30, "both nodes idle")

    def _configure(self) -> None:
        values = {"folder": self.folder, "gpus": GPUS, "last": GPUS - 1}
        (self.folder / "state").mkdir()
        prolog = self.folder / "task_prolog"
        prolog.write_text(TASK_PROLOG.format(**values))
        prolog.chmod(0o755)
        for number in range(GPUS):
            os.mknod(self.folder / f"gpu{number}", 0o666 | 0o020000, os.makedev(1, 3))  # /dev/null by another name
        CONF.write_text(MARK + SLURM_CONF.format(**values))
        GRES.write_text(MARK + GRES_CONF.format(**values))

    def stop(self) -> None:
        """End every job, every daemon and what they started, and remove the configuration."""
        with suppress(subprocess.SubprocessError):
            call("scancel", "--signal=KILL", "--user=root")
        for daemon in ("slurmctld", *NODES, "munged"):
            self.kill(daemon, signal.SIGTERM)
        for node in NODES:
            self._kill_tasks(node)
        for file in (CONF, GRES):
            if file.exists() and str(self.folder) in file.read_text():  # and not another run's
                file.unlink()

    def pid(self, daemon: str) -> int:
        return int((self.folder / f"{daemon}.pid").read_text())

    def runs(self, daemon: str) -> bool:
        try:
            return Path(f"/proc/{self.pid(daemon)}/stat").exists()
        except (OSError, ValueError):
            return False

    def kill(self, daemon: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a daemon and wait for its end; nothing where it does not run."""
        with suppress(OSError, ValueError):
            os.kill(self.pid(daemon), number)
            wait(lambda: not self.runs(daemon), 20, f"{daemon} ended")

    def fail_node(self, node: str) -> None:
        """As a power cut: its daemons are gone, before they could tell of anything, and everything that runs on it."""
        self.kill(node)
        self._kill_tasks(node)

    def _kill_tasks(self, node: str) -> None:
        """The step daemons of a node, which have its log open, then the tasks below them."""
        log = str(self.folder / f"{node}.log")
        kill_where(lambda process: any(os.readlink(file) == log for file in (process / "fd").iterdir()))
        kill_where(lambda process: f"SLURMD_NODENAME={node}".encode() in (process / "environ").read_bytes().split(b"\0"))

    def tasks(self) -> list[Task]:
        """Every task that has begun, in order."""
        file = self.folder / "tasks"
        return [Task(*line.split()) for line in file.read_text().splitlines()] if file.exists() else []

    def jobs(self) -> list[dict[str, str]]:
        """Every job so far, with the fields of `scontrol show job`."""
        text = call("scontrol", "-o", "show", "job")
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in text.splitlines() if "JobId=" in line]

    def job(self, rule: str, state: str) -> str | None:
        """The id of a job of this rule (its comment, as Snakemake writes it) in this state."""
        found = [job["JobId"] for job in self.jobs() if job.get("Comment", "").startswith(f"rule_{rule}") and job["JobState"] == state]
        return found[-1] if found else None


def kill_where(condition: Callable[[Path], bool]) -> None:
    """Kill each process whose folder below /proc is such."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if condition(process):
                os.kill(int(process.name), signal.SIGKILL)


def call(*command: str) -> str:
    """Run it; its output. Raises CalledProcessError."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def wait(ready: Callable[[], bool], seconds: float, what: str) -> None:
    """Until `ready`. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def running(folder: Path) -> Iterator[Cluster]:
    """The body of a fixture: a cluster that is gone afterwards, whatever happens."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
