"""What an experiment asks for, before anything is run or downloaded: GPU memory, GPUs, disk, sampled tokens, stage by stage.

    python -m npo_pipeline.planning --experiment paper
    python -m npo_pipeline.planning --experiment paper --overrides "policy.lora={rank:32,alpha:64}" --gpu-memory 141

All of it is arithmetic on the configuration and on the model's config.json (or its published shape, npo_pipeline/planning); hours are
tokens over speeds, assumed ones, or those that `--measure` has timed on this machine.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.configuration.timeline import fitted_windows
from npo_pipeline.errors import ConfigError, NpoError
from npo_pipeline.planning.architecture import Architecture, architecture_of
from npo_pipeline.planning.engine import choose_engine
from npo_pipeline.planning.measured import known_speeds, measure
from npo_pipeline.planning.options import add_options
from npo_pipeline.planning.page import page
from npo_pipeline.planning.speeds import Speeds
from npo_pipeline.planning.speeds import assumed as assumed_speeds
from npo_pipeline.planning.work import Assumptions

IMAGE_TOKENS = 1024  # of a vision-language model's prompt, where no limit is set: an image of about a megapixel


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m npo_pipeline.planning", description=__doc__)
    found.formatter_class = argparse.RawDescriptionHelpFormatter
    found.add_argument("--experiment", default="default", help="of conf/experiment")
    found.add_argument("--overrides", default="", help='as for snakemake: "key=value ..."')
    add_options(found)
    return found


def main() -> None:
    options = parser().parse_args()
    try:
        show(options.experiment, options.overrides, options)
    except NpoError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def show(experiment: str, overrides: str | Sequence[str], options: argparse.Namespace) -> None:
    """Print the plan of an experiment. Raises ConfigError."""
    composed = load_root(experiment, overrides)
    root, chosen = choose_engine(composed, options.device, Path("results") / composed.name)
    if options.measure and options.model is not None:
        raise ConfigError("--measure: times the policy itself, so --model cannot go with it; set policy.path")
    model = architecture_of(root.policy, options.model)
    text = plan(root, model, options, measured(root, options), chosen)
    print(text + "".join(f"{line}\n" for line in fitted_windows(root)), end="")


def measured(root: RootConfig, options: argparse.Namespace) -> Speeds | None:
    """This machine's speeds: timed now, or on record; None where neither. Another model's shape was never timed."""
    if options.model is not None:
        return None
    return measure(root, options.device, options.measure_steps) if options.measure else known_speeds(root, options.device)


def plan(root: RootConfig, model: Architecture, options: argparse.Namespace, speeds: Speeds | None = None, chosen: str = "") -> str:
    most = root.sampling.max_new_tokens
    prompt = options.prompt_tokens or most
    length = options.response_tokens or (speeds.response_tokens if speeds else None) or most / 2
    assumed = Assumptions(prompt, length, options.failed, options.tries, options.delta)
    images = most_image_tokens(root, model) if options.image_tokens is None else options.image_tokens
    return page(
        root,
        model,
        assumed,
        min(prompt, images),
        options.gpu_memory,
        speeds or assumed_speeds(root, model, assumed, options.device),
        chosen,
    )


def most_image_tokens(root: RootConfig, model: Architecture) -> int:
    """Of one image, as large as policy.vision.max_pixels allows."""
    vision = root.policy.vision
    if model.vision is None or vision is None or vision.max_pixels is None:
        return IMAGE_TOKENS
    return vision.max_pixels // (model.vision.side * model.vision.merge) ** 2


if __name__ == "__main__":
    main()
