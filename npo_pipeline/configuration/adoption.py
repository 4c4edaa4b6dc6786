"""`probe.adopt`: the checkpoints of a run that was made elsewhere, by step, found by looking at names and no more.

    run/checkpoint-*                     folders whose names tell the step (npo_pipeline.configuration.step_names)
    run/global_step_*                    verl: the merged policy is looked for below, in actor/huggingface
    {100: run/a, 200: run/b}             said one by one
    owner/name, owner/name@step-*        a hub repository with a branch per step
    folder                               the same on disk: folders named after their steps, or a hub cache's (refs/, snapshots/)

A folder is an ordinary Hugging Face directory with safetensors weights, or a peft adapter's. What is in another form is refused with
the command that makes one of it.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from glob import glob
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.checks.require import MOST_STEPS
from npo_pipeline.configuration.policy_folders import ADAPTER, KEY, policy_files, policy_folder
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.configuration.step_names import step_in
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.checkpoints import is_checkpoint
from npo_pipeline.storage.hub import hub_branches

HUB_NAME = r"[\w.-]+/[\w.-]+"
WILD = "*?["
EXPECTED = "run/checkpoint-*, {100: folder, 200: folder}, or a hub repository with a branch per step"

log = logging.getLogger(__name__)
_warn = cache(log.warning)  # a configuration is composed several times


def with_adopted(root: RootConfig) -> RootConfig:
    """`root` with the adopted checkpoints by step, and with their last step as the probe's. Raises ConfigError."""
    if root.probe.adopt is None:
        for key in ("completions", "log"):
            if getattr(root.probe, key) is not None:
                raise ConfigError(
                    f"probe.{key}={getattr(root.probe, key)!r}: of an adopted run, but {KEY} is null; name its checkpoints there"
                )
        return root
    found = adopted_checkpoints(root.probe.adopt)
    if root.policy.source == "pretrained" and root.policy.path:
        _say_other_base(root.policy.path, found)
    return replace(root, probe=replace(root.probe, adopt=found, steps=max(found), checkpoint_every=1, keep_states=None))


def adopted_checkpoints(value: Any) -> dict[int, str]:
    """By step: a folder with a policy in it, or NAME@COMMIT of the hub. Raises ConfigError."""
    if isinstance(value, Mapping):
        named = [(_step_of(key), os.path.expanduser(str(place))) for key, place in value.items()]
    elif isinstance(value, str) and value:
        named = _found(os.path.expanduser(value))
    else:
        raise ConfigError(f"{KEY}={short_repr(value)}: expected {EXPECTED}")
    if not named:
        literal = "; [ begins a pattern: write [[] for one in a folder's name" if "[" in str(value) else ""
        raise ConfigError(f"{KEY}={short_repr(value)}: names no checkpoint; expected {EXPECTED}{literal}")
    found: dict[int, str] = {}
    for step, place in sorted(named):
        if step > MOST_STEPS:  # a date, or a time
            raise ConfigError(f"{KEY}: {place}: step {step}, expected at most {MOST_STEPS}; say it one by one, as in {{100: {place}}}")
        if step in found:
            raise ConfigError(f"{KEY}: {found[step]} and {place} are both of step {step}; name one of them, as in {{{step}: {place}}}")
        found[step] = place if is_hub(place) else str(policy_folder(Path(place)))
    if max(found) < 1:
        raise ConfigError(f"{KEY}={short_repr(value)}: only step 0, expected a checkpoint that was trained")
    return found


def is_hub(place: str) -> bool:
    """Whether an adopted checkpoint's place is NAME@COMMIT."""
    return bool(re.fullmatch(rf"{HUB_NAME}@[0-9a-f]{{40}}", place)) and not Path(place).exists()


def _step_of(key: Any) -> int:
    if isinstance(key, bool) or not re.fullmatch(r"\d{1,9}", str(key)):
        raise ConfigError(f"{KEY}: {short_repr(key)} is no step; expected whole numbers, as in {{100: run/a, 200: run/b}}")
    return int(key)


