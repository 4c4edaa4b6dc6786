"""What an adopted checkpoint consists of, and where it lies on this machine. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.adoption import is_hub
from npo_pipeline.configuration.policy_folders import ADAPTER, KEY, policy_files, policy_folder, weight_files
from npo_pipeline.errors import DataError
from npo_pipeline.shown import one_line
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
AGAIN = "save the checkpoint again, or leave it out"


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
    """Of each weight, by name, from the headers of its safetensors files. Raises DataError for one that is damaged or cut off."""
    found: dict[str, tuple[int, ...]] = {}
    for file in weight_files(source.folder):
        try:
            found |= _header(file)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            reason = one_line(str(error))
            raise DataError(f"{source}: {file.name} is no safetensors file ({reason}); {AGAIN}") from None
    if wrapped := next((name for name in found if "_orig_mod." in name), None):
        raise DataError(
            f"{source}: its weights are named as torch.compile wraps them ({one_line(wrapped)}), expected the model's own names; "
            "save model._orig_mod there in place of model, or leave it out"
        )
    return found


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    """Raises one of the kinds above, ValueError for a file that ends before its last tensor does."""
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        entries = json.loads(stream.read(min(length, 1 << 28)))
    entries.pop("__metadata__", None)
    told = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if (size := file.stat().st_size) < told:
        raise ValueError(f"cut off: {size} bytes, expected {told}")
    return {name: tuple(entry["shape"]) for name, entry in entries.items()}
