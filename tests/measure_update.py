"""Prints rows, prompt, response and how many bytes two GRPO updates of a model of SmolLM2's shape add to this process. A test's helper."""

import resource
import sys

import torch
import yaml
from tiny import grpo
from transformers import LlamaConfig, LlamaForCausalLM

from npo_pipeline.configuration.settings import SamplingConfig
from npo_pipeline.grpo.update import Updater
from npo_pipeline.planning.architecture import PUBLISHED
from npo_pipeline.policy.policy import DTYPES, Policy
from npo_pipeline.records import Slot, Trajectory

ROWS, PROMPT, RESPONSE = 2, 64, 96


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()


def main() -> None:
    values = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["HuggingFaceTB/SmolLM2-135M-Instruct"]
    before = resident()
    model = LlamaForCausalLM._from_config(LlamaConfig(**values), dtype=DTYPES[sys.argv[1]]).eval()
    prompts = [tuple(range(i, PROMPT + i)) for i in range(ROWS)]
    told = [
        Trajectory("p", i, prompt, tuple(range(RESPONSE)), (0.0,) * RESPONSE, 1.0, True, "stop", "") for i, prompt in enumerate(prompts)
    ]
    updater = Updater(Policy(model, None, (0,), 0), grpo(), SamplingConfig(1.0, 1.0, 0, RESPONSE))  # type: ignore[arg-type]
    for step in range(2):  # the second one finds the optimizer's moments there
        updater.update([Slot(trajectory) for trajectory in told], [1.0, -1.0], 0, step)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(ROWS, PROMPT, RESPONSE, peak - before)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