def _found(text: str) -> list[tuple[int, str]]:
    """(step, place) of what a pattern, a folder or a hub name stands for."""
    name, at, branches = text.partition("@")
    if at and re.fullmatch(HUB_NAME, name) and not Path(name).exists():
        return _branches(name, hub_branches(name, KEY), branches)
    if any(sign in text for sign in WILD):
        return _matches(text)
    folder = Path(text)
    if (folder / "refs").is_dir() and (folder / "snapshots").is_dir():
        commits = {str(ref.relative_to(folder / "refs")): ref.read_text().strip() for ref in (folder / "refs").rglob("*") if ref.is_file()}
        places = {branch: str(folder / "snapshots" / commit) for branch, commit in commits.items()}
        return _numbered(places.items())
    if folder.is_dir():
        return _numbered((found.name, str(found)) for found in folder.iterdir() if found.is_dir())
    if re.fullmatch(HUB_NAME, text):
        return _branches(text, hub_branches(text, KEY), "*")
    raise ConfigError(f"{KEY}={text}: no such folder; expected {EXPECTED}")


def _branches(name: str, commits: Mapping[str, str], pattern: str) -> list[tuple[int, str]]:
    places = [(branch, f"{name}@{commit}") for branch, commit in commits.items() if fnmatchcase(branch, pattern)]
    return _numbered(places, pattern)


def _numbered(places: Iterable[tuple[str, str]], pattern: str = "*") -> list[tuple[int, str]]:
    """(step, place) of those (name, place) that tell a step; others, as a hub's `main`, are none. Raises ConfigError."""
    return [(step, place) for name, place in places if (step := _told(name, place, pattern)) is not None]


def _told(name: str, place: str, pattern: str) -> int | None:
    try:
        return step_in(name, pattern)
    except ValueError as error:
        clear = "rename it so that its step follows the word step, write a pattern whose * stands for the step alone"
        unclear = f"{one_line(name)} does not tell its step: {error}"
        raise ConfigError(f"{KEY}: {place}: {unclear}; {clear}, or name it as in {{100: run/a}}") from None


def _matches(pattern: str) -> list[tuple[int, str]]:
    """Folders; the step is in what the pattern's wild parts stand for."""
    parts = Path(pattern).parts
    wild = next(i for i, part in enumerate(parts) if any(sign in part for sign in WILD))
    base, rest = Path(*parts[:wild]), str(Path(*parts[wild:]))
    folders = [found for found in base.glob(rest) if found.is_dir()]
    return _numbered((("/".join(found.parts[len(base.parts) :]), str(found)) for found in folders), rest)


def _say_other_base(path: str, adopted: Mapping[int, str]) -> None:
    """An adapter names the model that it was trained on, which may lie elsewhere here: only another last part is worth a word.

    This project's name a folder of the results that they are of.
    """
    for place in adopted.values():
        if is_checkpoint(place):
            continue
        try:
            base = str(json.loads((Path(place) / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path") or "")
        except (OSError, ValueError, AttributeError, RecursionError):  # no adapter; a damaged one is refused by its stage
            continue
        if base and Path(base).name != Path(path).name:
            _warn(f"{KEY}: {place} says that it was trained on {one_line(base)}, policy.path is {path}; they have to be the same model")
            return


def adopted_files(adopted: Mapping[int, str]) -> list[Path]:
    """All files on this machine that adopted checkpoints are made of: what the workflow watches."""
    return [file for place in adopted.values() if not is_hub(place) for file in policy_files(Path(place))]


def log_file(log: str | None, adopted: Mapping[int, str]) -> Path | None:
    """The log that is named, else the one that TRL leaves in its last checkpoint; None where there is neither."""
    if log is not None:
        return Path(log).expanduser()
    last = Path(adopted[max(adopted)]) / "trainer_state.json"
    return last if last.is_file() else None


def completion_files(completions: str) -> list[Path]:
    """The Parquet and JSONL files that a file, a folder or a pattern stands for, in their order."""
    named = Path(os.path.expanduser(completions))
    if named.is_dir():
        found = list(named.iterdir())
    elif named.exists():
        found = [named]
    else:
        found = [Path(file) for file in glob(str(named))]
    return sorted(file for file in found if file.suffix in (".parquet", ".jsonl"))
