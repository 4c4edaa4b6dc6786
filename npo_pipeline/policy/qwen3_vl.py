"""Qwen3-VL: how it reads images. All that is particular to this family is in this file.

An image is scaled to multiples of a merged patch within [min_pixels, max_pixels] and becomes one token per merged patch. Positions
have three axes (M-RoPE): text advances all of them, an image's tokens lie on a grid from where the text has come to, and the text
goes on behind the longer side (transformers, `Qwen3VLModel.get_rope_index`).

The image processor is transformers' own, in its Pillow variant: it needs no torchvision. The video processor, which does need it, is
never built; its file is kept, so that `AutoProcessor` and vLLM read what is saved here.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize
from transformers.utils import cached_file

from npo_pipeline.configuration.settings import ScratchConfig, VisionConfig
from npo_pipeline.errors import DataError
from npo_pipeline.policy.vision import ImagePrompt
from npo_pipeline.records import Image
from npo_pipeline.storage.images import load_image

KEPT = ("video_preprocessor_config.json",)  # files of the processor that are passed on as they are
CACHE_BYTES = 2**29  # of pixels: images come again within a step, and every epoch
START, IMAGE, END, VIDEO = "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"
SPECIAL = (START, END, IMAGE, VIDEO)
TEMPORAL_PATCH = 2  # frames per patch; of an image both are the same
GRID = 32  # learned positions along a side of an image; others are interpolated


class Qwen3Vision:
    """The image side of a Qwen3-VL policy (npo_pipeline.policy.vision.Vision)."""

    placeholder = START + IMAGE + END

    def __init__(self, processor: Any, image_token_id: int, files: dict[str, str]) -> None:
        self.processor, self.image_token_id, self.files = processor, image_token_id, files
        self._cache: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._bytes = 0  # of the pixels in it

    @classmethod
    def load(cls, source: str | Path, revision: str | None, config: Any, tokenizer: PreTrainedTokenizerBase) -> "Qwen3Vision":
        """Of a model directory or hub name. Raises OSError if it holds no preprocessor_config.json."""
        processor = Qwen2VLImageProcessorPil.from_pretrained(source, revision=revision, trust_remote_code=False)
        if tokenizer.chat_template is None and (text := _text_of(source, revision, "chat_template.json")):
            tokenizer.chat_template = json.loads(text)["chat_template"]
        files = {name: text for name in KEPT if (text := _text_of(source, revision, name))}
        return cls(processor, config.image_token_id, files)

    @property
    def settings(self) -> dict[str, int]:
        return {"min_pixels": self.processor.size["shortest_edge"], "max_pixels": self.processor.size["longest_edge"]}

    def limit(self, min_pixels: int | None, max_pixels: int | None) -> None:
        low, high = min_pixels or self.settings["min_pixels"], max_pixels or self.settings["max_pixels"]
        self.processor.size = {"shortest_edge": low, "longest_edge": high}
        self._cache.clear()  # what was read at another size
        self._bytes = 0

    def expand(self, ids: Sequence[int], images: Sequence[Image]) -> ImagePrompt:
        grids = [self._grid(image) for image in images]
        if (found := sum(token == self.image_token_id for token in ids)) != len(images):
            raise DataError(f"a prompt holds {found} image placeholders ({IMAGE}) for {len(images)} images, expected one for each")
        pieces = list(self._pieces(ids, grids))
        expanded = [token for tokens, _ in pieces for token in tokens]
        return ImagePrompt(tuple(expanded), torch.cat([positions for _, positions in pieces], dim=1), tuple(images), self)

    def _pieces(self, ids: Sequence[int], grids: Sequence[tuple[int, int]]) -> Iterator[tuple[list[int], Tensor]]:
        """Ids and positions [3, n] of each stretch of text and of each image."""
        position, left = 0, iter(grids)
        for is_image, run in groupby(ids, lambda token: token == self.image_token_id):
            tokens = list(run)
            if not is_image:
                yield tokens, torch.arange(position, position + len(tokens)).expand(3, -1)
                position += len(tokens)
                continue
            for token, (rows, columns) in zip(tokens, left, strict=False):
                axes = torch.meshgrid(torch.arange(1), torch.arange(rows), torch.arange(columns), indexing="ij")
                yield [token] * (rows * columns), torch.stack(axes).reshape(3, -1) + position
                position += max(rows, columns)

    def _grid(self, image: Image) -> tuple[int, int]:
        """Rows and columns of the image's tokens."""
        factor = self.processor.patch_size * self.processor.merge_size
        limits = self.settings["min_pixels"], self.settings["max_pixels"]
        try:
            height, width = smart_resize(image.height, image.width, factor, *limits)
        except ValueError as error:
            raise DataError(f"an image of {image.width} x {image.height} pixels ({error}); crop it, or remove the row") from None
        return height // factor, width // factor

    def inputs(self, images: Sequence[Image]) -> dict[str, Tensor]:
        read = [self._read(image) for image in images]
        return {"pixel_values": torch.cat([pixels for pixels, _ in read]), "image_grid_thw": torch.cat([grid for _, grid in read])}

    def picture(self, image: Image) -> PIL.Image.Image:
        rows, columns = self._grid(image)
        side = self.processor.patch_size * self.processor.merge_size
        return load_image(image).resize((columns * side, rows * side), self.processor.resample)

    def _read(self, image: Image) -> tuple[Tensor, Tensor]:
        """Patches [n, d] of one image and its grid [1, 3]."""
        found = self._cache.pop(image.sha256, None)
        if found is None:
            made = self.processor(images=[load_image(image)], return_tensors="pt")
            found = made["pixel_values"], made["image_grid_thw"]
            self._bytes += found[0].nbytes
        self._cache[image.sha256] = found
        while self._bytes > CACHE_BYTES and len(self._cache) > 1:
            self._bytes -= self._cache.popitem(last=False)[1][0].nbytes
        return found

    def save(self, folder: Path) -> None:
        self.processor.save_pretrained(folder)
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")


