"""The tiny policy: a Qwen3, or a Qwen3-VL, built from scratch, with a byte-level BPE tokenizer trained on the task's own text."""

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from npo_pipeline.configuration.settings import ScratchConfig, VisionConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.policy.policy import Policy, as_policy
from npo_pipeline.policy.qwen3_vl import SPECIAL, random_vl_model, scratch_vision

PAD, EOS = "<|pad|>", "<|end|>"


def train_tokenizer(texts: Sequence[str], settings: ScratchConfig, special: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text can be encoded, and no merge crosses a cut of `split_pattern`. Raises ConfigError for one that is none."""
    tokenizer = Tokenizer(models.BPE())
    try:
        pattern = Regex(settings.split_pattern)
    except Exception as error:  # its own kind, of no public name
        raise ConfigError(f"policy.scratch.split_pattern={settings.split_pattern!r}: not a regular expression ({error})") from None
    split = pre_tokenizers.Split(pattern, behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=[PAD, EOS, *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False)


def build_scratch(texts: Sequence[str], settings: ScratchConfig, seed: int, vision: VisionConfig | None = None) -> Policy:
    """A randomly initialised policy: a pure function of texts, settings and seed. With `vision` it reads images."""
    if vision:
        tokenizer = train_tokenizer(texts, settings, SPECIAL)
        return as_policy(random_vl_model(tokenizer, settings, vision, seed), tokenizer, scratch_vision(tokenizer, vision))
    tokenizer = train_tokenizer(texts, settings)
    return as_policy(random_model(tokenizer, settings, seed), tokenizer)


def random_model(tokenizer: PreTrainedTokenizerBase, settings: ScratchConfig, seed: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=settings.vocab_size,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.key_value_heads,
        head_dim=settings.head_dim,
        max_position_embeddings=settings.max_positions,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        layer_types=["full_attention"] * settings.layers,
    )
    return Qwen3ForCausalLM(config)
