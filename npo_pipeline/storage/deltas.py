"""The lossless difference of two sets of weights: where they differ, and the XOR of their bits there, compressed.

One step at a small learning rate changes few bfloat16 weights (0.4% of SmolLM2's at 1e-6), so only positions and XORs of those
are kept. XOR undoes itself: one delta leads from the older weights to the newer and back, in place, touching only what differs.

Tensors are taken in the order of their names, in blocks of one item size. A block is two uint8 tensors, `<i>.gaps` (distances
between changed elements) and `<i>.bits` (their XORs), as zstd of their byte planes: all lowest bytes first, and so on, since the
high ones are nearly all zero. The names and sizes of a block are in the file's metadata. Patching: npo_pipeline.storage.patching.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
Row = np.ndarray[Any, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")

BLOCK = 1 << 26  # elements, or one larger tensor: bounds the memory that encoding and decoding take
COMPARED = 1 << 17  # elements at once: they stay in a processor's cache
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
ZSTD = pa.Codec("zstd", compression_level=3)


@dataclass(frozen=True)
class Block:
    """Consecutive tensors, all of one item size in bytes; `changed` elements differ."""

    names: list[str]
    sizes: list[int]  # elements
    itemsize: int
    changed: int = 0


@dataclass(frozen=True)
class Encoded:
    """A block as it is written."""

    block: Block
    gaps: Tensor
    bits: Tensor

    @property
    def nbytes(self) -> int:
        return self.gaps.nbytes + self.bits.nbytes


def encode(old: Weights, new: Weights) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Both sets are on the CPU, with equal names, shapes and dtypes."""
    return gather(encode_blocks(old, new))


def gather(encoded: Iterable[Encoded]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of the file that holds these blocks."""
    blocks = list(encoded)
    tensors = {f"{i}.{kind}": tensor for i, found in enumerate(blocks) for kind, tensor in (("gaps", found.gaps), ("bits", found.bits))}
    return tensors, {"blocks": json.dumps([asdict(found.block) for found in blocks])}


def encode_blocks(old: Weights, new: Weights, threads: int = 1) -> Iterator[Encoded]:
    """Block after block, in the file's order, `threads` of them at a time."""
    yield from in_turn(lambda block: _encode(block, old, new), _blocks(new), threads)


def _encode(block: Block, old: Weights, new: Weights) -> Encoded:
    positions, bits = _differences((flat_bits(old[name]).numpy(), flat_bits(new[name]).numpy()) for name in block.names)
    gaps = np.diff(positions, prepend=-1).astype(np.int32)
    return Encoded(replace(block, changed=len(positions)), _compress(gaps), _compress(bits))


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


def _differences(pairs: Iterable[tuple[Row, Row]]) -> tuple[Row, Row]:
    """Positions in the concatenation of all pairs where they differ, and the XORs there."""
    positions, bits, offset = [], [], 0
    for old, new in pairs:
        for start in range(0, max(1, len(new)), COMPARED):  # once also where there is nothing, for its dtype
            before, after = old[start : start + COMPARED], new[start : start + COMPARED]
            found = np.flatnonzero(before != after)
            positions.append(found + (offset + start))
            bits.append(before[found] ^ after[found])
        offset += len(new)
    return np.concatenate(positions), np.concatenate(bits)


def in_turn(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`work` of each item, in their order; at most `threads` are under way or wait to be taken. One is this thread."""
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            if len(waiting) == threads:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()


def flat_bits(tensor: Tensor) -> Tensor:
    """The same memory as a flat row of integers."""
    return tensor.detach().view(-1).view(INTEGERS[tensor.element_size()])


def _compress(values: Row) -> Tensor:
    planes = np.ascontiguousarray(values.view(np.uint8).reshape(-1, values.itemsize).T)
    return torch.frombuffer(bytearray(ZSTD.compress(planes, asbytes=True)), dtype=torch.uint8)
