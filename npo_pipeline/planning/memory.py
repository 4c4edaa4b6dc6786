"""Bytes of GPU memory, part by part: what the trainer keeps, what a forward saves for its backward, and what sampling caches.

The activations are what autograd saves of one micro-batch with scaled-dot-product attention; tests hold the sum against the tensors
that a real forward saves. With activation checkpointing (`recomputed`) it is each decoder layer's input, and one layer at a time.
"""

from dataclasses import dataclass

from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.planning.architecture import EVERY, Architecture, Text
from npo_pipeline.policy.tiling import is_whole, tile_width

BYTES = {"float32": 4, "bfloat16": 2}
LOGIT_COPIES = 4  # float32 tensors of logits' size alive at once in the log-prob and entropy, and in their backward
TILE_COPIES = 2  # the same of a tile of them
LEAST_ROOM = 0.02  # of a GPU's memory for its share of the state: with less, hundreds of GPUs would be asked for
USABLE = 0.9  # of a GPU's memory: the rest is the CUDA context, fragments and what libraries keep


@dataclass(frozen=True)
class Training:
    """What the trainer holds, in bytes. `work` comes and goes with each micro-batch, the rest is there throughout.

    `state` is that of one process; of many each has `weights` and `reference` whole, and its part of `sharded`
    (npo_pipeline.policy.sharded).
    """

    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    logits: int
    sharded: int = 0  # float32 masters, gradients and moments, and with LoRA the base once more

    @property
    def state(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.reference

    def kept(self, processes: int = 1) -> int:
        """What one of so many processes has while it samples. Gradients are gone between two updates; of the shards they are left in."""
        whole = self.weights + self.reference
        return whole + (self.optimizer if processes == 1 else -(-self.sharded // processes))

    @property
    def work(self) -> int:
        return self.activations + self.logits


def training(
    model: Architecture,
    dtype: str,
    lora: LoraConfig | None,
    reference: bool,
    batch: "Batch",
    recompute: bool = False,
    device: str = "cuda",
) -> Training:
    """As npo_pipeline.grpo.optimizer works: AdamW in float32, below that on a master copy, piece by piece while no activation is alive."""
    size, all_of_it = BYTES[dtype], model.parameters
    trained = trained_parameters(model, lora)
    low = not lora and dtype != "float32"  # adapters are float32 anyway
    return Training(
        weights=all_of_it * size + (trained * 4 if lora else 0),
        gradients=trained * (size if low else 4),
        optimizer=trained * (8 + (4 if low else 0)),
        reference=all_of_it * size if reference and not lora else 0,
        activations=(recomputed if recompute else activations)(model, size, batch, lora),
        logits=logits(model.text, size, batch.response_tokens, device, head=not lora),
        sharded=trained * 16 + (all_of_it * size if lora else 0),
    )


def trained_parameters(model: Architecture, lora: LoraConfig | None) -> int:
    return model.adapter_parameters(lora.rank, lora.target_modules) if lora else model.parameters


def logits(text: Text, size: int, tokens: int, device: str, head: bool = False) -> int:
    """What log-probs of `tokens` response tokens take, as npo_pipeline.policy.head makes them; `head`: its weight has a gradient.

    Of many a tile at a time, and in the backward the gradient of their hidden states in float32, and that of the head beside the
    one it is added to.
    """
    if is_whole(tokens, text.vocab):
        return tokens * text.vocab * (size + 4 * LOGIT_COPIES)
    tile = tokens * tile_width(tokens, text.vocab, device) * (size + 4 * TILE_COPIES)
    return tile + tokens * text.hidden * (4 + size) + head * text.vocab * text.hidden * size


@dataclass(frozen=True)
class Batch:
    """One micro-batch: padded tokens in all, those of responses (logits are computed for them only), and patches of its images."""

    tokens: int
    response_tokens: int
    patches: int = 0


def micro_batch(model: Architecture, budget: int, prompt: int, response: int, image_tokens: int) -> Batch:
    """As many rows of the longest length as the budget holds, at least one."""
    rows = max(1, budget // (prompt + response))
    patches = image_tokens * model.vision.merge**2 if model.vision else 0
    return Batch(rows * (prompt + response), rows * response, rows * patches)


def activations(model: Architecture, size: int, batch: Batch, lora: LoraConfig | None = None) -> int:
    """What autograd saves of one forward, logits apart."""
    text = model.text
    if lora:
        return batch.tokens * (text.layers * _adapted_block(text, size, lora) + 4 * text.hidden) + _adapted_images(model, size, batch, lora)
    head = batch.response_tokens * size * text.hidden
    return (
        batch.tokens * (text.layers * _block(text, size) + (4 + size) * text.hidden) + head + _image_activations(model, size, batch.patches)
    )


def recomputed(model: Architecture, size: int, batch: Batch, lora: LoraConfig | None = None) -> int:
    """As `activations`, where the backward computes each decoder layer again. An image encoder keeps its own."""
    text = model.text
    block = _adapted_block(text, size, lora) if lora else _block(text, size)
    return activations(model, size, batch, lora) - batch.tokens * ((text.layers - 1) * block - text.layers * size * text.hidden)


def _block(text: Text, size: int) -> int:
    """Per token: inputs of norms in float32 and normalised, q, k, v, attention's result, and four tensors of the MLP."""
    q, kv = text.heads * text.head_dim, text.kv_heads * text.head_dim
    norm = 4 + size
    attention = size * (2 * q + 2 * kv) + 4 * text.heads + (norm * (q + kv) if text.qk_norm else 0)
    return 2 * (norm + size) * text.hidden + attention + 4 * size * text.intermediate


def _adapted_block(text: Text, size: int, lora: LoraConfig) -> int:
    """Per token, with frozen weights: no input of theirs is kept, but each adapter keeps its own, in float32, and what A makes of it.

    In a float32 policy the adapters of one input share it, and the output projection's is attention's result.
    """
    q, kv, low = text.heads * text.head_dim, text.kv_heads * text.head_dim, size < 4
    adapted = {name: a for name, (a, _) in text.linears().items() if lora.target_modules == [EVERY] or name in lora.target_modules}
    shared = {
        name: "qkv" if name in ("q_proj", "k_proj", "v_proj") else "mlp" if name in ("gate_proj", "up_proj") else name for name in adapted
    }
    inputs = adapted if low else {shared[name]: width for name, width in adapted.items()}
    norms = 2 * 4 * text.hidden + (4 * (q + kv) if text.qk_norm else 0)
    attention = size * (q + 2 * kv) + (size * q if low or "o_proj" not in adapted else 0) + 4 * text.heads
    return norms + attention + 3 * size * text.intermediate + 4 * sum(inputs.values()) + 4 * lora.rank * len(adapted)


def _adapted_images(model: Architecture, size: int, batch: Batch, lora: LoraConfig) -> int:
    """Nothing of an image encoder that has no adapter; else at most what it would keep if it were trained whole."""
    adapted = model.vision and (lora.target_modules == [EVERY] or model.vision.linears().keys() & set(lora.target_modules))
    return _image_activations(model, size, batch.patches) if adapted else 0


def _image_activations(model: Architecture, size: int, patches: int) -> int:
    """Of the image encoder: two LayerNorms, attention on one buffer of q, k and v, and a GELU MLP per block; and of its mergers."""
    vision = model.vision
    if vision is None:
        return 0
    blocks = vision.layers * (11 * vision.hidden + 2 * vision.intermediate)
    return patches * size * (blocks + (1 + vision.deepstack) * 3 * vision.hidden + vision.hidden + vision.patch)


def kv_cache(model: Architecture, dtype: str, tokens: int) -> int:
    """Keys and values of `tokens` tokens in all sequences together."""
    return tokens * model.text.layers * 2 * model.text.kv_heads * model.text.head_dim * BYTES[dtype]


def gpus(train: Training, work: int, gpu_bytes: float) -> int | None:
    """The fewest GPUs, a process on each with its own `work`; None if what each of many has whole (nearly) fills one."""
    room = USABLE * gpu_bytes - work
    if train.state <= room:
        return 1
    left = room - train.weights - train.reference
    return None if not train.sharded or left < LEAST_ROOM * gpu_bytes else max(2, -int(-train.sharded // left))
