"""vLLM as an engine, in this very process, on weights that it takes over from the policy.

vLLM keeps a copy of the weights, packed for its kernels. Each call first compares the policy's weights with those that were handed
over last, by their identity, and puts them into the running engine in place if anything changed them: an optimizer step,
another checkpoint, a resume. On a GPU that it shares with the trainer it sleeps while it rests: its weights and its cache are given
up, and the weights are handed over again when it wakes. Samples of one prompt share its prefill, within a call: prefixes cached by
earlier ones are dropped, so that what a call samples hangs on its requests and the weights alone.

Log-probs are of the distribution that was sampled, after temperature, top-k and top-p (`logprobs_mode`). A request's randomness
is its seed's alone, but its logits are rounded differently in another batch, so the same seed gives the same text for the same calls.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.core_model_loading import revert_weight_conversion

from npo_pipeline.configuration.settings import EngineConfig, SamplingConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.policy import Policy
from npo_pipeline.rollout.engine import Completion, Request
from npo_pipeline.rollout.room import readable_length, require_room
from npo_pipeline.rollout.vllm_start import start_vllm

SEED_BITS = 63  # vLLM's seeds are signed, and it reads -1 as no seed; torch's generator on a CPU takes the lower 32 bits of them

LEAST_BIAS = -100.0  # nats, the least that vLLM takes: rules a token out


class VllmEngine:
    """Samples with vLLM. `weights` is the identity of the policy that it holds; None: none of them yet."""

    on_gpu = False  # whether this process has one there: of memory that can sleep it has one

    def __init__(self, policy: Policy, sampling: SamplingConfig, settings: EngineConfig, kept: int | None = 0) -> None:
        """Raises ConfigError where vLLM cannot start here (npo_pipeline.rollout.vllm_start), or has started on this GPU before."""
        self.policy, self.sampling = policy, sampling
        length = readable_length(policy, settings)
        assert length is not None, "engine.vllm.max_model_len is a bound"
        self.length = length
        self.weights: str | None = None
        # To several GPUs' processes tensors are sent, over the CPU; to the one of this process they are handed as they are.
        self._by_way_of = policy.device if settings.vllm and settings.vllm.tensor_parallel_size == 1 else torch.device("cpu")
        self.can_sleep, self.asleep = policy.device.type != "cpu", False
        if self.can_sleep and VllmEngine.on_gpu:
            raise ConfigError("engine=vllm: this process has a vLLM on its GPU already; evaluate one policy at a time, by --policy NAME")
        VllmEngine.on_gpu |= self.can_sleep
        self._llm = start_vllm(policy, settings, self.length, kept)
        self.rest()  # so that the first weights, too, are handed over while there is no cache

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Raises DataError for a prompt that leaves too little of engine.vllm.max_model_len for a response."""
        asked = {(request.prompt_token_ids, request.images) for request in requests}
        require_room(self.policy, self.sampling, self.length, asked)
        self.update()
        self._forget()
        outputs = self._llm.generate(self._prompts(requests), [self._parameters(request) for request in requests], use_tqdm=False)
        return [_completion(output) for output in outputs]

    def update(self) -> None:
        """Take over the policy's weights if they are not those that vLLM holds; wake up before, where it sleeps."""
        if self.asleep:
            torch.cuda.empty_cache()  # the update's, which vLLM's own allocator does not see
            self._llm.wake_up(tags=["weights"])
        found = identity(self.policy)
        if found != self.weights:
            self._hand_over()
            self.weights = found
        if self.asleep:  # not before: the copies that weights are made in have room while there is no cache
            self._llm.wake_up(tags=["kv_cache"])
            self.asleep = False

    def rest(self) -> None:
        """Sleep, at level 2: weights and cache are given up, not kept on the host."""
        if self.can_sleep and not self.asleep:
            self._llm.sleep(level=2)
            self.asleep, self.weights = True, None

    def _hand_over(self) -> None:
        named = revert_weight_conversion(self.policy.model, dict(self.policy.effective_weights()))  # as in a checkpoint: expert by expert
        tensors = [(name, tensor.detach().to(self._by_way_of)) for name, tensor in named.items()]
        self._llm.collective_rpc("take_over", args=(tensors,))

    def _forget(self) -> None:
        """Drop what was kept of earlier calls: prefixes, and images as the weights of then saw them."""
        self._llm.reset_prefix_cache()
        if self.policy.vision:
            self._llm.llm_engine.reset_encoder_cache()
            self._llm.reset_mm_cache()

    def _prompts(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """As vLLM takes them: one placeholder per image, and the image scaled already, so that all who read it scale it alike."""
        prompts: list[dict[str, Any]] = [{"prompt_token_ids": list(request.prompt_token_ids)} for request in requests]
        if vision := self.policy.vision:
            pictures = {image: vision.picture(image) for image in dict.fromkeys(i for request in requests for i in request.images)}
            for prompt, request in zip(prompts, requests, strict=True):
                if request.images:
                    prompt["multi_modal_data"] = {"image": [pictures[image] for image in request.images]}
        return prompts

    def _parameters(self, request: Request) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            top_k=self.sampling.top_k,
            max_tokens=self.sampling.max_new_tokens,
            seed=request.seed % 2**SEED_BITS,
            stop_token_ids=list(self.policy.stop_ids),
            ignore_eos=True,  # the policy's own stop tokens decide, as in every engine
            logit_bias=dict.fromkeys(self.policy.forbidden_ids, LEAST_BIAS) or None,
            logprobs=0,  # of the sampled token alone
            flat_logprobs=True,
            detokenize=False,
        )


def _completion(output: Any) -> Completion:
    sampled = output.outputs[0]
    return Completion(tuple(sampled.token_ids), tuple(sampled.logprobs.logprobs), sampled.finish_reason)
