"""Whether adopted checkpoints belong together, and to the policy that prompts are rendered for. No torch.

What would make wrong results is refused; what only may surprise is said, in a line each, before anything is sampled.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.policy_folders import ADAPTER, KEY
from npo_pipeline.configuration.settings import LoraConfig, PromptConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.preparation.adoption.sources import Source, read_json, shapes
from npo_pipeline.shown import one_line, short_repr

ARCHITECTURE = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)
EVERY = "all-linear"
# What peft's adapters may have beyond rank, alpha and the last parts of layers' names: ours, which goes on from them, has none of it.
NOT_PLAIN = (
    *("alpha_pattern", "rank_pattern", "layers_to_transform", "layer_replication", "exclude_modules", "modules_to_save"),
    *("target_parameters", "trainable_token_indices", "lora_bias", "fan_in_fan_out", "alora_invocation_tokens", "arrow_config"),
    *("use_dora", "use_rslora", "use_qalora", "use_bdlora", "kasa_config", "velora_config", "monteclora_config"),
)
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga", "milora")  # initialisations that take the adapter out of the base


def check_alike(found: Sequence[Source], initial: Path, lora: LoraConfig | None, prompt: PromptConfig) -> list[str]:
    """`initial` is the policy that the problems were prepared for. What differs without being wrong, a line each.

    Raises DataError for checkpoints of several kinds, architectures or tokenizers, ConfigError for an adapter that the settings do not say.
    """
    first = found[0]
    for source in found[1:]:
        if source.is_adapter != first.is_adapter:
            kinds = ["an adapter" if s.is_adapter else "a whole policy" for s in (source, first)]
            raise DataError(f"{source}: {kinds[0]}, where step {first.step} is {kinds[1]}; adopt checkpoints of one run")
    _check_shapes(found)
    if first.is_adapter:
        for source in found:
            _check_adapter(source, lora)
    elif lora is not None:
        raise ConfigError(f"policy.lora: set, but {first.folder} is a whole policy; set policy.lora=null, or adopt the run's adapters")
    else:
        _check_architecture(first, initial)
    for source in found:
        _check_tokenizer(source, initial)
    return list(dict.fromkeys(note for source in found for note in _notes(source, initial, prompt)))


def _check_shapes(found: Sequence[Source]) -> None:
    first, expected = found[0], shapes(found[0])
    for source in found[1:]:
        own = shapes(source)
        if other := sorted(name for name in own.keys() | expected.keys() if own.get(name) != expected.get(name)):
            is_, was = (list(these[other[0]]) if other[0] in these else "absent" for these in (own, expected))
            raise DataError(
                f"{source}: another architecture than step {first.step}'s: {one_line(other[0])} is {is_}, expected {was}; leave it out"
            )


def _check_architecture(source: Source, initial: Path) -> None:
    own, expected = (_flat(read_json(folder / "config.json")) for folder in (source.folder, initial))
    for key in ARCHITECTURE:
        if key in own and key in expected and own[key] != expected[key]:
            values = f"{key} is {short_repr(own[key])}, policy.path's {short_repr(expected[key])}"
            raise DataError(
                f"{source}: another architecture than the initial policy's: {values}; set policy.path to what that run began with"
            )


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """A vision-language model's text settings lie one level deeper."""
    return dict(config) | {key: value for key, value in (config.get("text_config") or {}).items() if key != "model_type"}


def _check_adapter(source: Source, lora: LoraConfig | None) -> None:
    own = read_json(source.folder / ADAPTER)
    if (key := _unlike_plain(own)) is not None:
        found = f"{key} is {one_line(short_repr(own.get(key)))}"
        merged = "merge it into its base and adopt that (peft: model.merge_and_unload().save_pretrained)"
        raise DataError(f"{source}: no plain LoRA adapter of named layers: {found} in {ADAPTER}; {merged}")
    # all-linear is kept as the full names of what it was then, which no setting takes
    full_names = any("." in target for target in own["target_modules"])
    targets = [EVERY] if full_names else sorted(own["target_modules"])
    shown = f"{{rank:{own.get('r')},alpha:{own.get('lora_alpha')},target_modules:[{','.join(targets)}]}}"
    if lora is None:
        raise ConfigError(f"policy.lora: null, but {source.folder} is an adapter, whose training goes on; set policy.lora={shown}")
    wanted = (lora.rank, lora.alpha, sorted(lora.target_modules))
    if wanted[:2] != (own.get("r"), own.get("lora_alpha")) or wanted[2] not in ([EVERY], targets):
        raise ConfigError(f"policy.lora: not what {source.folder} was trained with; set policy.lora={shown}")


def _unlike_plain(own: Mapping[str, Any]) -> str | None:
    """The first value of an adapter's settings that makes it another thing than rank, alpha and layers say; None for a plain one."""
    targets = own.get("target_modules")
    if own.get("peft_type") != "LORA":
        return "peft_type"
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        return "target_modules"
    if own.get("bias") not in (None, "none"):
        return "bias"
    if str(own.get("init_lora_weights")).lower().startswith(CHANGES_BASE):
        return "init_lora_weights"
    return next((key for key in NOT_PLAIN if own.get(key) or type(own.get(key)) is int), None)  # of layers_to_transform 0 is one


def _check_tokenizer(source: Source, initial: Path) -> None:
    """Prompts and responses are stored as tokens: another vocabulary would read other text in them."""
    own, expected = (_tokens(read_json(folder / "tokenizer.json")) for folder in (source.folder, initial))
    if own and expected and own != expected:
        other = min(token for token in own.keys() | expected.keys() if own.get(token) != expected.get(token))
        values = f"{short_repr(other)} is {own.get(other, 'absent')}, policy.path's {expected.get(other, 'absent')}"
        raise DataError(
            f"{source}: its tokenizer is another than the initial policy's: {values}; set policy.path to what that run began with"
        )


def _tokens(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Id by token; with pieces that have scores, as sentencepiece's, their place is the id."""
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or {}
    named = vocabulary if isinstance(vocabulary, dict) else {piece[0]: i for i, piece in enumerate(vocabulary)}
    return {**named, **{added["content"]: added["id"] for added in tokenizer.get("added_tokens") or []}}


def _notes(source: Source, initial: Path, prompt: PromptConfig) -> Iterator[str]:
    if not source.is_adapter and not (source.folder / "tokenizer.json").is_file():
        yield f"{KEY}: no tokenizer beside the checkpoints; policy.path's is taken"
    templates = [template(folder) for folder in (source.folder, initial)]
    if prompt.style != "plain" and templates[0] and templates[0] != templates[1]:
        other = "the checkpoints' chat template is not policy.path's, which renders the prompts here"
        yield f"{KEY}: {other}; where that run used its own, prompts differ"
    ends = [_ends(folder) for folder in (source.folder, initial)]
    if all(ends) and ends[0] != ends[1]:
        yield f"{KEY}: the checkpoints end a response at token {sorted(ends[0])}, policy.path at {sorted(ends[1])}; both end it here"


def template(folder: Path) -> str:
    """The chat template beside a policy; "" where there is none."""
    file = folder / "chat_template.jinja"
    return (
        file.read_text(encoding="utf-8") if file.is_file() else str(read_json(folder / "tokenizer_config.json").get("chat_template") or "")
    )


def _ends(folder: Path) -> set[int]:
    found = read_json(folder / "generation_config.json").get("eos_token_id")
    return {found} if isinstance(found, int) else set(found or ())
