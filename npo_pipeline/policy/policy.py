"""A policy: model, tokenizer, and what both agree on (end of sequence, padding); of a vision-language model also how it reads images.

Directories are ordinary Hugging Face ones: `AutoModelForCausalLM.from_pretrained` (`AutoModelForImageTextToText` with
`AutoProcessor`) reads every policy and checkpoint we write.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from npo_pipeline.errors import ArtifactError, ConfigError, DataError, NpoError
from npo_pipeline.policy.lora import (
    RUN_AGAIN,
    adapter_weights,
    base_of,
    has_lora,
    is_adapter,
    load_adapter,
    load_adapter_weights,
    merged_weights,
    save_adapter,
)
from npo_pipeline.policy.qwen3_vl import Qwen3Vision
from npo_pipeline.policy.vision import Vision, forbidden_ids
from npo_pipeline.records import Image, Trajectory
from npo_pipeline.shown import one_line
from npo_pipeline.storage.atomic import new_folder
from npo_pipeline.storage.checkpoints import fix, is_checkpoint

WEIGHTS = "model.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FOREIGN = re.compile(r"lora_|\.base_layer\.|qweight|qzeros|(weight|input)_scale|weight_packed")  # an adapter's weights, quantised ones
FAMILIES = {"qwen3_vl": Qwen3Vision}  # by the model_type of config.json: the vision-language models that are read with their images


@dataclass
class Policy:
    """A language model as a policy. `stop_ids` end a response; `pad_id` fills batches and is never attended to.

    `vision` says how it reads images; None: it reads text alone. `frozen_hashes` is npo_pipeline.policy.identity's.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    stop_ids: tuple[int, ...]
    pad_id: int
    vision: Vision | None = None
    frozen_hashes: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def effective_weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        """(name, tensor) pairs that make a plain model act as this policy does: what an engine of its own is given.

        Without LoRA the model's own tensors, a tied head beside its embedding; with LoRA merged ones, made anew in each call.
        """
        return merged_weights(self.model) if has_lora(self.model) else self.model.state_dict().items()

    @property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Tokens that a response never holds: they stand for pixels (npo_pipeline.policy.vision.forbid)."""
        return forbidden_ids(self.model.config)

    def prompt(self, ids: Sequence[int], images: Sequence[Image] = ()) -> Sequence[int]:
        """A stored prompt as a forward reads it. Raises ConfigError if it has images that this policy cannot read."""
        if not images:
            return ids
        if self.vision is None:
            raise ConfigError(
                "policy.path: this policy reads text alone, but problems of the task have images; "
                "take a vision-language model, for example policy=qwen3_vl"
            )
        return self.vision.expand(ids, images)

    def response(self, text: str) -> tuple[int, ...]:
        """The tokens of a response that somebody else wrote, with its end. Raises DataError if one of them stands for pixels."""
        ids = tuple(self.tokenizer.encode(text, add_special_tokens=False))
        if found := sorted(set(ids) & set(self.forbidden_ids)):
            token = self.tokenizer.convert_ids_to_tokens(found[0])
            raise DataError(f"a response to imitate holds {token}, expected text without image placeholders: {text[:80]!r}; mend the row")
        end = self.tokenizer.eos_token_id  # of several stop tokens the one that ends an answer: of a chat model its end of turn
        return (*ids, self.stop_ids[0] if end is None else end)

    def rows(self, trajectories: Sequence[Trajectory]) -> list[tuple[Sequence[int], Sequence[int]]]:
        """Prompt and response of each trajectory, as npo_pipeline.policy.logprobs takes them."""
        return [(self.prompt(t.prompt_token_ids, t.images), t.response_token_ids) for t in trajectories]


def as_policy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vision: Vision | None = None) -> Policy:
    """Wrap a model. Its own sampling defaults (temperature, penalties) are dropped: sampling is the configuration's matter.

    Raises ConfigError if neither the model nor the tokenizer names an end of sequence that the model can sample.
    """
    stop_ids = _stop_ids(model, tokenizer)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop_ids[0]
    model.generation_config = GenerationConfig(eos_token_id=stop_ids, pad_token_id=pad_id)
    model.eval()  # no dropout: the ratio of a policy to itself must be 1
    return Policy(model, tokenizer, tuple(stop_ids), pad_id, vision)


def _stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """All that either of them names. An id beyond the embedding is never sampled, so it is none."""
    known = model.generation_config.eos_token_id if model.generation_config else None
    found = [*(known if isinstance(known, (list, tuple)) else [known]), tokenizer.eos_token_id]
    named = [token for token in found if token is not None]
    if odd := [token for token in named if type(token) is not int or token < 0]:
        raise ConfigError(f"policy.path: found the eos_token_id {odd[0]!r}, expected a token's number; mend its generation_config.json")
    rows = embedding_rows(model)
    stop_ids = sorted({token for token in named if token < rows})
    if named and not stop_ids:
        raise ConfigError(
            f"policy.path: found the eos_token_id {named[0]}, expected one below {rows}, the rows of the model's embedding; no response "
            "would ever end; mend its generation_config.json or its tokenizer, or resize the model (resize_token_embeddings)"
        )
    if not stop_ids:
        raise ConfigError("policy.path: the model names no end-of-sequence token; set eos_token_id in its generation_config.json")
    return stop_ids


def embedding_rows(model: PreTrainedModel) -> int:
    """As many tokens as the model can read; a tokenizer may know more, or fewer."""
    return int(model.get_input_embeddings().weight.shape[0])


def load_policy(source: str | Path, dtype: str, device: str = "cpu", revision: str | None = None, key: str | None = None) -> Policy:
    """Load a model directory or hub name, or an adapter's directory with its base.

    Raises ConfigError if it is no language model with safetensors weights and the setting `key` named it, ArtifactError if a stage wrote
    it (no `key`), and for an adapter that does not fit.
    """
    source = os.path.expanduser(source)
    if is_adapter(source):
        policy = load_policy(base_of(Path(source)), dtype, device, key=key)
        load_adapter(policy.model, Path(source))
        return policy
    try:
        model, tokenizer, vision = _load_parts(source, dtype, revision)
    except NpoError:
        raise
    except Exception as error:  # of a config.json, a tokenizer or a quantised model that it cannot read transformers raises anything
        reason = _reason(error)
        unfit = f"{source}: could not be loaded as a causal LM with safetensors weights and a tokenizer: {reason}"
        if key is not None:
            raise ConfigError(f"{key}={unfit}") from error
        raise ArtifactError(f"{unfit}. {fix(Path(source)) if is_checkpoint(source) else 'Run the stage that wrote it again.'}") from error
    return as_policy(model.to(device), tokenizer, vision)


def _reason(error: Exception) -> str:
    """The first line of what it says, and the second where the first only announces it; whose error it is where it says nothing."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines and lines[0].rstrip().endswith(":") else 1])
    kind = type(error).__name__
    return one_line(said if isinstance(error, (OSError, ValueError, RuntimeError)) and said else f"{kind}: {said}" if said else kind)


