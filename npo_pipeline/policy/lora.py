"""LoRA (Hu et al. 2021) through peft: low-rank adapters beside frozen linear layers, for policies that do not fit whole.

The model stays the transformers model it was, with peft's layers inside. An adapter is kept as an ordinary peft directory
(adapter_config.json, adapter_model.safetensors): `PeftModel.from_pretrained(base, folder)` reads it. Its configuration names the
base relative to the folder, so that results may be moved. Adapter weights are float32 whatever the base's dtype.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.errors import ArtifactError, ConfigError
from npo_pipeline.shown import one_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NAME = "default"  # peft's name of the only adapter
PREFIX = "base_model.model."  # what a PeftModel's weights are called by, and so the names in a peft directory
EVERY = "all-linear"
RUN_AGAIN = "Run the stage that wrote it again."


def add_lora(model: PreTrainedModel, settings: LoraConfig, base: str | Path, seed: int) -> None:
    """Freeze `model` and give it adapters that change nothing yet (B = 0). A is a pure function of `seed`. Raises ConfigError."""
    import peft

    targets = EVERY if settings.target_modules == [EVERY] else _known(model, settings.target_modules)
    config = peft.LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets, task_type="CAUSAL_LM")
    config.base_model_name_or_path = str(base)
    _inject(model, config, seed)


def _known(model: PreTrainedModel, wanted: list[str]) -> list[str]:
    """`wanted`, if each is the last part of a linear layer's name. The output head is none: it may be tied to the embedding."""
    head = model.get_output_embeddings()
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head}
    if unknown := [name for name in wanted if name not in linear]:
        raise ConfigError(
            f"policy.lora.target_modules: no linear layer of this model is called {unknown[0]!r}; "
            f"take from {', '.join(sorted(linear))}, or [{EVERY}]"
        )
    return wanted


def _inject(model: PreTrainedModel, config: object, seed: int = 0) -> None:
    from peft import inject_adapter_in_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    model.eval()


def has_lora(model: nn.Module) -> bool:
    return hasattr(model, "peft_config")


def is_adapter(folder: str | Path) -> bool:
    return (Path(folder) / CONFIG).is_file()


def base_of(folder: Path) -> str:
    """The directory or hub name of the model that an adapter belongs to. Raises ArtifactError."""
    try:
        name = str(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{folder / CONFIG}: names no base model ({error}). Run the stage that wrote it again.") from None
    base = (folder / name).resolve()
    if base == folder.resolve():
        raise ArtifactError(f"{folder / CONFIG}: names itself as its base model; expected the model that it was trained on; mend it there")
    return str(base) if base.is_dir() else name


def load_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Give a plain model the adapter in `folder`, ready to be trained on. Raises ArtifactError."""
    import peft

    try:
        config = peft.LoraConfig.from_pretrained(folder)
    except (OSError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / CONFIG}: not a LoRA adapter's ({error}). Run the stage that wrote it again.") from None
    config.inference_mode, config.base_model_name_or_path = False, base_of(folder)
    _inject(model, config)
    load_adapter_weights(model, folder)


@torch.no_grad()
def load_adapter_weights(model: PreTrainedModel, folder: Path, shown: str | None = None, fix: str = RUN_AGAIN) -> None:
    """Put another adapter's weights into the one that `model` has, in place. Raises ArtifactError if they do not fit or are damaged.

    `shown` and `fix` as in npo_pipeline.policy.policy.load_weights.
    """
    own, shown = adapter_weights(model), shown or str(folder)
    try:
        found = load_file(folder / WEIGHTS)
        if different := sorted(own.keys() ^ found.keys()):
            raise ArtifactError(f"{shown}: its adapter is for other layers (first difference: {different[0]}). {fix}")
        for name, tensor in own.items():
            if tensor.shape != found[name].shape:
                raise ArtifactError(f"{shown}: its adapter is of another rank ({name}: {list(found[name].shape)}). {fix}")
            tensor.copy_(found[name])
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{shown}: its adapter could not be read ({one_line(str(error))}). {fix}") from error


def save_adapter(model: PreTrainedModel, partial: Path, folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the adapter, with these weights, to `partial`, which will be renamed to `folder`."""
    values = model.peft_config[NAME].to_dict() | {"inference_mode": True}
    base = values["base_model_name_or_path"]
    if Path(base).is_dir():
        values["base_model_name_or_path"] = os.path.relpath(Path(base).resolve(), folder.resolve())
    # peft keeps some lists as sets, whose order differs between processes: equal runs write equal bytes.
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}
    (partial / CONFIG).write_text(json.dumps(plain, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, partial / WEIGHTS, {"format": "pt"})


def adapter_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The adapter's tensors themselves, by the names they have in a peft directory."""
    from peft import get_peft_model_state_dict

    return {PREFIX + name: tensor for name, tensor in get_peft_model_state_dict(model).items()}


@torch.no_grad()
def merged_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) pairs of the plain model that acts as base and adapter do: W + (alpha / rank) B A, in the base's dtype."""
    from peft.tuners.lora import LoraLayer

    deltas = {f"{name}.base_layer.weight": layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    for name, tensor in model.state_dict().items():
        if layer := deltas.get(name):
            yield name.replace(".base_layer.", "."), (tensor.float() + layer.get_delta_weight(NAME)).to(tensor.dtype)
        elif ".lora_A." not in name and ".lora_B." not in name:
            yield name.replace(".base_layer.", "."), tensor


@contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """The base alone for a while; of a model without an adapter nothing changes."""
    layers: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")] if has_lora(model) else []
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
