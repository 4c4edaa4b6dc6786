"""Deltas of weights whose header or blocks are wrong, though their sha256 fits: applied, or refused by name, without a memory bomb."""

import json

import pytest
import torch
from fuzzing import cases, damaged, damaged_bytes, read_or_refuse
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from npo_pipeline.storage.checkpoints import DELTA, Record, apply_delta
from npo_pipeline.storage.deltas import encode
from npo_pipeline.storage.layout import checkpoint
from npo_pipeline.storage.manifest import sha256_file

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
@given(deltas())
def test_deltas(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    run = tmp_path_factory.getbasetemp() / "run"
    path = checkpoint(run, 1) / DELTA
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    entry = {"size": len(content), "sha256": sha256_file(path)}
    weights = {name: tensor.clone() for name, tensor in OLD.items()}
    read_or_refuse(lambda: apply_delta(run, Record(1, 0, False, "float32", "", {DELTA: entry}), weights), path)
