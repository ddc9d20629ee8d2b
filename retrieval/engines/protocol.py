"""What every search engine offers, so that one can stand in for another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int8
from torch import Tensor

from retrieval.filters.tree import Filter
from retrieval.store.schema import Item, Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """The items nearest to one query, best first; fewer than asked for where there are fewer.

    Attributes:
        ids: Of the items.
        similarities: Cosines in [-1, 1], one per item.
    """

    ids: tuple[str, ...]
    similarities: tuple[float, ...]


@runtime_checkable
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


@runtime_checkable
class Source(Protocol):
    """What is known of the items of a gallery beside their vectors."""

    @property
    def manifest(self) -> Manifest:
        """Who encoded the gallery."""
        ...

    @property
    def root(self) -> Path:
        """Folder of the pictures."""
        ...

    @property
    def has_regions(self) -> bool:
        """Whether region codes are stored."""
        ...

    @property
    def has_near(self) -> bool:
        """Whether near-duplicates are marked."""
        ...

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    @property
    def place(self) -> str:
        """Where the index is, for messages."""
        ...

    def items_of(self, ids: Sequence[str]) -> list[Item | None]:
        """Return items in the order of `ids`; None where one is gone."""
        ...

    def vectors_of(self, ids: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Return vectors in the order of `ids`; zeros where one is gone."""
        ...

    def sample(self, count: int, where: Filter | None = None) -> list[str]:
        """Return the ids of about `count` items from all over the gallery, the same every time.

        With `where`, of those that pass it: at most `count`, and all where there are no more.
        """
        ...

    def read_regions(self, ids: Sequence[str]) -> Int8[np.ndarray, "n c"]:
        """Return region codes in the order of `ids`; zeros where one is gone.

        Raises:
            GalleryError: None are stored.
        """
        ...


def check_search(queries: Float[Tensor, "q d"], k: int, dim: int) -> None:
    """Check what every engine is asked.

    Raises:
        ValueError: `k` is below one, or the queries are not `dim` wide.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1, got {k}.")
    if queries.shape[1] != dim:
        raise ValueError(f"Queries must have the gallery's width ({dim}), got {queries.shape[1]}.")


def best_matches(ids: Sequence[str], similarities: Float[Tensor, " n"], k: int) -> Matches:
    """Order candidates by similarity, equal ones by id, and keep the best `k`."""
    scores = similarities.tolist()
    order = sorted(range(len(ids)), key=lambda place: (-scores[place], ids[place]))[:k]
    return Matches(
        ids=tuple(ids[place] for place in order),
        similarities=tuple(scores[place] for place in order),
    )
