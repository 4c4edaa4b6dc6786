"""A policy's name: told apart by every bit and every place, and the same wherever the same weights are."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_policy
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.policy import identity as identity_module
from npo_pipeline.policy.identity import HASHERS, ROW, identity, row_hashes
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import Policy, as_policy, load_policy, save_policy

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


def name_of(**weights: Tensor) -> str:
    """Of a policy with these weights and nothing else."""
    model = nn.Module()
    for name, tensor in weights.items():
        model.register_buffer(name, tensor)
    return identity(Policy(model, None, (0,), 0))  # type: ignore[arg-type]


def by_definition(tensor: Tensor) -> list[int]:
    """The rows' hashes modulo 2^64, word by word in Python's whole numbers."""
    content = tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    whole = len(content) // 8 * 8
    signed = [int.from_bytes(content[i : i + 8], "little", signed=True) for i in range(0, whole, 8)]
    rows = [signed[i : i + ROW] for i in range(0, len(signed), ROW)]
    rows += [[int.from_bytes(content[whole:], "little")]] if content[whole:] else []
    digits = hashlib.shake_128(b"the identity of a policy").digest(16 * ROW)
    keys = [int.from_bytes(digits[i : i + 8], "little") | 1 for i in range(0, 16 * ROW, 8)]
    return [sum(word * keys[i] + (word >> 32) * keys[ROW + i] for i, word in enumerate(row)) % 2**64 for row in rows]


@pytest.mark.parametrize("device", HASHERS)
@pytest.mark.parametrize("elements", [0, 1, 3, 4, 1021, 4 * ROW, 4 * ROW + 1, 13 * ROW + 6])
def test_a_row_has_the_hash_that_its_definition_says(elements: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the code for either device, on a CPU."""
    monkeypatch.setitem(HASHERS, "cpu", HASHERS[device])
    monkeypatch.setattr(identity_module, "ROWS", 2)
    tensor = torch.randn(elements, generator=torch.Generator().manual_seed(elements)).bfloat16()
    found = [value % 2**64 for piece in row_hashes(tensor) for value in piece.tolist()]
    assert found == by_definition(tensor)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.lists(st.integers(1, 7), max_size=3))
    size = dtype.itemsize * int(np.prod(shape, dtype=int))
    content = draw(st.binary(min_size=size, max_size=size))
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).view(dtype).view(shape)


@settings(max_examples=200, deadline=None)
@given(tensors(), st.data())
def test_every_bit_counts(tensor: Tensor, data: st.DataObject) -> None:
    other = tensor.clone()
    content = other.view(-1).view(torch.uint8)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert name_of(a=tensor) != name_of(a=other)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([torch.float32, torch.bfloat16]), st.integers(2, 3 * ROW), st.data())
def test_an_exchange_of_two_elements_is_seen(dtype: torch.dtype, size: int, data: st.DataObject) -> None:
    """What an XOR or a sum of all elements does not see, above all where but the highest or the lowest bit differs."""
    i, j = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    pattern = data.draw(st.sampled_from([1, 1 << (8 * dtype.itemsize - 1), 3, 0x3F80]))
    row = torch.zeros(size, dtype=dtype)
    bits = row.view(torch.uint8).view(-1, dtype.itemsize)
    bits[i] = torch.tensor(list(pattern.to_bytes(dtype.itemsize, "little")), dtype=torch.uint8)
    swapped = row.clone()
    swapped[[i, j]] = row[[j, i]]
    assert name_of(a=row) != name_of(a=swapped)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.float32, torch.bfloat16]))
def test_small_changes_do_not_cancel(seed: int, dtype: torch.dtype) -> None:
    """As training makes them: some elements one step of the dtype up, as many one down."""
    generator = np.random.default_rng(seed)
    row = torch.from_numpy(generator.normal(size=5000)).to(dtype)
    moved = row.clone()
    bits = moved.view({2: torch.int16, 4: torch.int32}[dtype.itemsize])
    places = generator.permutation(5000)[: 2 * generator.integers(1, 50)]
    bits[places[::2]] += 1
    bits[places[1::2]] -= 1
    assert name_of(a=row) != name_of(a=moved)


def test_names_shapes_and_dtypes_count() -> None:
    row = torch.arange(8, dtype=torch.float32)
    others = [{"b": row}, {"a": row.view(2, 4)}, {"a": row.view(torch.int32)}, {"a": row, "b": row[:0]}, {"a": row[:7]}]
    assert len({name_of(a=row), *(name_of(**weights) for weights in others)}) == 6


@pytest.mark.parametrize("device", HASHERS)
def test_layout_in_memory_does_not_count(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HASHERS, "cpu", HASHERS[device])
    table = torch.randn(6, 5).bfloat16()
    expected = name_of(a=table)
    assert name_of(a=table.T.contiguous().T) == expected
    for offset in (1, 3, 4):
        longer = torch.zeros(40, dtype=torch.bfloat16)
        longer[offset : offset + 30] = table.view(-1)
        assert name_of(a=longer[offset : offset + 30].view(6, 5)) == expected
    assert name_of(a=table, b=table) == name_of(a=table, b=table.clone())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_and_loaded_policy_has_the_same_name(tmp_path: Path, dtype: str, tied: bool) -> None:
    tiny = tiny_policy()
    tiny.model.config.tie_word_embeddings = tied
    policy = as_policy(AutoModelForCausalLM.from_config(tiny.model.config, dtype=dtype), tiny.tokenizer)
    save_policy(policy, tmp_path / "policy")
    assert identity(load_policy(tmp_path / "policy", dtype)) == identity(policy)
    other = "bfloat16" if dtype == "float32" else "float32"
    assert identity(load_policy(tmp_path / "policy", other)) != identity(policy)


def test_the_frozen_base_of_an_adapter_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_policy(tiny_policy(), tmp_path / "base")
    policy = load_policy(tmp_path / "base", "float32")
    add_lora(policy.model, LoraConfig(2, 4.0), tmp_path / "base", 0)
    read: list[tuple[int, ...]] = []
    monkeypatch.setattr(identity_module, "row_hashes", lambda tensor: read.append(tuple(tensor.shape)) or row_hashes(tensor))
    names = [identity(policy)]
    adapters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    assert len(read) == len(list(policy.model.parameters()))
    for parameter in adapters:
        read.clear()
        parameter.data.view(-1)[0] += 1e-6
        names.append(identity(policy))
        assert len(read) == len(adapters)
    assert len(set(names)) == len(names)
    policy.frozen_hashes.clear()
    assert identity(policy) == names[-1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: the same weights on two devices")
def test_a_gpu_gives_the_same_name() -> None:
    weights = {"a": torch.randn(300 * ROW + 17).bfloat16(), "b": torch.randn(7)}
    assert name_of(**weights) == name_of(**{name: tensor.cuda() for name, tensor in weights.items()})
