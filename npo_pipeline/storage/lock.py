"""One writer at a time: a second pipeline on the same folder says so and leaves.

The lock is the system's own (flock) on a file below the folder: it ends with the process that holds it, however that ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from npo_pipeline.errors import LockedError

NAME = ".lock"


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
        stream.truncate(0)
        with suppress(OSError):  # a full disk: the lock holds without a name, and what is written next says it better
            os.write(stream.fileno(), f"{os.getpid()} on {os.uname().nodename}\n".encode())
        try:
            yield
        finally:
            stream.truncate(0)
