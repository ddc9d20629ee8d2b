"""Near-duplicates: re-saved, resized or slightly cropped copies, marked by what they look like."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from retrieval.store.columns import IdsAndVectors
from retrieval.store.table import Store

# Of the 719,400 pairs of different pictures in the shipped gallery, the mini kit's features of the
# most alike have a cosine of 0.9914. Of a copy: saved as JPEG of quality 40, at least 0.9948; at
# half or twice the size, 0.9999; at 5 % more brightness, 0.992 (1 in 20 below 0.995); cropped by
# 2 %, 0.984 (1 in 20 below 0.991). A crop of 5 % (median 0.9916) is a picture of its own.
NEAR = 0.994
NONE = np.iinfo(np.int64).max
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 1024, 8192
EXACT_PAIRS = 4_000_000_000  # beyond so many, only neighbours of the same pivots are compared
ROWS_PER_PIVOT = 4096
PIVOTS_OF_A_ROW = 2


def mark_near_duplicates(store: Store, *, threshold: float = NEAR) -> int:
    """Mark pictures that nobody has looked at with the first of their group.

    A picture belongs to the group of the first one that it is near to; the first by path of those
    that came together. Where the first of a group is gone, its others are looked at again. Beyond
    some sixty thousand pictures at once, those near to the same of many pivots are compared.

    Returns:
        The number of pictures that are near to another.

    Raises:
        GalleryError: The index cannot be read or written.
    """
    if not store.has_near:
        return 0
    items = store.items(("id", "path", "near"))
    there = {item.id for item in items}
    unseen = set(store.ids_where_sql("near IS NULL").astype(str).tolist())
    unseen |= {item.id for item in items if item.near and item.near not in there}
    items.sort(key=lambda item: item.id in unseen)  # stable: by path within both parts
    num_marked = sum(item.id not in unseen for item in items)
    near = [item.near for item in items]
    if num_marked < len(items):
        ids = np.array([item.id for item in items], "S32")
        gallery = _Gallery(store.ids_and_vectors(), ids)
        first = gallery.first_alike(num_marked, threshold)
        for place in range(num_marked, len(items)):
            before = int(first[place])
            near[place] = "" if before == NONE else near[before] or items[before].id
        store.mark_near([item.id for item in items[num_marked:]], near[num_marked:])
    return sum(bool(one) for one in near)


class _Gallery:
    """The vectors of items in an order of their own, gathered where they are needed."""

    def __init__(self, found: IdsAndVectors, ids: Shaped[np.ndarray, " n"]) -> None:
        self._vectors = found.vectors
        # An item that has gone since stands for its neighbour; marking it does nothing.
        self._rows = np.searchsorted(found.ids, ids).clip(max=max(0, len(found.ids) - 1))

    def first_alike(self, num_marked: int, threshold: float) -> Int[np.ndarray, " n"]:
        """Return for each place from `num_marked` on the first one before it that is alike."""
        count = len(self._rows)
        first = np.full(count, NONE)
        groups = [np.arange(count)]
        if (count - num_marked) * count > EXACT_PAIRS:
            groups = self._groups()
        for places in groups:
            self._compare(places, num_marked, threshold, first)
        return first

    def _gather(self, places: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k d"]:
        return self._vectors[self._rows[places]].astype(np.float32)

    def _compare(
        self,
        places: Int[np.ndarray, " k"],
        num_marked: int,
        threshold: float,
        first: Int[np.ndarray, " n"],
    ) -> None:
        """Lower `first` to what is found among some places, in ascending order."""
        for start in range(int(np.searchsorted(places, num_marked)), len(places), ROWS_AT_ONCE):
            rows = places[start : start + ROWS_AT_ONCE]
            matrix = self._gather(rows)
            for begin in range(0, start + len(rows), COLUMNS_AT_ONCE):
                columns = places[begin : min(begin + COLUMNS_AT_ONCE, start + len(rows))]
                alike = matrix @ self._gather(columns).T >= threshold
                alike &= columns < rows[:, None]
                earliest = np.where(alike.any(1), columns[alike.argmax(1)], NONE)
                first[rows] = np.minimum(first[rows], earliest)

    def _groups(self) -> list[Int[np.ndarray, " k"]]:
        """Return the places near to each of many pivots; every place is in two groups."""
        count = len(self._rows)
        rng = np.random.default_rng(0)
        num_pivots = max(PIVOTS_OF_A_ROW, count // ROWS_PER_PIVOT)
        pivots = self._gather(rng.choice(count, num_pivots, replace=False)).T
        own = np.empty((count, PIVOTS_OF_A_ROW), np.int32)
        for start in range(0, count, COLUMNS_AT_ONCE):
            rows = np.arange(start, min(start + COLUMNS_AT_ONCE, count))
            alike = self._gather(rows) @ pivots
            own[rows] = np.argpartition(-alike, PIVOTS_OF_A_ROW - 1)[:, :PIVOTS_OF_A_ROW]
        order = own.ravel().argsort(kind="stable")
        ends = np.bincount(own.ravel(), minlength=num_pivots).cumsum()[:-1]
        return np.split(order // PIVOTS_OF_A_ROW, ends)
