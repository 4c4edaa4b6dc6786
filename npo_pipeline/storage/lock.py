"""One writer at a time: a second pipeline on the same folder says so and leaves.

The lock is the system's own (flock) on a file below the folder: it ends with the process that holds it, however that ends. Some
network file systems have no locks (Lustre mounted without `flock`): there the run goes on unguarded, and says so.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from npo_pipeline.errors import LockedError

NAME = ".lock"
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}

log = logging.getLogger(__name__)


@contextmanager
def only_writer(folder: Path, name: str = NAME) -> Iterator[None]:
    """Hold `folder`, or what of it goes by `name`, for this process. Raises LockedError if another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise LockedError(
                f"{folder}: process {holder} is writing to it. Wait until it has finished, or stop it, then run the same command again."
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            log.warning("%s: its file system has no locks (%s); start no second run on this folder", folder, error.strerror)
        stream.truncate(0)
        with suppress(OSError):  # a full disk: the lock holds without a name, and what is written next says it better
            os.write(stream.fileno(), f"{os.getpid()} on {os.uname().nodename}\n".encode())
        try:
            yield
        finally:
            stream.truncate(0)
