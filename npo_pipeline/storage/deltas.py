"""The lossless difference of two sets of weights: where they differ, and the XOR of their bits there, compressed.

One step at a small learning rate changes few bfloat16 weights (0.4% of SmolLM2's at 1e-6), so only positions and XORs of those
are kept. XOR undoes itself: one delta leads from the older weights to the newer and back, in place, touching only what differs.

Tensors are taken in the order of their names, in blocks of one item size. A block is two uint8 tensors, `<i>.gaps` (distances
between changed elements) and `<i>.bits` (their XORs), as zstd of their byte planes: all lowest bytes first, and so on, since the
high ones are nearly all zero. The names and sizes of a block are in the file's metadata.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

Weights = Mapping[str, Tensor]

BLOCK = 1 << 26  # elements, or one larger tensor: bounds the memory that encoding and decoding take
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
ZSTD = pa.Codec("zstd", compression_level=3)


@dataclass(frozen=True)
class Block:
    """Consecutive tensors, all of one item size in bytes; `changed` elements differ."""

    names: list[str]
    sizes: list[int]  # elements
    itemsize: int
    changed: int = 0


def encode(old: Weights, new: Weights) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Both sets are on the CPU, with equal names, shapes and dtypes."""
    tensors: dict[str, Tensor] = {}
    blocks = []
    for i, block in enumerate(_blocks(new)):
        positions, bits = _differences([(_bits(old[name]), _bits(new[name])) for name in block.names])
        gaps = np.diff(positions, prepend=-1).astype(np.int32)
        tensors |= {f"{i}.gaps": _compress(gaps), f"{i}.bits": _compress(bits)}
        blocks.append(asdict(block) | {"changed": len(positions)})
    return tensors, {"blocks": json.dumps(blocks)}


@torch.no_grad()
def patch(weights: Weights, tensors: Weights, metadata: Mapping[str, str]) -> None:
    """Lead `weights`, in place and wherever they are, over the delta. Raises KeyError, TypeError or ValueError for one of other weights."""
    for i, block in enumerate(Block(**entry) for entry in json.loads(metadata["blocks"])):
        _check_fits(block, weights)
        ends = np.cumsum(block.sizes)
        gaps = _decompress(tensors[f"{i}.gaps"], block.changed, 4).view(np.int32)
        bits = _decompress(tensors[f"{i}.bits"], block.changed, block.itemsize).view(f"i{block.itemsize}".replace("i1", "u1"))
        positions = np.cumsum(gaps, dtype=np.int64) - 1
        if len(gaps) and (gaps.min() < 1 or positions[-1] >= ends[-1]):
            raise ValueError(f"block {i} names elements that are not there")
        cuts = [0, *np.searchsorted(positions, ends)]
        for j, name in enumerate(block.names):
            part = slice(cuts[j], cuts[j + 1])
            _flip(_bits(weights[name]), positions[part] - (ends[j] - block.sizes[j]), bits[part])


def _check_fits(block: Block, weights: Weights) -> None:
    """Before any memory is taken for what the block says it holds. Raises KeyError, TypeError or ValueError."""
    for name, size in zip(block.names, block.sizes, strict=True):
        if type(size) is not int or (weights[name].numel(), weights[name].element_size()) != (size, block.itemsize):
            raise ValueError(f"{name}: {weights[name].numel()} elements, {size} in the delta")
    if not block.names or not 0 <= block.changed <= sum(block.sizes):
        raise ValueError(f"{block.changed} changes among {sum(block.sizes)} elements")


def _blocks(weights: Weights) -> Iterator[Block]:
    """Cut the sorted names into blocks."""
    block = Block([], [], 0)
    for name in sorted(weights):
        size, itemsize = weights[name].numel(), weights[name].element_size()
        if block.names and (itemsize != block.itemsize or sum(block.sizes) + size > BLOCK):
            yield block
            block = Block([], [], itemsize)
        block = Block([*block.names, name], [*block.sizes, size], itemsize)
    if block.names:
        yield block


def _differences(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Positions in the concatenation of all pairs where they differ, and the XORs there."""
    positions, bits, offset = [], [], 0
    for old, new in pairs:
        found = (old != new).nonzero().squeeze(1)
        positions.append(found.numpy() + offset)
        bits.append((old[found] ^ new[found]).numpy())
        offset += len(new)
    return np.concatenate(positions), np.concatenate(bits)


def _flip(flat: Tensor, positions: np.ndarray[Any, Any], bits: np.ndarray[Any, Any]) -> None:
    if flat.device.type == "cpu":
        row = flat.numpy()  # the same memory; numpy takes half the time of torch here
        row[positions] ^= bits
    elif len(positions):
        where, what = torch.from_numpy(positions).to(flat.device), torch.from_numpy(bits).to(flat.device)
        flat[where] = flat[where] ^ what


def _bits(tensor: Tensor) -> Tensor:
    """The same memory as a flat row of integers."""
    return tensor.detach().view(-1).view(INTEGERS[tensor.element_size()])


def _compress(values: np.ndarray[Any, Any]) -> Tensor:
    planes = np.ascontiguousarray(values.view(np.uint8).reshape(-1, values.itemsize).T)
    return torch.frombuffer(bytearray(ZSTD.compress(planes.tobytes(), asbytes=True)), dtype=torch.uint8)


def _decompress(blob: Tensor, count: int, itemsize: int) -> np.ndarray[Any, Any]:
    """The bytes of `count` values. Raises ValueError if the blob does not hold as many."""
    planes = np.frombuffer(ZSTD.decompress(blob.numpy(), count * itemsize), np.uint8).reshape(itemsize, count)
    values = np.empty((count, itemsize), np.uint8)
    for i, plane in enumerate(planes):
        values[:, i] = plane
    return values.reshape(-1)
