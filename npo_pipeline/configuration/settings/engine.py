"""`engine` and `sampling`: who samples responses, and from which distribution."""

from dataclasses import dataclass


@dataclass
class VllmConfig:
    """What vLLM is started with, beside the policy's own dtype."""

    max_model_len: int  # tokens of prompt and response together; cut to what the policy can read
    gpu_memory_utilization: float | None  # share of the GPU's memory that it may fill; None: what the trainer leaves, by the forecast
    cpu_cache_gib: float  # on a CPU: size of the KV cache
    tensor_parallel_size: int  # GPUs that one engine is spread over
    enforce_eager: bool | None  # false: compile and capture CUDA graphs; a slower start, then faster. None: false on a GPU


@dataclass
class EngineConfig:
    """Who samples. All engines sample from the same distribution, by other arithmetic and other random numbers."""

    name: (
        str  # "transformers", "vllm", or "auto": one of these, chosen before a stage's configuration is made (npo_pipeline.planning.engine)
    )
    max_batch: int  # sequences sampled at a time
    check_every: (
        int | None
    )  # calls between two checks of its log-probs against the policy's (the first is checked); 0: never; None: by engine
    check_tolerance: float | None  # mean gap in nats that a check allows; None: by dtype (npo_pipeline.rollout.check)
    vllm: VllmConfig | None = None  # not of name transformers


@dataclass
class SamplingConfig:
    """The distribution that roll-outs and guides are sampled from; recorded log-probs are of this one."""

    temperature: float  # 1: the model's own probabilities
    top_p: float  # 1: off
    top_k: int  # 0: off
    max_new_tokens: int  # of a response; one that is longer is cut, and counts as `length`
