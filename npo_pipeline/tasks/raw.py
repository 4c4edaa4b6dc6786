"""A problem as its source gives it, before a tokenizer has seen it."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SourceImage:
    """An image where its source has it: a file, or bytes out of a table. Equal ones have the same bytes."""

    sha256: str
    where: Path | bytes = field(compare=False, repr=False)

    @classmethod
    def of(cls, where: Path | bytes) -> "SourceImage":
        content = where if isinstance(where, bytes) else where.read_bytes()
        return cls(hashlib.sha256(content).hexdigest(), where)

    @property
    def name(self) -> str:
        return "in the table" if isinstance(self.where, bytes) else str(self.where)

    def read(self) -> bytes:
        return self.where if isinstance(self.where, bytes) else self.where.read_bytes()


@dataclass(frozen=True)
class RawProblem:
    """A question with a verifiable answer, not yet rendered as a prompt.

    Example: `RawProblem("train-000007", "train", "5 - 3 + 4 =", "6", "3", {"dataset": "chain_sum", "index": 263, ...})`.
    """

    problem_id: str  # `<split>-<number>`: train-000007, eval-000003, cold-000000
    split: str  # "train", "eval", or "cold" (the cold start's demonstrations)
    question: str
    answer: str  # the reference answer; of a "cold" problem: the response to imitate, in which the extractor finds that answer
    difficulty: str  # a label to group results by; "all" where the task has none
    metadata: dict[str, Any] = field(default_factory=dict)  # JSON: what the verifier needs beside the answer
    images: tuple[SourceImage, ...] = ()
