"""Weights led over a delta (npo_pipeline.storage.deltas), in place, on the CPU or where else they are.

Each block is decompressed and put in by a thread: zstd, numpy and torch let the others run meanwhile. On a CPU changes are put in in
pieces that its cache holds. To a GPU go the byte planes as they are, one transfer per block; what they mean is made out there, and
the only wait is for where in the block its tensors begin.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from npo_pipeline.storage.deltas import INTEGERS, ZSTD, Block, Row, Weights, flat_bits, in_turn

FLIPPED = 1 << 13  # elements at once, on a CPU
THREADS = 4  # that work on a block each


def patch(weights: Weights, tensors: Weights, metadata: Mapping[str, str]) -> None:
    """Lead `weights`, in place and wherever they are, over the delta. Raises KeyError, TypeError or ValueError for one of other weights."""
    blocks = [Block(**entry) for entry in json.loads(metadata["blocks"])]
    for block in blocks:
        _check_fits(block, weights)
    rows = [[flat_bits(weights[name]) for name in block.names] for block in blocks]
    coded = [(tensors[f"{i}.gaps"], tensors[f"{i}.bits"]) for i in range(len(blocks))]
    wait_for_device(weights)  # threads have streams of their own
    threads = min(THREADS, max(1, len(blocks)))
    for _ in in_turn(lambda work: _patch_block(*work), zip(blocks, coded, rows, strict=True), threads):
        pass
    wait_for_device(weights)


def wait_for_device(weights: Weights) -> None:
    """Until a GPU has done all that it was asked for."""
    if any(tensor.is_cuda for tensor in weights.values()):
        torch.cuda.synchronize()


def _patch_block(block: Block, coded: tuple[Tensor, Tensor], rows: Sequence[Tensor]) -> None:
    if block.changed:
        gaps, bits = (_planes(blob, width, block.changed) for blob, width in zip(coded, (4, block.itemsize), strict=True))
        PATCHERS[rows[0].device.type](rows, gaps, bits)


def _check_fits(block: Block, weights: Weights) -> None:
    """Before any memory is taken for what the block says it holds. Raises KeyError, TypeError or ValueError."""
    for name, size in zip(block.names, block.sizes, strict=True):
        if type(size) is not int or (weights[name].numel(), weights[name].element_size()) != (size, block.itemsize):
            raise ValueError(f"{name}: {weights[name].numel()} elements, {size} in the delta")
    if not block.names or not 0 <= block.changed <= sum(block.sizes):
        raise ValueError(f"{block.changed} changes among {sum(block.sizes)} elements")


def _check_places(smallest_gap: int, last: int, size: int) -> None:
    if smallest_gap < 1 or last >= size:
        raise ValueError(f"names elements that are not there: a distance of {smallest_gap}, and the last is {last} of {size}")


def _planes(blob: Tensor, width: int, count: int) -> Row:
    """Byte planes [bytes of a value, values]. Raises ValueError if the blob does not hold as many."""
    return np.frombuffer(ZSTD.decompress(blob.numpy(), width * count), np.uint8).reshape(width, count)


def _patch_here(rows: Sequence[Tensor], gap_planes: Row, bit_planes: Row) -> None:
    """On a CPU. numpy takes a fraction of the time of torch here."""
    positions, bits = _joined(gap_planes).view(np.int32).astype(np.int64), _joined(bit_planes).view(f"u{len(bit_planes)}")
    smallest, ends = positions.min(), np.cumsum([len(row) for row in rows])
    np.cumsum(positions, out=positions)
    positions -= 1
    _check_places(smallest, positions[-1], ends[-1])
    cuts = [0, *np.searchsorted(positions, ends)]
    for row, end, start, stop in zip(rows, ends, cuts, cuts[1:], strict=False):
        flat, first = row.numpy().view(bits.dtype), end - len(row)
        for i in range(start, stop, FLIPPED):
            piece = slice(i, min(i + FLIPPED, stop))
            flat[positions[piece] - first] ^= bits[piece]


def _joined(planes: Row) -> Row:
    """The values' bytes in their order; plane by plane, since most processors are slow at a transposition of bytes."""
    values = np.empty(planes.shape[::-1], np.uint8)
    for i, plane in enumerate(planes):
        values[:, i] = plane
    return values.reshape(-1)


def _patch_there(rows: Sequence[Tensor], gap_planes: Row, bit_planes: Row) -> None:
    """On a GPU."""
    itemsize, device = len(bit_planes), rows[0].device
    planes = torch.from_numpy(np.concatenate([gap_planes, bit_planes])).to(device)
    gaps, bits = _joined_there(planes[:4], torch.int32), _joined_there(planes[4:], INTEGERS[itemsize])
    positions = gaps.cumsum(0) - 1
    ends = np.cumsum([len(row) for row in rows])
    cuts = torch.searchsorted(positions, torch.from_numpy(ends).to(device))
    smallest, last, *stops = torch.cat([gaps.min()[None].long(), positions[-1:], cuts]).tolist()
    _check_places(smallest, last, ends[-1])
    for row, end, start, stop in zip(rows, ends, [0, *stops], stops, strict=False):
        where = positions[start:stop] - (int(end) - len(row))
        row[where] = row[where] ^ bits[start:stop]


def _joined_there(planes: Tensor, dtype: torch.dtype) -> Tensor:
    return planes.t().clone(memory_format=torch.contiguous_format).view(-1).view(dtype)


PATCHERS = {"cpu": _patch_here, "cuda": _patch_there}
