"""Metrics where people look beside metrics.jsonl: TensorBoard, Weights & Biases, trackio, as `report_to` says.

What is written there is no result: nothing reads it, no stage's configuration names it, and a sink that fails is told once and left
out, as a run is worth more than its curves.
"""

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line

PROJECT = "npo"  # at Weights & Biases and trackio
TENSORBOARD = "tensorboard"  # a folder of the run's

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where the numbers of a step go, under the names that metrics.jsonl has for them."""

    def write(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class Tensorboard:
    """Event files below the run's folder. Each step is on disk before a state of it is, so that a resume finds every step before it."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here, as everything else: the Snakefile imports this module

        from npo_pipeline.storage.run_files import METRICS, read_jsonl

        place = folder / TENSORBOARD
        late = start > 0 and not any(place.glob("events.*"))  # asked for in the middle of a run
        self._writer = SummaryWriter(str(place), purge_step=start or None)
        for row in read_jsonl(folder / METRICS)[:start] if late else []:
            self.write(row["step"], scalars(row))

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Tracker:
    """wandb or trackio, which share their calls. A resumed run goes on under the identity that its folder keeps."""

    def __init__(self, package: str, folder: Path, start: int) -> None:
        place = folder / package
        place.mkdir(parents=True, exist_ok=True)
        identity = place / "run-id"
        if start == 0 or not identity.is_file():
            identity.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
        known = identity.read_text(encoding="utf-8").strip()
        name = "/".join([*folder.absolute().parts[-3:], known[:4]])
        self._run = _wandb_run(name, known, folder) if package == "wandb" else _trackio_run(name)

    def write(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


def _wandb_run(name: str, known: str, folder: Path) -> Any:
    import wandb  # type: ignore[import-not-found,unused-ignore]

    return wandb.init(project=PROJECT, name=name, id=known, resume="allow", dir=str(folder))


def _trackio_run(name: str) -> Any:
    import trackio  # type: ignore[import-not-found,unused-ignore]

    return trackio.init(project=PROJECT, name=name, resume="allow")


SINKS: dict[str, Callable[[Path, int], Sink]] = {
    "tensorboard": Tensorboard,
    "wandb": lambda folder, start: Tracker("wandb", folder, start),
    "trackio": lambda folder, start: Tracker("trackio", folder, start),
}


def check_sinks(names: Sequence[str]) -> None:
    """Raises ConfigError for a sink whose package is not there. Imports none of them."""
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder that happens to have this name, as wandb leaves one, has no origin
            raise ConfigError(f"report_to: the package {name} is not installed here; pip install {name}, or take {name} out of report_to")


def scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """What of a step's metrics is a number: lists of problems and what is unknown are left out."""
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float) and key != "step"}
    return {key: float(value) for key, value in numbers.items()}


class Reporter:
    """All sinks of a run that goes on from `start`. Never raises."""

    def __init__(self, names: Sequence[str], folder: Path, start: int) -> None:
        self._sinks: dict[str, Sink] = {}
        for name in names:
            self._safely(name, lambda name=name: self._sinks.update({name: SINKS[name](folder, start)}))  # type: ignore[misc]

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        for name, sink in list(self._sinks.items()):
            self._safely(name, lambda sink=sink: sink.write(step, scalars(metrics)))  # type: ignore[misc]

    def close(self) -> None:
        for name, sink in list(self._sinks.items()):
            self._safely(name, sink.close)

    def _safely(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # the network, the disk, a version of the package: whatever it raises, the run goes on
            self._sinks.pop(name, None)
            said = one_line(f"{type(error).__name__}: {error}")
            log.warning("report_to=%s: given up for this run (%s); metrics.jsonl has every step", name, said)


@contextmanager
def reporting(names: Sequence[str], folder: Path, start: int) -> Iterator[Reporter]:
    reporter = Reporter(names, folder, start)
    try:
        yield reporter
    finally:
        reporter.close()
