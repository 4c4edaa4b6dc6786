"""Starting vLLM for a policy that is already in memory: from its configuration alone, the weights are handed over later."""

import copy
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.settings import EngineConfig, VllmConfig
from npo_pipeline.distributed.group import is_one_of_many
from npo_pipeline.errors import ConfigError
from npo_pipeline.policy.policy import Policy
from npo_pipeline.rollout.vllm_room import gpu_share, kept_folder

# Read by vLLM when it is imported; what a user has set stays.
ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # npo_pipeline.policy.device has set the threads
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # it cannot say the log-probs of what it draws, and need not be installed
}
CPU_BLOCK = 32  # tokens per cache block, the smallest that its kernels like: only whole blocks of a prompt are shared


def start_vllm(policy: Policy, settings: EngineConfig, length: int, kept: int | None) -> Any:
    """A running `vllm.LLM` without weights yet, of the policy's shape and dtype; `kept` as for `make_engine`.

    In a run over many processes each has an engine of its own. Raises ConfigError for another than the first GPU, or several of them
    then, and where the GPU has no room.
    """
    assert settings.vllm is not None, "checked with the configuration"
    if is_one_of_many() and settings.vllm.tensor_parallel_size > 1:
        raise ConfigError(
            f"engine.vllm.tensor_parallel_size: found {settings.vllm.tensor_parallel_size}, expected 1 in a run over many processes, "
            "of which each samples with an engine of its own; set it to 1, or trainer.nproc and trainer.nodes to 1"
        )
    if policy.device.index:
        raise ConfigError(
            f"--device {policy.device}: vLLM takes the first GPU it sees; use --device cuda with CUDA_VISIBLE_DEVICES={policy.device.index}"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # in this process: tensors are handed over as they are
    given = arguments(policy, settings, length, kept)
    if policy.device.type != "cpu":
        graphs = "eager" if given["enforce_eager"] else "with CUDA graphs"
        print(f"engine: vllm starts {graphs}, with {given['gpu_memory_utilization']:.0%} of the GPU's memory", file=sys.stderr)
    with tempfile.TemporaryDirectory() as written, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_files(policy, Path(written))
        from vllm import LLM

        return LLM(model=str(kept_folder(Path(written))), **given)


def arguments(policy: Policy, settings: EngineConfig, length: int, kept: int | None = 0) -> dict[str, Any]:
    """What vLLM is started with; `length` bounds prompt and response together, in tokens."""
    from npo_pipeline.rollout import vllm_loader

    vllm = settings.vllm
    assert vllm is not None, "checked with the configuration"
    return {
        "runner": "generate",
        "trust_remote_code": False,
        "generation_config": "vllm",  # no sampling defaults of the model's own
        "load_format": vllm_loader.LOAD_FORMAT,
        "worker_extension_cls": f"{vllm_loader.__name__}.{vllm_loader.Worker.__name__}",
        "dtype": str(policy.model.dtype).removeprefix("torch."),
        "max_model_len": length,
        "max_num_seqs": settings.max_batch,
        "enable_prefix_caching": True,
        "logprobs_mode": "processed_logprobs",  # of the distribution that is sampled, not of the raw one
        "tensor_parallel_size": vllm.tensor_parallel_size,
        "enforce_eager": policy.device.type == "cpu" if vllm.enforce_eager is None else vllm.enforce_eager,
        "disable_log_stats": True,
        **device_arguments(policy, vllm, max(length, settings.max_batch), kept),
        # Beside other processes it keeps to this one, and leaves their process group as it found it.
        **({"distributed_executor_backend": "external_launcher"} if is_one_of_many() else {}),
        **({"limit_mm_per_prompt": {"video": 0}} if policy.vision else {"skip_tokenizer_init": True}),
    }


def device_arguments(policy: Policy, settings: VllmConfig, batch: int, kept: int | None) -> dict[str, Any]:
    if policy.device.type != "cpu":
        return {"gpu_memory_utilization": gpu_share(settings, policy.device, kept), "enable_sleep_mode": True}
    # On a CPU a prompt that is read in pieces fails as soon as its request has a seed (0.32), so prompts are read whole.
    whole = {"enable_chunked_prefill": False, "max_num_batched_tokens": batch}
    return {"kv_cache_memory_bytes": int(settings.cpu_cache_gib * 2**30), "block_size": CPU_BLOCK, **whole}


def write_files(policy: Policy, folder: Path) -> None:
    """config.json as `save_pretrained` of the model would write it; of a policy that sees also what its processor is made from."""
    config = copy.deepcopy(policy.model.config)
    config._name_or_path = ""  # where the weights came from is nothing to vLLM
    config.architectures = [type(policy.model).__name__]
    config.save_pretrained(folder)
    if policy.vision:
        policy.tokenizer.save_pretrained(folder)
        policy.vision.save(folder)
