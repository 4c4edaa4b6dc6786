"""`probe.adopt`: the checkpoints of a run that was made elsewhere, by step, found by looking at names and no more.

    run/checkpoint-*                     folders whose names hold the step (TRL, the transformers Trainer)
    run/global_step_*                    verl: the merged policy is looked for below, in actor/huggingface
    {100: run/a, 200: run/b}             said one by one
    owner/name, owner/name@step-*        a hub repository with a branch per step
    folder                               the same on disk: folders named after their steps, or a hub cache's (refs/, snapshots/)

A folder is an ordinary Hugging Face directory with safetensors weights, or a peft adapter's. What is in another form is refused with
the command that makes one of it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import short_repr
from npo_pipeline.storage.checkpoints import is_checkpoint, read_record
from npo_pipeline.storage.hub import hub_branches

KEY = "probe.adopt"
HUB_NAME = r"[\w.-]+/[\w.-]+"
WILD = "*?["
BELOW = ("", "actor/huggingface", "actor/lora_adapter", "huggingface", "lora_adapter")  # where a policy lies, verl's places included
EXPECTED = "run/checkpoint-*, {100: folder, 200: folder}, or a hub repository with a branch per step"


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
        raise ConfigError(f"{KEY}={short_repr(value)}: names no checkpoint; expected {EXPECTED}")
    found: dict[int, str] = {}
    for step, place in sorted(named):
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
    return _numbered((branch, f"{name}@{commit}") for branch, commit in commits.items() if fnmatchcase(branch, pattern))


def _numbered(places: Iterable[tuple[str, str]]) -> list[tuple[int, str]]:
    """Those whose names end in a step; others, as a hub's `main`, are none."""
    return [(int(numbers[-1]), place) for name, place in places if (numbers := re.findall(r"\d+", name))]


def _matches(pattern: str) -> list[tuple[int, str]]:
    """Folders; the step is the last number in what the pattern's first wild part stands for."""
    parts = Path(pattern).parts
    wild = next(i for i, part in enumerate(parts) if any(sign in part for sign in WILD))
    base, rest = Path(*parts[:wild]), str(Path(*parts[wild:]))
    folders = [found for found in base.glob(rest) if found.is_dir()]
    return _numbered((found.parts[len(base.parts)], str(found)) for found in folders)


def policy_folder(folder: Path) -> Path:
    """Where in a checkpoint's folder the policy lies. Raises ConfigError for a form that cannot be read, with what makes another of it."""
    if not folder.is_dir():
        raise ConfigError(f"{KEY}: {folder}: no such folder")
    found = next((folder / below for below in BELOW if is_policy(folder / below)), None)
    if found is not None and is_checkpoint(found) and not read_record(found).full:
        found = None
    if found is None:
        raise ConfigError(f"{KEY}: {folder}: {_what_it_is(folder)}")
    return found


def is_policy(folder: Path) -> bool:
    """Whether it looks like an ordinary Hugging Face directory with safetensors weights, or a peft adapter's."""
    if (folder / "adapter_config.json").is_file():
        return (folder / "adapter_model.safetensors").is_file()
    return (folder / "config.json").is_file() and bool(list(folder.glob("*.safetensors")))


def _what_it_is(folder: Path) -> str:
    """What was found in place of a policy, and the command that makes one."""
    for place in (folder, folder / "actor"):
        if list(place.glob("model_world_size_*_rank_*.pt")):
            merge = f"python -m verl.model_merger merge --backend fsdp --local_dir {place} --target_dir {place}/huggingface"
            return f"verl's shards, which are not merged yet; {merge}"
        if (place / "dist_ckpt").is_dir():
            merge = f"python -m verl.model_merger merge --backend megatron --local_dir {place} --target_dir {place}/huggingface"
            return f"verl's Megatron shards, which are not merged yet; {merge}"
        if (place / "pytorch_model_fsdp_0").is_dir():
            return f"FSDP shards, which are not merged yet; accelerate merge-weights {place}/pytorch_model_fsdp_0 {place}"
        if (place / "zero_to_fp32.py").is_file():
            return f"DeepSpeed's shards, which are not merged yet; python {place}/zero_to_fp32.py --safe_serialization {place} {place}"
    if is_checkpoint(folder):
        step, run = int(folder.name.removeprefix("step-")), folder.parent.parent
        return f"a delta between checkpoints, no whole policy; npo export {run} {step} OUT writes one"
    if list(folder.glob("*.bin")) or list(folder.glob("*.pt")):
        turn = f"from transformers import AutoModelForCausalLM as M; M.from_pretrained('{folder}').save_pretrained('{folder}')"
        return f'pickled weights, expected safetensors; python -c "{turn}"'
    return "no policy in it, expected config.json beside *.safetensors, or adapter_config.json beside adapter_model.safetensors"


def policy_files(folder: Path) -> list[Path]:
    """The files that make a policy: weights, settings, tokenizer; of what else a trainer left beside them none."""
    kinds = (".safetensors", ".json", ".jinja", ".model", ".txt")
    left_out = ("trainer_state.json", "checkpoint.json", "manifest.json")
    return sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in kinds and file.name not in left_out)


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
