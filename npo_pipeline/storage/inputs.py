"""What each output of the workflow was made from, by content: so that results which were copied, moved or renamed are judged by what
they hold, not by modification times and by records that stayed behind.

`results/<experiment>/inputs/<output>.json` says what the output was when this was written, and the digest of each file that it was made
from. A record of another content of the output says nothing (the output was made again since, by hand or by a run that was killed).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from npo_pipeline.shown import short_repr
from npo_pipeline.storage.atomic import write_text

FOLDER = "inputs"
WHOLE = 1 << 24  # bytes: of a larger file (a policy's weights, a dataset) both ends and the size are looked at
ONE_OF = ("config/probe.yaml", "config/adopt.yaml")  # both make the probe
SHOWN = 3  # changed keys of a configuration

Digest = Callable[[Path], str]


@dataclass(frozen=True)
class Record:
    """`output` is a digest; `inputs` maps names to digests; `configs` are the configurations among them, whole, to say what changed.

    What lies below the experiment's folder is named relative to it, anything else as Snakemake names it.
    """

    output: str
    inputs: Mapping[str, str]
    configs: Mapping[str, str]


def digest(path: Path) -> str:
    size, found = path.stat().st_size, hashlib.sha256()
    with open(path, "rb") as stream:
        found.update(f"{size} ".encode() + stream.read(WHOLE))
        if size > WHOLE:
            stream.seek(max(WHOLE, size - WHOLE))
            found.update(stream.read())
    return found.hexdigest()


def write_record(root: Path, output: Path, inputs: Iterable[Path]) -> None:
    """Of an output that was just made, or that is known to be current. Raises StorageError."""
    named = {name_of(root, file): file for file in inputs if file.is_file()}
    texts = {name: file.read_text(encoding="utf-8") for name, file in named.items() if is_config(name)}
    record = Record(digest(output), {name: digest(file) for name, file in named.items()}, texts)
    write_text(place(root, output), json.dumps(asdict(record), indent=1) + "\n")


def read_record(root: Path, output: Path) -> Record | None:
    """None where there is none, it cannot be read, or it is of another content of the output."""
    try:
        values = json.loads(place(root, output).read_text(encoding="utf-8"))
        record = Record(values["output"], dict(values["inputs"]), dict(values["configs"]))
        return record if record.output == digest(output) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def recorded_outputs(root: Path) -> list[Path]:
    """Those that exist, of all that have a record."""
    found = (root / file.relative_to(root / FOLDER).with_suffix("") for file in sorted((root / FOLDER).rglob("*.json")))
    return [output for output in found if output.is_file()]


def place(root: Path, output: Path) -> Path:
    return root / FOLDER / f"{name_of(root, output)}.json"


def name_of(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def path_of(root: Path, name: str) -> Path:
    """Of an input that a record names."""
    below = root / name
    return below if below.exists() or not Path(name).exists() else Path(name)


def is_config(name: str) -> bool:
    return name.startswith("config/") and name.endswith(".yaml")


def why_stale(root: Path, record: Record, configs: Mapping[str, str]) -> str:
    """What the output was made from that is otherwise now; "" if it is as it was. `configs`: the text of each configuration as composed.

    A missing input is no reason here: it will be made again, and decides then.
    """
    for name, known in record.inputs.items():
        if name in configs:
            if record.configs.get(name) != configs[name]:
                return f"{name} says otherwise: {changed_keys(record.configs.get(name, ''), configs[name])}"
        elif name in ONE_OF and any(other in configs for other in ONE_OF):
            return f"it was made as {name} says, and is made by another stage now"
        elif (file := path_of(root, name)).is_file() and known_digest(file, file.stat().st_mtime_ns) != known:
            return f"{name} has another content than it was made from"
    return ""


@cache
def known_digest(path: Path, mtime_ns: int) -> str:
    """Of a file that several outputs were made from: read once."""
    return digest(path)


def changed_keys(before: str, after: str) -> str:
    """Example: grpo.learning_rate 0.0002 -> 0.001, probe.steps 120 -> 60."""
    old, new = flat(yaml.safe_load(before)), flat(yaml.safe_load(after))
    changes = [f"{key} {shown(old, key)} -> {shown(new, key)}" for key in dict.fromkeys([*new, *old]) if shown(old, key) != shown(new, key)]
    return ", ".join(changes[:SHOWN]) + (f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else "")


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping with dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {key: leaf for name, part in value.items() for key, leaf in flat(part, f"{prefix}.{name}".lstrip(".")).items()}


def shown(values: Mapping[str, Any], key: str) -> str:
    return short_repr(values[key]) if key in values else "unset"


def mend_times(root: Path, current: Mapping[Path, Record]) -> None:
    """Make no current output older than what it was made from: Snakemake takes it for outdated else. What may not be touched stays.

    A job's benchmark counts among its outputs there; of those of outputs that are not current nothing hangs on it.
    """
    changed = True
    while changed:
        changed = sum(rejuvenate(output, made_from(root, record)) for output, record in current.items()) > 0
    newest = max((output.stat().st_mtime_ns for output in current), default=0)
    for file in (root / "benchmarks").rglob("*.tsv"):
        rejuvenate(file, newest)


def made_from(root: Path, record: Record) -> int:
    """The newest modification time among the inputs, in ns."""
    return max((path_of(root, name).stat().st_mtime_ns for name in record.inputs if path_of(root, name).exists()), default=0)


def rejuvenate(file: Path, time_ns: int) -> bool:
    """Whether it was older and could be touched."""
    if file.stat().st_mtime_ns >= time_ns:
        return False
    with suppress(OSError):
        os.utime(file, ns=(time_ns, time_ns))
        return True
    return False
