"""The shape of a model, read from a Hugging Face config.json, and its parameters counted by our own arithmetic. No torch.

Known: decoders of the Llama kind (llama, mistral, qwen2, qwen3) and Qwen3-VL. The counts equal those of the real models (tests).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from npo_pipeline.configuration.settings import PolicyConfig, ScratchConfig, VisionConfig, VisionScratchConfig
from npo_pipeline.errors import ConfigError

PUBLISHED = Path(__file__).with_name("published.yaml")
TEMPORAL, POSITIONS = 2, 32 * 32  # of a Qwen3-VL built from scratch (npo_pipeline.policy.qwen3_vl)
EVERY = "all-linear"  # of policy.lora.target_modules
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_vl")


@dataclass(frozen=True)
class Text:
    """A decoder. `qk_norm`: RMSNorm of queries and keys per head; biases of q, k, v and of the output projection."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    qk_norm: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool

    def linears(self) -> dict[str, tuple[int, int]]:
        """(in, out) of each linear layer of a block, by the last part of its name."""
        h, i, q, kv = self.hidden, self.intermediate, self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = {"q_proj": (h, q), "k_proj": (h, kv), "v_proj": (h, kv), "o_proj": (q, h)}
        return attention | {"gate_proj": (h, i), "up_proj": (h, i), "down_proj": (i, h)}

    def block(self) -> int:
        """Parameters of one block."""
        weights = sum(a * b for a, b in self.linears().values())
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        biases = self.qkv_bias * (q + 2 * kv) + self.o_bias * self.hidden + self.mlp_bias * (2 * self.intermediate + self.hidden)
        return weights + biases + 2 * self.hidden + self.qk_norm * 2 * self.head_dim


@dataclass(frozen=True)
class VisionTower:
    """Qwen3-VL's image encoder; `deepstack` further mergers feed the decoder's first layers."""

    hidden: int
    intermediate: int
    layers: int
    side: int  # pixels along a side of a patch
    frames: int  # of a patch; an image is doubled
    channels: int
    positions: int
    merge: int  # patches along a side of what becomes one token
    out: int
    deepstack: int

    @property
    def patch(self) -> int:
        """Values per patch."""
        return self.channels * self.frames * self.side**2

    def merger(self, norm: int) -> int:
        wide = self.hidden * self.merge**2
        return 2 * norm + wide * wide + wide + wide * self.out + self.out

    def parameters(self) -> int:
        h, i = self.hidden, self.intermediate
        block = 4 * h + (3 * h * h + 3 * h) + (h * h + h) + (h * i + i) + (i * h + h)
        embedding = h * self.patch + h + self.positions * h
        return embedding + self.layers * block + self.merger(h) + self.deepstack * self.merger(h * self.merge**2)

    def linears(self) -> dict[str, tuple[int, int]]:
        """(in, out) of each linear layer of a block, by the last part of its name."""
        h, i = self.hidden, self.intermediate
        return {"qkv": (h, 3 * h), "proj": (h, h), "linear_fc1": (h, i), "linear_fc2": (i, h)}


@dataclass(frozen=True)
class Architecture:
    """A causal LM, with `vision` one that sees. `tied`: the output head is the embedding.

    Example: SmolLM2-135M, tied, with 30 blocks of width 576 and 49,152 tokens, has 134,515,008 `parameters`.
    """

    name: str
    text: Text
    vision: VisionTower | None
    tied: bool

    @property
    def parameters(self) -> int:
        text = self.text
        embeddings = text.vocab * text.hidden * (1 if self.tied else 2)
        return embeddings + text.layers * text.block() + text.hidden + (self.vision.parameters() if self.vision else 0)

    def adapter_parameters(self, rank: int, targets: list[str]) -> int:
        """Of LoRA: rank x (in + out) for each linear layer that is adapted."""
        parts: list[tuple[int, Mapping[str, tuple[int, int]]]] = [(self.text.layers, self.text.linears())]
        if self.vision:
            wide = self.vision.hidden * self.vision.merge**2
            mergers = {"linear_fc1": (wide, wide), "linear_fc2": (wide, self.vision.out)}
            parts += [(self.vision.layers, self.vision.linears()), (1 + self.vision.deepstack, mergers)]
        every = targets == [EVERY]
        return sum(count * rank * (a + b) for count, linears in parts for name, (a, b) in linears.items() if every or name in targets)


