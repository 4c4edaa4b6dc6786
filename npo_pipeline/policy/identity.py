"""The name of a policy: 64 hex digits, the same for the same weights whatever file, device or process they are in.

It is made where the weights are: they are read once, in place, and 8 bytes per 256 KiB of them come back. The sha256 of these, with
the names, dtypes and shapes, is the policy's name.

A row of 64-bit words w_i has the hash sum_i (w_i K_i + (w_i >> 32) L_i) mod 2^64: multilinear hashing (Lemire and Kaser 2014, "Strongly
universal string hashing is fast", section 3), with keys of their own for upper halves, whose product with K_i keeps few bits. All keys are
odd, so one bit is always seen; they differ by position, so an exchange is seen, which an XOR of all words (torch.hash_tensor) is blind
to. It finds what changed, not who tries to deceive: files on the disk have a sha256.
"""

import hashlib
from collections.abc import Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

from npo_pipeline.policy.lora import has_lora
from npo_pipeline.policy.policy import Policy

ROW = 1 << 15  # words of 8 bytes
ROWS = 128  # at once on a GPU, with 64 MiB for their products


def identity(policy: Policy) -> str:
    """The policy's name. An adapter's frozen base is read once, and its hashes are kept with the policy."""
    weights = policy.model.state_dict()
    hashes = policy.frozen_hashes | _hashes({name: tensor for name, tensor in weights.items() if name not in policy.frozen_hashes})
    if has_lora(policy.model):
        frozen = {name for name, parameter in policy.model.named_parameters(remove_duplicate=False) if not parameter.requires_grad}
        policy.frozen_hashes = {name: hashes[name] for name in frozen}
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode() + hashes[name])
    return digest.hexdigest()


def weights_sha256(policy: Policy) -> str:
    """sha256 over names and bytes of all weights, read back to the CPU: the name that a policy had before (records of schema 1)."""
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _hashes(weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Of each tensor's rows, by name, in one transfer. A memory of two names, as a tied head's, is read once."""
    places = {name: (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) for name, tensor in weights.items()}
    first = {place: name for name, place in places.items()}
    hashes = [row_hashes(weights[name]) for name in first.values()]
    pieces = [piece for found in hashes for piece in found]
    table = torch.cat(pieces).cpu() if pieces else torch.empty(0, dtype=torch.int64)
    by_place = dict(zip(first, table.split([sum(piece.numel() for piece in found) for found in hashes]), strict=True))
    return {name: by_place[place].numpy().tobytes() for name, place in places.items()}


@torch.no_grad()
def row_hashes(tensor: Tensor) -> list[Tensor]:
    """A hash (int64) of each 256 KiB of a tensor's bytes, on its device and in pieces; the last row may be shorter.

    Bytes that fill no word are a row apart, with zeros behind them.
    """
    return HASHERS[tensor.device.type](tensor.detach().contiguous().view(-1).view(torch.uint8))


def _hash_here(content: Tensor) -> list[Tensor]:
    """Row by row, which a CPU's cache holds. numpy takes half the time of torch here."""
    found, (lower, upper) = content.numpy(), _keys(content.device).numpy()
    whole = found.size // 8 * 8
    rest = np.frombuffer(found[whole:].tobytes().ljust(8, b"\0") if whole < found.size else b"", np.int64)
    rows = [words[i : i + ROW] for words in (found[:whole].view(np.int64), rest) for i in range(0, words.size, ROW)]
    hashes = [int(np.dot(row, lower[: row.size])) + int(np.dot(row >> 32, upper[: row.size])) for row in rows]
    return [torch.from_numpy(np.array([value % 2**64 for value in hashes], np.uint64).view(np.int64))]


def _hash_there(content: Tensor) -> list[Tensor]:
    """Many rows at once, as a GPU wants it."""
    keys = _keys(content.device)
    if content.storage_offset() % 8:
        content = content.clone()
    whole = content.numel() // 8 * 8
    words, rest = content[:whole].view(torch.int64), content[whole:]
    full = words.numel() // ROW * ROW
    pieces = list(words[:full].view(-1, ROW).split(ROWS)) if full else []
    pieces += [words[None, full:]] if full < words.numel() else []
    pieces += [torch.nn.functional.pad(rest, (0, 8 - rest.numel())).view(torch.int64)[None]] if rest.numel() else []
    return [_products(piece, *keys[:, : piece.shape[1]]) for piece in pieces]


def _products(words: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Of rows of words [rows, words of a row] the hashes [rows]. There are no matrix products of whole numbers on a GPU."""
    return (words * lower).addcmul_(words >> 32, upper).sum(1)


@cache
def _keys(device: torch.device) -> Tensor:
    """[2, ROW] (int64), random and odd, the same everywhere and for ever: for lower halves and for upper ones."""
    digits = hashlib.shake_128(b"the identity of a policy").digest(2 * ROW * 8)
    return torch.from_numpy(np.frombuffer(digits, "<i8").reshape(2, ROW) | 1).to(device)


HASHERS = {"cpu": _hash_here, "cuda": _hash_there}
