"""What lies in an adopted checkpoint's folder: a policy and its files, or another form, which is refused with the command that turns it."""

import json
from pathlib import Path

from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line
from npo_pipeline.storage.checkpoints import is_checkpoint, read_record

KEY = "probe.adopt"
BELOW = ("", "actor/huggingface", "actor/lora_adapter", "huggingface", "lora_adapter")  # where a policy lies, verl's places included
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# What a trainer resumes with.
RESUMED = ("optimizer*.pt", "optimizer*.bin", "training_args.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth")


def policy_folder(folder: Path) -> Path:
    """Where in a checkpoint's folder the policy lies. Raises ConfigError for a form that cannot be read, with what makes another of it."""
    if not folder.is_dir():
        raise ConfigError(f"{KEY}: {folder}: no such folder")
    found = next((folder / below for below in BELOW if is_policy(folder / below)), None)
    if found is not None and is_checkpoint(found) and not read_record(found).full:
        found = None
    if found is None:
        raise ConfigError(f"{KEY}: {folder}: {_what_it_is(folder)}")
    if absent := [file.name for file in weight_files(found) if not file.is_file()]:
        fix = "copy it there, save the checkpoint again, or leave it out"
        raise ConfigError(f"{KEY}: {found}: {one_line(absent[0])} is missing, which {INDEX} names; {fix}")
    return found


def is_policy(folder: Path) -> bool:
    """Whether it looks like an ordinary Hugging Face directory with safetensors weights, or a peft adapter's."""
    return ((folder / ADAPTER).is_file() or (folder / "config.json").is_file()) and bool(weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a policy's weights, and those that its index names without their being there; of an optimizer's none."""
    if (folder / ADAPTER).is_file():
        return [file for file in [folder / ADAPTER_WEIGHTS] if file.is_file()]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return [folder / name for name in _indexed(folder / INDEX)]
    return sorted(folder.glob("model*.safetensors"))


def _indexed(index: Path) -> list[str]:
    try:
        names = {Path(name).name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ConfigError(f"{KEY}: {index}: no index of shards ({reason}); save the checkpoint again, or leave it out") from None
    return sorted(names)


def policy_files(folder: Path) -> list[Path]:
    """The files that make a policy: weights, settings, tokenizer; of what else a trainer left beside them none."""
    kinds = (".json", ".jinja", ".model", ".txt")
    left_out = ("trainer_state.json", "checkpoint.json", "manifest.json")
    others = [file for file in folder.iterdir() if file.is_file() and file.suffix in kinds and file.name not in left_out]
    return sorted([*others, *weight_files(folder)])


def _what_it_is(folder: Path) -> str:
    """What was found in place of a policy, and the command that makes one."""
    if is_checkpoint(folder):
        step, run = int(folder.name.removeprefix("step-")), folder.parent.parent
        return f"a delta between checkpoints, no whole policy; npo export {run} {step} OUT writes one"
    shards = next((found for place in (folder, folder / "actor") if (found := _shards(place))), None)
    nothing = f"no policy in it, expected config.json beside *.safetensors, or {ADAPTER} beside {ADAPTER_WEIGHTS}"
    return shards or _other_weights(folder) or nothing


def _shards(place: Path) -> str | None:
    """Of whose trainer, and the command that merges them; None where there are none."""
    merge = f"python -m verl.model_merger merge --backend {{}} --local_dir {place} --target_dir {place}/huggingface"
    if any(place.glob("model_world_size_*_rank_*.pt")):
        return f"verl's shards, which are not merged yet; {merge.format('fsdp')}"
    if (place / "dist_ckpt").is_dir():
        return f"verl's Megatron shards, which are not merged yet; {merge.format('megatron')}"
    if (place / "pytorch_model_fsdp_0").is_dir():
        return f"FSDP shards, which are not merged yet; accelerate merge-weights {place}/pytorch_model_fsdp_0 {place}"
    if (place / "zero_to_fp32.py").is_file():
        return f"DeepSpeed's shards, which are not merged yet; python {place}/zero_to_fp32.py --safe_serialization {place} {place}"
    if any(place.glob("*mp_rank_*_states.pt")):
        above = place.parent  # where DeepSpeed puts its script, for all steps
        command = f"python {above}/zero_to_fp32.py {above} OUT --tag {place.name} --safe_serialization"
        return f"DeepSpeed's shards, which are not merged yet; {command}; put the model's config.json into OUT, and adopt that"
    return None


def _other_weights(folder: Path) -> str | None:
    """Pickled ones, or what a trainer goes on with in place of weights; None where there is neither."""
    resumed = {file for pattern in RESUMED for file in folder.glob(pattern)}
    if any(file not in resumed for suffix in ("bin", "pt", "pth") for file in folder.glob(f"*.{suffix}")):
        turn = f"from transformers import AutoModelForCausalLM as M; M.from_pretrained('{folder}').save_pretrained('{folder}')"
        return f'pickled weights, expected safetensors; python -c "{turn}"'
    if resumed:
        names = ", ".join(sorted(file.name for file in resumed))
        return f"no weights in it, only what its trainer resumes with ({names}); save the model there again, or leave the step out"
    return None
