"""Starting a stage as many processes: what `torchrun` does, by its own library, with exit codes and signals as of one process.

`python -m npo_pipeline.stages.probe --config FILE --nproc 4` is here made four times the same command, each a rank; on several nodes
of a SLURM job `--nodes 2` first starts this on each of them by `srun`. Plain `torchrun --nproc-per-node 4 -m npo_pipeline.stages.probe
--config FILE` does as well, with exit code 1 whatever happened.
"""

import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from npo_pipeline.errors import ConfigError, Interrupted, PeerError

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

GRACE = 1.0  # seconds within which a second signal is the same request (npo_pipeline.grpo.stopping)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
UNUSED = "SIGQUIT"  # the one that torchrun's own handler may have: it takes a second signal for a reason to leave its processes alone
ON_NODE = "NPO_ON_NODE"  # set where srun has started this process on its node
PORTS = range(20000, 40000)  # of the first node, one per SLURM job


def launch(module: str, arguments: Sequence[str], nproc: int, nodes: int, seconds: float) -> int:
    """Run `python -m module arguments` as `nproc` processes on each of `nodes`; the exit code of what came of it.

    A process that is asked to end has `seconds` for it. Raises ConfigError, Interrupted, or PeerError where a process was killed.
    """
    command = ["-m", module, *arguments]
    if nodes > 1 and ON_NODE not in os.environ:
        _start_on_nodes(command, nodes)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    logging.disable(logging.ERROR)  # what torchrun has to say is said below
    os.environ["OMP_NUM_THREADS"] = str(max(1, int(os.environ.get("OMP_NUM_THREADS", "1")) // nproc))
    _listen()
    with tempfile.TemporaryDirectory() as logs:
        try:
            elastic_launch(_config(nproc, nodes, seconds, logs), sys.executable)(*command)
            return 0
        except SignalException as error:
            raise Interrupted(f"all {nproc * nodes} processes, by {error.sigval.name}; the same command resumes") from None
        except ChildFailedError as error:
            return _reason({rank: failure.exitcode for rank, failure in error.failures.items()}, nproc * nodes)


def _reason(codes: dict[int, int], size: int) -> int:
    """The exit code of the process that failed first, not of one that had lost it. Raises PeerError if it was killed.

    SIGTERM is how the first one's end is told to the others: it is the reason only where there is no other.
    """
    own = [code for code in codes.values() if code > 0 and code != PeerError.exit_code]
    killed = [(signal.Signals(-code), rank) for rank, code in codes.items() if code < 0]
    killed.sort(key=lambda found: found[0] == signal.SIGTERM)
    if killed and not (own and killed[0][0] == signal.SIGTERM):
        name, rank = killed[0]
        memory = " (the system does that where memory runs out)" if name == signal.SIGKILL else ""
        raise PeerError(
            f"rank {rank} of {size} was killed by {name.name}{memory}; the other processes were ended. "
            "The same command resumes from the last saved state"
        )
    return next(iter(own), PeerError.exit_code)


def _config(nproc: int, nodes: int, seconds: float, logs: str) -> "LaunchConfig":
    import torch
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    place = _one_node() if nodes == 1 else _several_nodes()
    return LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=nproc,
        max_restarts=0,  # a rerun resumes
        signals_to_handle=UNUSED,
        shutdown_timeout=int(seconds),
        virtual_local_rank=torch.cuda.is_available(),  # each process sees one GPU, its own
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        run_id=os.environ.get("SLURM_JOB_ID", str(os.getpid())),
        **place,
    )


def _one_node() -> dict[str, Any]:
    return {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "local_addr": "127.0.0.1"}


def _several_nodes() -> dict[str, Any]:
    """Node 0 is the one that srun was called on."""
    job, first = int(os.environ["SLURM_JOB_ID"]), os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    endpoint = f"{first}:{PORTS[job % len(PORTS)]}"
    rank = int(os.environ["SLURM_NODEID"])
    return {"rdzv_backend": "static", "rdzv_endpoint": endpoint, "rdzv_configs": {"rank": rank}, "local_addr": socket.gethostname()}


def _start_on_nodes(command: Sequence[str], nodes: int) -> None:
    """Become `srun` of the same command, once per node of this SLURM job."""
    if "SLURM_JOB_ID" not in os.environ:
        raise ConfigError(
            f"--nodes {nodes}: no SLURM job is here that has them. Take the profile workflow/profiles/slurm, or start torchrun on each node"
        )
    os.environ[ON_NODE] = "1"
    each = ["--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--cpu-bind=none"]
    os.execvp("srun", ["srun", *each, sys.executable, *command])


def _listen() -> None:
    """The first signal ends the processes, each in its own way; one much later than that leaves at once, and they with it."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    since: list[float] = []

    def notice(number: int, frame: FrameType | None) -> None:
        if not since or time.monotonic() - since[0] > GRACE:
            since.append(time.monotonic())
            raise SignalException(f"{signal.Signals(number).name}", signal.Signals(number))

    for number in SIGNALS:
        signal.signal(number, notice)
