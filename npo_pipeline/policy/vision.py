"""What the policy layer knows of images: which model inputs a batch of prompts with images needs, whatever the model's family.

Prompts are stored with one placeholder token per image. `Vision.expand` makes of one what a forward reads: as many image tokens as
the model makes of the image, and their positions. Pixels are no tensor with a batch axis: each image has its own number of patches,
so they are loaded per image when a batch is formed, and joined in the order of its rows.

A new family is one class with these methods, and its name in `npo_pipeline.policy.policy.FAMILIES`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import PIL.Image
import torch
from torch import Tensor

from npo_pipeline.policy.device import moved
from npo_pipeline.records import Image

FORBIDDEN = ("image_token_id", "video_token_id")  # of a model's configuration: tokens that stand for pixels
RULED_OUT = -1e9  # a logit


class Vision(Protocol):
    """How a family of vision-language models reads images."""

    placeholder: str  # what stands for one image in the text of a prompt without a chat template

    @property
    def settings(self) -> dict[str, int]:
        """min_pixels and max_pixels that images are scaled to."""
        ...

    def limit(self, min_pixels: int | None, max_pixels: int | None) -> None:
        """Change how large images are read; None keeps what the model was published with."""
        ...

    def expand(self, ids: Sequence[int], images: Sequence[Image]) -> "ImagePrompt":
        """The prompt as a forward reads it. Raises DataError if it has not one placeholder per image."""
        ...

    def inputs(self, images: Sequence[Image]) -> dict[str, Tensor]:
        """The model's inputs for all images of a batch, in the order of its rows."""
        ...

    def picture(self, image: Image) -> PIL.Image.Image:
        """The image scaled to the size that it is read at, for an engine that has a processor of its own."""
        ...

    def save(self, folder: Path) -> None:
        """Write the processor's files beside the weights."""
        ...


@dataclass(frozen=True, eq=False)
class ImagePrompt(Sequence[int]):
    """The token ids of a prompt, expanded. It reads as a sequence of ids, so that lengths count what a forward costs.

    Example: a question of 5 tokens about an image of 4: `len(prompt) == 11` with the tokens that frame the image; `positions` is
    [3, 11] (time, height, width), and the first response token stands at `next_position`, which may be less than 11.
    """

    ids: tuple[int, ...]
    positions: Tensor
    images: tuple[Image, ...]
    vision: Vision

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[int, ...]: ...
    def __getitem__(self, index: int | slice) -> int | tuple[int, ...]:
        return self.ids[index]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def next_position(self) -> int:
        return int(self.positions.max()) + 1


def image_positions(positions: Tensor, prompts: Sequence[Sequence[int]], width: int) -> Tensor:
    """Positions [3, B, P+T] of a batch from those of its text, [B, P+T]; its prompts take the first `width` columns, at their right."""
    positions = positions.expand(3, *positions.shape).clone()
    for row, prompt in enumerate(prompts):
        if isinstance(prompt, ImagePrompt):
            positions[:, row, width - len(prompt) : width] = prompt.positions
            positions[:, row, width:] += prompt.next_position - len(prompt)
    return positions


def image_inputs(prompts: Iterable[Sequence[int]], device: torch.device) -> dict[str, Tensor]:
    """The model's inputs for the images of the prompts; none where they are text."""
    seen = [prompt for prompt in prompts if isinstance(prompt, ImagePrompt)]
    if not seen:
        return {}
    images = [image for prompt in seen for image in prompt.images]
    return {name: moved(part, device) for name, part in seen[0].vision.inputs(images).items()}


def forbidden_ids(config: Any) -> tuple[int, ...]:
    """Tokens that stand for pixels: sampled as text, one would ask for an image that is not there. None of a text model."""
    found = {getattr(config, name, None) for name in FORBIDDEN}
    return tuple(sorted(token for token in found if token is not None))


def forbid(logits: Tensor, config: Any) -> Tensor:
    """The logits with those tokens ruled out, as sampler and trainer both see them: the ratio of a policy to itself stays 1.

    By a number that no probability survives, not by minus infinity: 0 x infinity would spoil the entropy.
    """
    ids = forbidden_ids(config)
    return logits.index_fill(-1, torch.tensor(ids, device=logits.device), RULED_OUT) if ids else logits
