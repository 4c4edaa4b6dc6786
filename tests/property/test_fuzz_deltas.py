"""Deltas of weights: there and back whatever changed; a wrong header or block is refused by name, without a memory bomb."""

import json
import math
from contextlib import ExitStack
from unittest.mock import patch

import pytest
import torch
from fuzzing import cases, damaged, damaged_bytes, read_or_refuse
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from npo_pipeline.storage.checkpoints import DELTA, Record, apply_delta
from npo_pipeline.storage.deltas import encode, encode_blocks, gather
from npo_pipeline.storage.layout import checkpoint
from npo_pipeline.storage.manifest import sha256_file
from npo_pipeline.storage.patching import PATCHERS
from npo_pipeline.storage.patching import patch as patch_weights

OLD = {"a": torch.zeros(40), "b": torch.zeros(3, 5), "c": torch.zeros(16, dtype=torch.bfloat16)}
NEW = {"a": torch.arange(40.0), "b": torch.eye(3, 5), "c": torch.ones(16, dtype=torch.bfloat16)}
TENSORS, METADATA = encode(OLD, NEW)
BLOCKS = json.loads(METADATA["blocks"])


@st.composite
def deltas(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(["bytes", "blocks", "changed", "tensors"]))
    if kind == "bytes":
        return draw(damaged_bytes(save(TENSORS, METADATA)))
    blocks, tensors = BLOCKS, dict(TENSORS)
    if kind == "changed":  # a bomb: what a block claims to hold decides how much memory is taken
        blocks = [entry | {"changed": draw(st.sampled_from([-1, 0, 1, 2**31, 10**12, 10**30, True, 1.5]))} for entry in BLOCKS]
    elif kind == "blocks":
        blocks = draw(damaged(BLOCKS))
    else:
        name = draw(st.sampled_from(sorted(tensors)))
        tensors[name] = torch.frombuffer(bytearray(draw(damaged_bytes(tensors[name].numpy().tobytes())) or b"x"), dtype=torch.uint8)
    return save(tensors, {"blocks": json.dumps(blocks)})


@cases()
@given(deltas(), st.sampled_from(sorted(PATCHERS)))
def test_deltas(tmp_path_factory: pytest.TempPathFactory, content: bytes, way: str) -> None:
    """Both ways of patching, on a CPU."""
    run = tmp_path_factory.getbasetemp() / "run"
    path = checkpoint(run, 1) / DELTA
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    entry = {"size": len(content), "sha256": sha256_file(path)}
    weights = {name: tensor.clone() for name, tensor in OLD.items()}
    with patch.dict(PATCHERS, {"cpu": PATCHERS[way]}):
        read_or_refuse(lambda: apply_delta(run, Record(1, 0, False, "float32", "", {DELTA: entry}), weights), path)


@st.composite
def changes(draw: st.DrawFn) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights before and after, of all item sizes, with nothing, little or all of them changed."""
    old, new = {}, {}
    for i in range(draw(st.integers(1, 5))):
        dtype, shape = (
            draw(st.sampled_from([torch.bfloat16, torch.float32, torch.int64, torch.uint8])),
            draw(st.lists(st.integers(0, 9), max_size=2)),
        )
        size = dtype.itemsize * math.prod(shape)
        before = draw(st.binary(min_size=size, max_size=size))
        flips = draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(1, 255)), max_size=size)) if size else []
        after = bytearray(before)
        for place, bits in flips:
            after[place] ^= bits
        for weights, content in ((old, bytearray(before)), (new, after)):
            row = torch.frombuffer(content, dtype=torch.uint8).view(dtype) if content else torch.empty(0, dtype=dtype)
            weights[f"n{i}"] = row.view(shape)
    return old, new


@pytest.mark.parametrize("way", PATCHERS)
@cases()
@given(changes(), st.integers(1, 40), st.integers(1, 9), st.integers(1, 3))
def test_a_delta_leads_there_and_back_however_work_is_cut(
    way: str, both: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]], block: int, piece: int, threads: int
) -> None:
    old, new = both
    cut = {"npo_pipeline.storage.deltas.BLOCK": block, "npo_pipeline.storage.deltas.COMPARED": piece}
    with ExitStack() as stack:
        for name, value in (cut | {"npo_pipeline.storage.patching.FLIPPED": piece}).items():
            stack.enter_context(patch(name, value))
        stack.enter_context(patch.dict(PATCHERS, {"cpu": PATCHERS[way]}))
        tensors, metadata = gather(encode_blocks(old, new, threads))
        weights = {name: tensor.clone() for name, tensor in old.items()}
        for expected in (new, old):
            patch_weights(weights, tensors, metadata)
            for name, tensor in weights.items():
                assert torch.equal(tensor.view(-1).view(torch.uint8), expected[name].view(-1).view(torch.uint8)), name
