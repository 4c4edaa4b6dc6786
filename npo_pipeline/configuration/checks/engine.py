"""Value checks of who samples, and of the distribution that is sampled."""

from typing import Any

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import one_of, require

COLDEST = 0.01  # of vLLM


def check_engine(engine: s.EngineConfig) -> None:
    one_of("engine.name", engine.name, ("auto", "transformers", "vllm"))
    require(engine.max_batch >= 1, "engine.max_batch", engine.max_batch, "at least 1")
    often = engine.check_every
    require(often is None or often >= 0, "engine.check_every", often, "0 (never) or more, or null")
    tolerance = engine.check_tolerance
    require(tolerance is None or tolerance > 0, "engine.check_tolerance", tolerance, "more than 0, or null")
    if engine.name != "transformers":
        check_vllm(engine.vllm)


def check_chosen(engine: s.EngineConfig) -> None:
    """A stage's own: who samples is said."""
    one_of("engine.name", engine.name, ("transformers", "vllm"))
    check_engine(engine)


def check_vllm(vllm: s.VllmConfig | None) -> None:
    require(vllm is not None, "engine.vllm", vllm, "its settings; choose it with engine=vllm")
    assert vllm is not None
    for key in ("max_model_len", "tensor_parallel_size"):
        require(getattr(vllm, key) >= 1, f"engine.vllm.{key}", getattr(vllm, key), "at least 1")
    share = vllm.gpu_memory_utilization
    require(share is None or 0 < share <= 1, "engine.vllm.gpu_memory_utilization", share, "a share of the GPU, in (0, 1], or null")
    require(vllm.cpu_cache_gib > 0, "engine.vllm.cpu_cache_gib", vllm.cpu_cache_gib, "more than 0")


def check_coldest(owner: Any) -> None:
    """vLLM samples at `COLDEST` what is to be sampled colder. `owner`: whatever has an engine and the temperatures it is used at."""
    engine = getattr(owner, "engine", None)
    for key in ("sampling", "evaluate") if engine and engine.name == "vllm" else ():
        temperature = getattr(getattr(owner, key, None), "temperature", 1.0)
        require(temperature >= COLDEST, f"{key}.temperature", temperature, f"at least {COLDEST} with engine=vllm")


def check_sampling(sampling: s.SamplingConfig) -> None:
    require(sampling.temperature > 0, "sampling.temperature", sampling.temperature, "more than 0")
    require(0 < sampling.top_p <= 1, "sampling.top_p", sampling.top_p, "in (0, 1]")
    require(sampling.top_k >= 0, "sampling.top_k", sampling.top_k, "0 (off) or more")
    require(sampling.max_new_tokens >= 1, "sampling.max_new_tokens", sampling.max_new_tokens, "at least 1")
