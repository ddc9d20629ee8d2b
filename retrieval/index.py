"""What every search engine offers, so that one can stand in for another."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from retrieval.filters import Filter


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """The items nearest to one query, best first; fewer than asked for where there are fewer.

    Attributes:
        ids: Of the items.
        similarities: Cosines in [-1, 1], one per item.
    """

    ids: tuple[str, ...]
    similarities: tuple[float, ...]


class Index(Protocol):
    """Finds the items nearest to a query.

    An exact engine gives the ranking of all cosines; an approximate one states its recall.
    """

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def search(
        self, queries: Float[Tensor, "q d"], k: int, *, where: Filter | None = None
    ) -> list[Matches]:
        """Return the `k` items nearest to each query, of those that pass `where`.

        Raises:
            ValueError: `k` is below one, the queries have another width than the items, or `where`
                asks a field for what it does not hold.
        """
        ...
