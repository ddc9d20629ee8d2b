"""Protocols of search engines and of sources of items."""

from collections.abc import Callable, Sequence
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
    """The items nearest to one query, best first; fewer than `k` in a small gallery.

    Attributes:
        ids: Of the items.
        similarities: Cosines in [-1, 1], one per item.
    """

    ids: tuple[str, ...]
    similarities: tuple[float, ...]


@runtime_checkable
class Index(Protocol):
    """Search engine for the items nearest to a query.

    An exact engine ranks by all cosines; an approximate one states its recall.
    """

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def search(
        self, queries: Float[Tensor, "q d"], k: int, *, where: Filter | None = None
    ) -> list[Matches]:
        """Return the `k` items nearest to each query, among those that match `where`.

        Raises:
            ValueError: `k` is below one, the queries have another width than the items, or `where`
                compares a field with an unsuitable value.
        """
        ...


@runtime_checkable
class Scan(Protocol):
    """Search engine that can score all of its items by several vectors at once."""

    def scan(
        self,
        vectors: Float[Tensor, "s d"],
        fuse: Callable[[Float[Tensor, "s n"]], Float[Tensor, " n"]],
        k: int,
        *,
        where: Filter | None = None,
    ) -> Matches:
        """Return the `k` items with the best scores, among those that match `where`.

        Args:
            vectors: Compared with every item.
            fuse: Makes the score of each item of its products with the vectors.
            k: Number of items.
            where: As in `Index.search`.

        Raises:
            ValueError: As `Index.search` does.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """Source of the items of a gallery: fields, vectors and region codes."""

    @property
    def manifest(self) -> Manifest:
        """Manifest of the gallery."""
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
    def location(self) -> str:
        """Location of the index, for messages."""
        ...

    def items_of(self, ids: Sequence[str]) -> list[Item | None]:
        """Return items in the order of `ids`; None where there is none."""
        ...

    def vectors_of(self, ids: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Return vectors in the order of `ids`; zeros for a missing item."""
        ...

    def sample(self, count: int, where: Filter | None = None) -> list[str]:
        """Return the ids of about `count` items: a deterministic random sample.

        With `where`, at most `count` of the matching items, and all if there are no more.
        """
        ...

    def read_regions(self, ids: Sequence[str]) -> Int8[np.ndarray, "n c"]:
        """Return region codes in the order of `ids`; zeros for a missing item.

        Raises:
            GalleryError: No region codes are stored.
        """
        ...


def check_search(queries: Float[Tensor, "q d"], k: int, dim: int) -> None:
    """Check the arguments of a search.

    Raises:
        ValueError: `k` is below one, or the queries are not `dim` wide.
    """
    if k < 1:
        raise ValueError(f"`k` must be at least 1, got {k}.")
    if queries.shape[1] != dim:
        raise ValueError(f"Queries must have the gallery's width ({dim}), got {queries.shape[1]}.")


def best_matches(ids: Sequence[str], similarities: Float[Tensor, " n"], k: int) -> Matches:
    """Order candidates by similarity, then by id, and keep the best `k`."""
    scores = similarities.tolist()
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))[:k]
    return Matches(
        ids=tuple(ids[row] for row in order),
        similarities=tuple(scores[row] for row in order),
    )
