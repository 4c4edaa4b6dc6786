"""Policies of real sizes with random weights, made where they are used: no network, no file, seconds."""

from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {  # of Qwen3, by its name in billions of parameters; "tiny" to see the code run
    "tiny": {"hidden": 64, "wide": 128, "layers": 2, "heads": 4, "kv": 2, "head": 32, "vocab": 2000, "tied": True},
    "0.6": {"hidden": 1024, "wide": 3072, "layers": 28, "heads": 16, "kv": 8, "head": 128, "vocab": 151_936, "tied": True},
    "1.7": {"hidden": 2048, "wide": 6144, "layers": 28, "heads": 16, "kv": 8, "head": 128, "vocab": 151_936, "tied": True},
    "4": {"hidden": 2560, "wide": 9728, "layers": 36, "heads": 32, "kv": 8, "head": 128, "vocab": 151_936, "tied": True},
    "8": {"hidden": 4096, "wide": 12_288, "layers": 36, "heads": 32, "kv": 8, "head": 128, "vocab": 151_936, "tied": False},
}
PROMPT = 32  # tokens of a prompt


def random_policy(shape: str, dtype: str, device: str) -> Any:
    """A policy of random weights with a tokenizer of one word per token."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from npo_pipeline.policy.policy import DTYPES, as_policy

    sizes = SHAPES[shape]
    config = Qwen3Config(
        vocab_size=sizes["vocab"],
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["wide"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv"],
        head_dim=sizes["head"],
        max_position_embeddings=4096,
        tie_word_embeddings=sizes["tied"],
        bos_token_id=None,
        eos_token_id=sizes["vocab"] - 1,
        pad_token_id=sizes["vocab"] - 1,
        layer_types=["full_attention"] * sizes["layers"],
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPES[dtype])
    try:
        with torch.device(device):
            model = Qwen3ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return as_policy(model, _tokenizer(sizes["vocab"]))


def _tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(vocabulary - 1)} | {"<eos>": vocabulary - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>")


def problems(policy: Any, count: int) -> list[Any]:
    """Different prompts of `PROMPT` tokens."""
    from npo_pipeline.records import Problem

    texts = [" ".join(f"w{(7 * i + 13 * j) % 1500}" for j in range(PROMPT)) for i in range(count)]
    return [
        Problem(f"train-{i:06d}", "train", text, "w0", "all", text, tuple(policy.tokenizer(text)["input_ids"]))
        for i, text in enumerate(texts)
    ]


def save(policy: Any, folder: Path) -> Path:
    """For a trainer that reads its policy from a folder."""
    from npo_pipeline.policy.policy import export_policy

    export_policy(policy, folder)
    return folder
