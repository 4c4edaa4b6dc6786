"""A very small Qwen3-VL, and problems with drawn images of several sizes, for tests that need a real one."""

from pathlib import Path

import numpy as np
import PIL.Image

from npo_pipeline.configuration.settings import PromptConfig, ScratchConfig, VisionConfig, VisionScratchConfig
from npo_pipeline.policy.policy import Policy
from npo_pipeline.policy.scratch import build_scratch
from npo_pipeline.records import Image, Problem
from npo_pipeline.storage.images import store_image
from npo_pipeline.tasks.prompts import render_prompt

SCRATCH = ScratchConfig(32, 64, 2, 2, 1, 32, 300, 256, r" ?[a-z]+|[^a-z]")
VISION = VisionConfig(1024, 16384, VisionScratchConfig(16, 2, 32, 64, 2, 2))
PROMPT = PromptConfig("plain", "{image}{question}\n", None)
SIZES = ((64, 64), (96, 64), (32, 160), (50, 70))  # width and height; the last is scaled


def tiny_vl_policy(seed: int = 0) -> Policy:
    policy = build_scratch(["what color is the circle?", "which of the two?", "no image"], SCRATCH, seed, VISION)
    for name, parameter in policy.model.named_parameters():
        if "visual" in name and parameter.ndim > 1:
            parameter.data *= 4  # so that an image that is wrong, or at a wrong place, is seen in the log-probs
    return policy


def drawn(folder: Path, number: int) -> Image:
    """Image `number`, of one of SIZES."""
    width, height = SIZES[number % len(SIZES)]
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = folder / f"{number}.png"
    PIL.Image.fromarray(pixels).save(file)
    return store_image(file.read_bytes(), folder)


def problems_of(policy: Policy, folder: Path) -> list[Problem]:
    """Images of every size, two and three images in a prompt, none, and one question about several images."""
    shown = [[0], [1], [], [2], [3], [0, 1], [], [2, 3, 0], [1], [1]]
    return [_problem(policy, i, [drawn(folder, number) for number in numbers]) for i, numbers in enumerate(shown)]


def _problem(policy: Policy, number: int, images: list[Image]) -> Problem:
    question = "which of the two?" if len(images) > 1 else "what color is the circle?" if images else "no image"
    assert policy.vision is not None
    prompt, ids = render_prompt(question, PROMPT, policy.tokenizer, len(images), policy.vision.placeholder)
    return Problem(f"p{number}", "train", question, "", "all", prompt, ids, {}, tuple(images))