def _load_parts(source: str, dtype: str, revision: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Vision | None]:
    """Raises ValueError for what transformers lets pass: weights that are not all there, and a tokenizer that knows no token."""
    where = {"revision": revision, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(source, **where)
    for key in ("is_local", "local_files_only"):  # hang on HF_HUB_OFFLINE, and would be saved with the tokenizer
        tokenizer.init_kwargs.pop(key, None)
    config = AutoConfig.from_pretrained(source, **where)
    family = FAMILIES.get(config.model_type)
    vision = family.load(source, revision, config, tokenizer) if family else None
    model_class = AutoModelForImageTextToText if family else AutoModelForCausalLM
    model, report = model_class.from_pretrained(source, **where, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"its weights lack {missing[0]}, expected all that its config.json asks for; export the model again")
    if lost := sorted(name for name in report["unexpected_keys"] if FOREIGN.search(name)):
        raise ValueError(
            f"its weights hold {lost[0]}, which would be left out; merge the adapter, or export the model without quantisation"
        )
    if getattr(model, "is_quantized", False):
        raise ValueError("its weights are quantised, which cannot be trained; take the model that it was made from")
    if len(tokenizer) < 2:
        raise ValueError("its tokenizer has no vocabulary, expected tokenizer.json beside the weights; save it there")
    return model, tokenizer, vision


def non_finite(policy: Policy) -> str | None:
    """The name of the first weight that holds NaN or infinity."""
    return next((name for name, tensor in policy.model.named_parameters() if not tensor.isfinite().all()), None)


def save_policy(policy: Policy, folder: Path) -> None:
    """Write a checkpoint, atomically: an ordinary Hugging Face directory, or with LoRA a peft one. Raises StorageError."""
    with new_folder(folder) as partial:
        write_policy(policy, partial, folder, own_weights(policy))


def write_policy(policy: Policy, partial: Path, folder: Path, weights: Mapping[str, Tensor]) -> None:
    """The same into `partial`, which will be renamed to `folder`, with these weights, named as by `own_weights`."""
    if has_lora(policy.model):
        return save_adapter(policy.model, partial, folder, weights)
    _write_whole(policy, partial, weights)


def export_policy(policy: Policy, folder: Path) -> None:
    """Write an ordinary Hugging Face directory, atomically; an adapter is merged into its base. Raises StorageError."""
    with new_folder(folder) as partial:
        _write_whole(policy, partial, dict(policy.effective_weights()))


def _write_whole(policy: Policy, partial: Path, weights: Mapping[str, Tensor]) -> None:
    policy.model.save_pretrained(partial, state_dict=dict(weights))
    policy.tokenizer.save_pretrained(partial)
    if policy.vision:
        policy.vision.save(partial)


def own_weights(policy: Policy) -> dict[str, Tensor]:
    """What a checkpoint holds: the tensors themselves, each memory once (a tied head is its embedding), with LoRA the adapter's."""
    if has_lora(policy.model):
        return adapter_weights(policy.model)
    tied = tied_names(policy)
    found: dict[tuple[int, torch.Size], tuple[str, Tensor]] = {}
    for name, tensor in sorted(policy.model.state_dict().items(), key=lambda item: (item[0] in tied, item[0])):
        found.setdefault((tensor.data_ptr(), tensor.shape), (name, tensor))
    return dict(found.values())


def tied_names(policy: Policy) -> set[str]:
    """The names of weights that are another weight's memory, and that no file need hold."""
    return set(policy.model.all_tied_weights_keys) if policy.model.config.tie_word_embeddings else set()


def load_weights(policy: Policy, folder: Path, shown: str | None = None, fix: str = RUN_AGAIN) -> None:
    """Put another checkpoint's weights into the loaded model, in place. Raises ArtifactError if they do not fit or are damaged.

    `shown` and `fix` are what it calls the folder and says to do where no stage wrote these weights.
    """
    shown = shown or str(folder)
    if has_lora(policy.model):
        return load_adapter_weights(policy.model, folder, shown, fix)
    try:
        weights = {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}
        missing, unexpected = policy.model.load_state_dict(weights, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ArtifactError(f"{shown}: its weights could not be read ({one_line(str(error))}). {fix}") from error
    if unexpected or (absent := [name for name in missing if name not in tied_names(policy)]):
        raise ArtifactError(f"{shown}: its weights are of another model (first difference: {(unexpected or absent)[0]}). {fix}")
