"""What an adopted checkpoint consists of, and where it lies on this machine. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.adoption import KEY, is_hub, policy_files, policy_folder
from npo_pipeline.errors import DataError
from npo_pipeline.storage.hub import hub_snapshot

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Source:
    """A checkpoint to be adopted, as it lies on this machine."""

    step: int
    folder: Path

    @property
    def is_adapter(self) -> bool:
        return (self.folder / ADAPTER).is_file()

    @property
    def files(self) -> list[Path]:
        return policy_files(self.folder)

    def __str__(self) -> str:
        return f"{KEY}: step {self.step}, {self.folder}"


def sources(adopted: Mapping[int, str]) -> list[Source]:
    """By step; those of the hub are downloaded into its cache. Raises ConfigError."""
    return [Source(step, _local(place)) for step, place in sorted(adopted.items())]


def _local(place: str) -> Path:
    if not is_hub(place):
        return policy_folder(Path(place))
    name, _, commit = place.partition("@")
    return policy_folder(hub_snapshot(name, commit, KEY))


def read_json(path: Path) -> dict[str, Any]:
    """Raises DataError where it is no JSON object; {} where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"{type(found).__name__}, expected an object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); put a whole one there") from None
    return found


def shapes(source: Source) -> dict[str, tuple[int, ...]]:
    """Of each weight, by name, from the headers of its safetensors files. Raises DataError for a damaged one."""
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(source.folder.glob("*.safetensors")):
        try:
            with open(file, "rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(min(length, 1 << 28)))
            found |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{source}: {file.name} is no safetensors file ({error}); save the checkpoint again, or leave it out") from None
    return found