def _text_of(source: str | Path, revision: str | None, name: str) -> str | None:
    file = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return Path(file).read_text(encoding="utf-8") if file else None


def scratch_vision(tokenizer: PreTrainedTokenizerBase, vision: VisionConfig) -> Qwen3Vision:
    """The image side of a policy built from scratch."""
    assert vision.scratch is not None, "checked with the configuration"
    sizes = {"patch_size": vision.scratch.patch_size, "merge_size": vision.scratch.merge_size, "temporal_patch_size": TEMPORAL_PATCH}
    half = [0.5, 0.5, 0.5]  # as the published models scale pixels
    processor = Qwen2VLImageProcessorPil(**sizes, image_mean=half, image_std=half)
    made = Qwen3Vision(processor, tokenizer.convert_tokens_to_ids(IMAGE), {KEPT[0]: json.dumps(sizes, indent=2)})
    made.limit(vision.min_pixels, vision.max_pixels)
    return made


def random_vl_model(
    tokenizer: PreTrainedTokenizerBase, settings: ScratchConfig, vision: VisionConfig, seed: int
) -> Qwen3VLForConditionalGeneration:
    """A Qwen3-VL with random weights."""
    assert vision.scratch is not None, "checked with the configuration"
    torch.manual_seed(seed)
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    special = {name: tokenizer.convert_tokens_to_ids(token) for name, token in zip(names, SPECIAL, strict=True)}
    parts = {"text_config": _text_config(tokenizer, settings), "vision_config": _vision_config(vision, settings.hidden_size)}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(**parts, **special, tie_word_embeddings=True))


def _text_config(tokenizer: PreTrainedTokenizerBase, settings: ScratchConfig) -> dict[str, Any]:
    third = settings.head_dim // 6  # rotary frequencies for height and for width; the rest for time, the text's own axis
    sections = [settings.head_dim // 2 - 2 * third, third, third]
    return {
        "vocab_size": settings.vocab_size,
        "hidden_size": settings.hidden_size,
        "intermediate_size": settings.intermediate_size,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "num_key_value_heads": settings.key_value_heads,
        "head_dim": settings.head_dim,
        "max_position_embeddings": settings.max_positions,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections, "mrope_interleaved": True},
    }


def _vision_config(vision: VisionConfig, width: int) -> dict[str, Any]:
    scratch = vision.scratch
    assert scratch is not None, "checked with the configuration"
    return {
        "patch_size": scratch.patch_size,
        "spatial_merge_size": scratch.merge_size,
        "temporal_patch_size": TEMPORAL_PATCH,
        "hidden_size": scratch.hidden_size,
        "intermediate_size": scratch.intermediate_size,
        "depth": scratch.layers,
        "num_heads": scratch.heads,
        "out_hidden_size": width,
        "num_position_embeddings": GRID * GRID,
        "deepstack_visual_indexes": [0],
    }
