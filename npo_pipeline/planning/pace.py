"""How long a response's tokens take where nobody has measured it: on a core that is surely as fast, on a GPU like one H200. No torch.

Two operations per parameter and token forward, four backward. On a GPU a layer also takes a while however small it is, since its
kernels are started one after the other: a token of a whole batch takes every layer once, and so does a micro-batch, backward twice.
Both are added up, though a device may do them at once.
The figures were seen on an H200 (docs/one-gpu.md): Qwen3-0.6B in bfloat16 and SmolLM2-135M in float32 took 1.1 ms a layer and token with
the transformers engine, whatever their size, and with vLLM's graphs 0.18 ms, 0.27 with the weights' handing over; they trained with 1e14
and 1.8e13 operations a second, counted as here, with a scoring that a single epoch does not make. A method that samples in several
batches (npo_within) waits for its layers as often: that is not in here.
"""

from dataclasses import dataclass

from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.planning.architecture import Architecture


@dataclass(frozen=True)
class Hardware:
    """Operations per second while it trains and while it samples; seconds that a layer takes on top, however small it is."""

    train: float
    sample: float
    layer: float = 0.0
    sampling_layer: float = 0.0


# On a core a tiny policy samples 12,000 tokens/s (1.6e10), SmolLM2 135 (3.6e10).
CORE = Hardware(1e10, 1e10)
LAYER, GRAPH_LAYER = 1.2e-3, 0.25e-3
OPERATIONS = {"float32": (1.5e13, 1.5e13), "bfloat16": (8e13, 2e13)}  # on a GPU, by dtype: training, sampling


@dataclass(frozen=True)
class Lengths:
    """Tokens: of a prompt, of a response on average, and of the longest in a batch, as long as which the batch takes."""

    prompt: float
    response: float
    longest: float


def hardware(root: RootConfig, gpu: bool) -> Hardware:
    if not gpu:
        return CORE
    vllm = root.engine.name == "vllm" and root.engine.vllm is not None and not root.engine.vllm.enforce_eager
    return Hardware(*OPERATIONS[root.policy.dtype], LAYER, GRAPH_LAYER if vllm else LAYER)


def sampling(root: RootConfig, model: Architecture, gpu: bool, lengths: Lengths, rows: float) -> float:
    """Seconds per response token, in batches of `rows` responses at a time."""
    machine, response = hardware(root, gpu), max(1.0, lengths.response)
    arithmetic = 2 * model.parameters * (lengths.prompt + response) / response / machine.sample
    return arithmetic + lengths.longest * model.text.layers * machine.sampling_layer / (rows * response)


def scoring(root: RootConfig, model: Architecture, gpu: bool, lengths: Lengths, epochs: int = 0) -> float:
    """Seconds per response token: forward once, and for each epoch of an update forward and backward."""
    machine, response = hardware(root, gpu), max(1.0, lengths.response)
    tokens = (lengths.prompt + response) / response
    arithmetic = (2 + 6 * epochs) * model.parameters * tokens / machine.train
    filled = min(root.grpo.micro_batch_tokens, rows_of_a_step(root) * (lengths.prompt + response))
    return arithmetic + (1 + 3 * epochs) * model.text.layers * machine.layer * tokens / filled


def rows_of_a_step(root: RootConfig) -> float:
    """Responses that each process of a run samples at a time."""
    ranks = root.trainer.nproc * root.trainer.nodes
    return min(root.engine.max_batch, root.grpo.prompts_per_step * root.grpo.group_size / ranks)
