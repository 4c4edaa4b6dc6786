"""The options of `npo plan` and `python -m npo_pipeline.planning`, apart from what reads them: a command line must be quick."""

import argparse
from pathlib import Path

from npo_pipeline.configuration.options import at_least, device_name, share


def add_options(found: argparse.ArgumentParser) -> None:
    """What is assumed of a run; `npo plan` has these options too."""
    found.add_argument("--model", type=Path, help="a config.json or its folder, in place of the policy's")
    found.add_argument("--gpu-memory", type=at_least(1), default=80, help="of one GPU, in GB (default 80)")
    found.add_argument("--measure", action="store_true", help="time prepare and a few steps of the probe; later plans take that")
    found.add_argument("--measure-steps", type=at_least(1), default=3, metavar="N", help="after one that is not timed (default 3)")
    found.add_argument("--device", type=device_name, default="auto", help="to measure on: cpu, cuda, or auto (default)")
    found.add_argument("--prompt-tokens", type=at_least(1), help="longest prompt (default: as long as a response may be)")
    found.add_argument("--image-tokens", type=at_least(0), help="of them an image's (default: as policy.vision.max_pixels allows)")
    found.add_argument("--response-tokens", type=at_least(1), help="mean length (default: as measured, else half of max_new_tokens)")
    found.add_argument("--failed", type=share, default=0.5, help="share of prompts at or below the gate (default 0.5)")
    found.add_argument("--tries", type=share, default=0.5, help="share of the allowed tries that a prompt takes (default 0.5)")
    found.add_argument("--delta", type=share, default=0.05, help="size of a checkpoint's delta, as a share of the whole (default 0.05)")
