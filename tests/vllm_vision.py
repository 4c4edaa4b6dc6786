"""What tests/integration/test_vllm_vision.py runs: a tiny random Qwen3-VL in vLLM against the policy itself.

Prompts with two and three images, with none, several sizes in one batch, one question about several images. Checked: log-probs before
and after an update in place, that an image is seen, that placeholders are never sampled, and that nothing is left of earlier calls.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from vision import problems_of, tiny_vl_policy

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import SamplingConfig
from npo_pipeline.policy.logprobs import score
from npo_pipeline.policy.policy import Policy
from npo_pipeline.rollout.engine import Completion, Request
from npo_pipeline.rollout.engines import make_engine
from npo_pipeline.rollout.hf import TransformersEngine

SAMPLING = SamplingConfig(1.0, 1.0, 0, 8)
SETTINGS = load_root(overrides="engine=vllm engine.check_every=1 engine.vllm.cpu_cache_gib=0.1").engine


def largest_gap(policy: Policy, requests: Sequence[Request], found: Sequence[Completion]) -> float:
    rows = [(policy.prompt(r.prompt_token_ids, r.images), c.token_ids) for r, c in zip(requests, found, strict=True)]
    scored = score(policy.model, rows, policy.pad_id, 1.0, 10_000)
    return max(float(np.abs(np.array(a) - np.array(b.logprobs)).max()) for a, b in zip(scored, found, strict=True))


def main() -> None:
    policy = tiny_vl_policy()
    problems = problems_of(policy, Path(tempfile.mkdtemp()))
    requests = [Request(p.prompt_token_ids, 10 * i + k, p.images) for i, p in enumerate(problems) for k in range(4)]
    assert {len(request.images) for request in requests} >= {0, 1, 2, 3}
    engine = make_engine(SETTINGS, SAMPLING, policy)

    first = engine.generate(requests)
    assert largest_gap(policy, requests, first) < 1e-4
    assert largest_gap(policy, requests, TransformersEngine(policy, SAMPLING, 64).generate(requests)) < 1e-4
    seeing = [i for i, request in enumerate(requests) if len(request.images) == 2]
    swapped = [Request(requests[i].prompt_token_ids, requests[i].seed, requests[i].images[::-1]) for i in seeing]
    assert largest_gap(policy, swapped, [first[i] for i in seeing]) > 1e-3, "an image is not seen, so this proves nothing"
    engine.generate(requests[::3])
    assert engine.generate(requests) == first

    with torch.no_grad():
        for parameter in policy.model.parameters():  # the vision tower's, too: what it made of images before is void
            parameter.mul_(1.3)
        policy.model.get_input_embeddings().weight[list(policy.forbidden_ids)] *= 20  # the head is tied: logits far off
        wished = policy.model(torch.arange(2, 60)[None]).logits[0].softmax(-1)[:, list(policy.forbidden_ids)].sum(-1)
    assert wished.max() > 0.9, "no placeholder is likely, so this proves nothing"
    second = engine.generate(requests)
    assert largest_gap(policy, requests, second) < 1e-4
    assert largest_gap(policy, requests, first) > 1e-2
    assert not {token for completion in second for token in completion.token_ids} & set(policy.forbidden_ids)
    print("vllm_vision: all held")


if __name__ == "__main__":
    main()