def architecture_of(policy: PolicyConfig, model: Path | None = None) -> Architecture:
    """Of a policy's settings; `model` names a config.json, or a folder that holds one, in its place. Raises ConfigError."""
    if model is not None:
        return read_config(model)
    if policy.source == "scratch":
        return from_scratch(policy.scratch, policy.vision)
    path = str(policy.path)
    if (Path(path).expanduser() / "config.json").is_file():
        return read_config(Path(path).expanduser())
    published = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    if path not in published:
        raise ConfigError(f"policy.path={path}: not on this machine, and its shape is none of {', '.join(published)}; give --model FOLDER")
    return parse(published[path], path)


def read_config(path: Path) -> Architecture:
    """Read a config.json. Raises ConfigError."""
    file = path / "config.json" if path.is_dir() else path
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: not readable as a model's config.json ({error})") from None
    return parse(values, str(file))


def parse(values: dict[str, Any], name: str) -> Architecture:
    """The shape that a config.json's values describe. Raises ConfigError for another family, or a key that is missing."""
    family = values.get("model_type")
    if family not in FAMILIES:
        raise ConfigError(f"{name}: model_type={family!r}: expected one of {', '.join(FAMILIES)}, whose parameters can be counted here")
    try:
        if family == "qwen3_vl":
            return Architecture(name, _text(values["text_config"], family), _vision(values["vision_config"]), _tied(values))
        return Architecture(name, _text(values, family), None, _tied(values))
    except KeyError as error:
        raise ConfigError(f"{name}: has no {error.args[0]}, expected it in a config.json of model_type {family}") from None


def _tied(values: dict[str, Any]) -> bool:
    return bool(values.get("tie_word_embeddings", False))


def _text(values: dict[str, Any], family: str) -> Text:
    bias = bool(values.get("attention_bias", False))
    heads = values["num_attention_heads"]
    return Text(
        hidden=values["hidden_size"],
        intermediate=values["intermediate_size"],
        layers=values["num_hidden_layers"],
        heads=heads,
        kv_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or values["hidden_size"] // heads,
        vocab=values["vocab_size"],
        qk_norm=family in ("qwen3", "qwen3_vl"),
        qkv_bias=bias or family == "qwen2",
        o_bias=bias and family != "qwen2",
        mlp_bias=bool(values.get("mlp_bias", False)),
    )


def _vision(values: dict[str, Any]) -> VisionTower:
    return VisionTower(
        hidden=values["hidden_size"],
        intermediate=values["intermediate_size"],
        layers=values["depth"],
        side=values["patch_size"],
        frames=values["temporal_patch_size"],
        channels=values.get("in_channels", 3),
        positions=values["num_position_embeddings"],
        merge=values["spatial_merge_size"],
        out=values["out_hidden_size"],
        deepstack=len(values["deepstack_visual_indexes"]),
    )


def from_scratch(scratch: ScratchConfig, vision: VisionConfig | None = None) -> Architecture:
    """The tiny Qwen3 that npo_pipeline.policy.scratch builds, or the tiny Qwen3-VL of npo_pipeline.policy.qwen3_vl."""
    if vision is None or vision.scratch is None:
        return Architecture("a Qwen3 built from scratch", _scratch_text(scratch), None, tied=True)
    tower = _scratch_tower(vision.scratch, scratch.hidden_size)
    return Architecture("a Qwen3-VL built from scratch", _scratch_text(scratch), tower, tied=True)


def _scratch_text(scratch: ScratchConfig) -> Text:
    return Text(
        hidden=scratch.hidden_size,
        intermediate=scratch.intermediate_size,
        layers=scratch.layers,
        heads=scratch.heads,
        kv_heads=scratch.key_value_heads,
        head_dim=scratch.head_dim,
        vocab=scratch.vocab_size,
        qk_norm=True,
        qkv_bias=False,
        o_bias=False,
        mlp_bias=False,
    )


def _scratch_tower(sizes: VisionScratchConfig, out: int) -> VisionTower:
    return VisionTower(
        hidden=sizes.hidden_size,
        intermediate=sizes.intermediate_size,
        layers=sizes.layers,
        side=sizes.patch_size,
        frames=TEMPORAL,
        channels=3,
        positions=POSITIONS,
        merge=sizes.merge_size,
        out=out,
        deepstack=1,
    )
