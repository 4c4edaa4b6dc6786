"""What an experiment asks for, before anything is run or downloaded: GPU memory, GPUs, disk, sampled tokens, stage by stage.

    python -m npo_pipeline.planning --experiment paper
    python -m npo_pipeline.planning --experiment paper --overrides "policy.lora={rank:32,alpha:64}" --gpu-memory 141

All of it is arithmetic on the configuration and on the model's config.json (or its published shape, npo_pipeline/planning).
"""

import argparse
import sys
from pathlib import Path

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.options import at_least, share
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.errors import NpoError
from npo_pipeline.planning.architecture import Architecture, architecture_of
from npo_pipeline.planning.page import page
from npo_pipeline.planning.work import Assumptions

IMAGE_TOKENS = 1024  # of a vision-language model's prompt, where no limit is set: an image of about a megapixel


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m npo_pipeline.planning", description=__doc__)
    found.formatter_class = argparse.RawDescriptionHelpFormatter
    found.add_argument("--experiment", default="default", help="of conf/experiment")
    found.add_argument("--overrides", default="", help='as for snakemake: "key=value ..."')
    found.add_argument("--model", type=Path, help="a config.json or its folder, in place of the policy's")
    found.add_argument("--gpu-memory", type=at_least(1), default=80, help="of one GPU, in GB (default 80)")
    found.add_argument("--prompt-tokens", type=at_least(1), help="longest prompt (default: as long as a response may be)")
    found.add_argument("--image-tokens", type=at_least(0), help="of them an image's (default: as policy.vision.max_pixels allows)")
    found.add_argument("--response-tokens", type=at_least(1), help="mean length (default: half of sampling.max_new_tokens)")
    found.add_argument("--failed", type=share, default=0.5, help="share of prompts at or below the gate (default 0.5)")
    found.add_argument("--tries", type=share, default=0.5, help="share of the allowed tries that a prompt takes (default 0.5)")
    found.add_argument("--delta", type=share, default=0.05, help="size of a checkpoint's delta, as a share of the whole (default 0.05)")
    return found


def main() -> None:
    options = parser().parse_args()
    try:
        root = load_root(options.experiment, options.overrides)
        model = architecture_of(root.policy, options.model)
    except NpoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(plan(root, model, options), end="")


def plan(root: RootConfig, model: Architecture, options: argparse.Namespace) -> str:
    most = root.sampling.max_new_tokens
    prompt = options.prompt_tokens or most
    assumed = Assumptions(prompt, options.response_tokens or most / 2, options.failed, options.tries, options.delta)
    images = most_image_tokens(root, model) if options.image_tokens is None else options.image_tokens
    return page(root, model, assumed, min(prompt, images), options.gpu_memory)


def most_image_tokens(root: RootConfig, model: Architecture) -> int:
    """Of one image, as large as policy.vision.max_pixels allows."""
    vision = root.policy.vision
    if model.vision is None or vision is None or vision.max_pixels is None:
        return IMAGE_TOKENS
    return vision.max_pixels // (model.vision.side * model.vision.merge) ** 2


if __name__ == "__main__":
    main()
