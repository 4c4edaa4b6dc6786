"""Value checks of a policy, and of the model directory that it names. Nothing heavy is imported."""

import json
from pathlib import Path

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import check_seed, one_of, require
from npo_pipeline.storage.checkpoints import is_checkpoint

BYTES, MOST = 258, 2**20  # tokens of a byte-level tokenizer that has merged nothing; more than a tiny policy needs of anything
TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "*.tiktoken", "tekken.json")


def check_policy(policy: s.PolicyConfig) -> None:
    one_of("policy.source", policy.source, ("scratch", "pretrained", "gguf"))
    one_of("policy.dtype", policy.dtype, ("float32", "bfloat16"))
    check_seed("policy.seed", policy.seed)
    if policy.teacher:
        check_seed("policy.teacher.seed", policy.teacher.seed)
    if policy.source == "scratch":
        check_scratch(policy.scratch)
    check_cold_start(policy.cold_start, "policy.cold_start")
    if policy.teacher:
        check_cold_start(policy.teacher.cold_start, "policy.teacher.cold_start")
    if policy.vision:
        check_vision(policy.vision, policy.source)
    if policy.source != "scratch":
        require(bool(policy.path), "policy.path", policy.path, "a model directory or hub name, for example policy.path=./my-model")
    if policy.lora:
        check_lora(policy.lora, "policy.lora")
    check_cold_starts(policy)
    if policy.source == "pretrained" and policy.path and (policy.path.startswith((".", "/", "~")) or Path(policy.path).exists()):
        check_model_directory(Path(policy.path).expanduser())


def check_scratch(scratch: s.ScratchConfig) -> None:
    key = "policy.scratch"
    for name in ("hidden_size", "intermediate_size", "layers", "heads", "key_value_heads", "head_dim", "max_positions"):
        require(1 <= getattr(scratch, name) <= MOST, f"{key}.{name}", getattr(scratch, name), f"from 1 to {MOST}")
    shared = scratch.heads % scratch.key_value_heads == 0
    require(shared, f"{key}.heads", scratch.heads, f"a multiple of {key}.key_value_heads={scratch.key_value_heads}")
    require(scratch.head_dim % 2 == 0, f"{key}.head_dim", scratch.head_dim, "an even number: rotary positions turn pairs")
    require(
        BYTES <= scratch.vocab_size <= MOST, f"{key}.vocab_size", scratch.vocab_size, f"from {BYTES}, all bytes and two ends, to {MOST}"
    )


def check_cold_start(settings: s.ColdStartConfig, key: str) -> None:
    require(settings.steps >= 0, f"{key}.steps", settings.steps, "0 or more; 0: no cold start")
    for name in ("examples", "batch_size") if settings.steps else ():
        require(getattr(settings, name) >= 1, f"{key}.{name}", getattr(settings, name), "at least 1")
    require(settings.learning_rate > 0 or not settings.steps, f"{key}.learning_rate", settings.learning_rate, "more than 0")


def check_cold_starts(policy: s.PolicyConfig) -> None:
    """Initial policies of different seeds must be able to differ."""
    several = policy.cold_starts
    require(several is None or several >= 1, "policy.cold_starts", several, "at least 1, or null: all training seeds start from one policy")
    differ = policy.source == "scratch" or policy.cold_start.steps > 0
    expected = f"1 or null: policy.source={policy.source} without a cold start (policy.cold_start.steps) is the same for every seed"
    require(differ or several in (None, 1), "policy.cold_starts", several, expected)
    check_seed("policy.cold_starts", policy.seed + (several or 1) - 1, several)


def check_lora(lora: s.LoraConfig, key: str = "lora") -> None:
    require(lora.rank >= 1, f"{key}.rank", lora.rank, "at least 1")
    require(lora.alpha > 0, f"{key}.alpha", lora.alpha, "more than 0")
    require(lora.dropout == 0, f"{key}.dropout", lora.dropout, "0, since the ratio of a policy to itself must be 1")
    require(bool(lora.target_modules), f"{key}.target_modules", [], "names of linear layers, or [all-linear]")


def check_vision(vision: s.VisionConfig, source: str) -> None:
    low, high = vision.min_pixels, vision.max_pixels
    require(low is None or low >= 1, "policy.vision.min_pixels", low, "at least 1, or null for the model's own")
    require(high is None or high >= (low or 1), "policy.vision.max_pixels", high, f"at least policy.vision.min_pixels={low}, or null")
    require(source != "gguf", "policy.vision", "given", "null: policies from GGUF files read text alone")
    if source == "scratch":
        require(vision.scratch is not None, "policy.vision.scratch", None, "sizes, as in conf/policy/tiny_vl.yaml")
        require(None not in (low, high), "policy.vision.min_pixels", low, "a number, and so for max_pixels: there is no published one")
    if scratch := vision.scratch:
        fits = scratch.heads >= 1 and scratch.hidden_size % (4 * scratch.heads) == 0
        require(fits, "policy.vision.scratch.hidden_size", scratch.hidden_size, "a multiple of 4 times policy.vision.scratch.heads")


def check_model_directory(path: Path) -> None:
    """A Hugging Face model directory: config.json and safetensors weights. Raises ConfigError naming what is missing."""
    require(path.is_dir(), "policy.path", str(path), "a directory that exists")
    whole = (path / "config.json").is_file()
    export = "npo export RUN STEP OUT"
    require(whole or not is_checkpoint(path), "policy.path", str(path), f"a whole policy, but this checkpoint is none; {export} writes one")
    require(whole, "policy.path", str(path), "a model directory, but it holds no config.json")
    require(_is_json_object(path / "config.json"), "policy.path", str(path), "a model directory, but its config.json is not a JSON object")
    found = any(next(path.glob(pattern), None) for pattern in TOKENIZER_FILES)
    require(found, "policy.path", str(path), "a tokenizer beside the weights, but the directory holds none (tokenizer.json)")
    require(
        any(path.glob("*.safetensors")),
        "policy.path",
        str(path),
        "weights as *.safetensors, but the directory holds none (pickled weights are not read)",
    )


def _is_json_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False
