"""The processes of a run: one, or many that torchrun started (`rank` of `size`).

Every rank walks through the same steps over the same data, so all of them come to the same decisions; what costs time is split
between them (`spread`), and rank 0 alone writes (`main`, `on_main`). All of it stands on one exchange, `gather`, which for the one
process of an ordinary run is nothing: then no line of torch.distributed runs, and the code reads the same.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from npo_pipeline.errors import NumericalError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Ranks:
    """The one process of an ordinary run. Of many (npo_pipeline.distributed.group), `rank`, `size` and `gather` are others."""

    rank, size = 0, 1

    @property
    def main(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def gather(self, value: Item) -> list[Item]:
        """The value of every rank, in their order, on every rank. All must call it."""
        return [value]

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This rank's piece of `items`: consecutive ones, as many as any other has, up to one."""
        bounds = [len(items) * rank // self.size for rank in (self.rank, self.rank + 1)]
        return items[bounds[0] : bounds[1]]

    def spread(self, work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
        """`work(items)`, a result per item, each rank on its piece. A rank without a piece does not call it."""
        if self.size == 1:
            return work(items)
        own = self.share(items)
        return [result for piece in self.gather(work(own) if own else []) for result in piece]

    def total(self, value: float) -> float:
        """The sum over ranks, the same on each of them to the bit."""
        return value if self.size == 1 else sum(self.gather(value))

    def first(self, value: Item | None) -> Item | None:
        """What the first rank says that says anything."""
        return next((found for found in self.gather(value) if found is not None), None)

    def on_main(self, work: Callable[[], Item]) -> Item:
        """The result of `work`, which rank 0 alone does."""
        return self.gather(work() if self.main else None)[0]  # type: ignore[return-value]

    def same(self, value: Item, what: str) -> Item:
        """`value`, after making sure that it is the same everywhere. Raises NumericalError."""
        if len(set(self.gather(value))) > 1:
            raise NumericalError(
                f"{what}: not the same in all {self.size} processes, expected them to compute alike. "
                "Run again, it resumes; if it comes back, one of the machines computes wrongly"
            )
        return value
