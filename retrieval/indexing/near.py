"""Near-duplicates: re-saved, resized or slightly cropped copies, by the cosine of features."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from retrieval.indexing.pixels import PixelComparison
from retrieval.store.columns import IdsAndVectors
from retrieval.store.table import Store

# Cosines of the mini kit's features: of the 719,400 pairs of different pictures in the shipped
# gallery, at most 0.9914. Of a picture and a copy saved as JPEG of quality 40, at least 0.9948; at
# half or twice the size, 0.9999; 5 % brighter, at least 0.992 (1 in 20 below 0.995); cropped by
# 2 %, at least 0.984 (1 in 20 below 0.991). A crop of 5 % (median 0.9916) is another picture.
NEAR = 0.994
NONE = np.iinfo(np.int64).max
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 1024, 8192
EXACT_PAIRS = 4_000_000_000  # above, only pictures near the same pivots are compared
ROWS_PER_PIVOT = 4096
PIVOTS_OF_A_ROW = 2


def mark_near_duplicates(store: Store, *, threshold: float = NEAR, confirms: bool = True) -> int:
    """Mark pictures that have not been compared with the first picture of their group.

    A picture joins the group of the first picture that it is near to, by order of arrival, then by
    path. If the first picture of a group was removed, the others are compared again. Above about
    sixty thousand pictures at a time, only pictures near the same pivots are compared.

    Args:
        store: The index.
        threshold: Least cosine of the features of near-duplicates.
        confirms: Whether the files are compared, too: pictures whose pixels differ are not near.

    Returns:
        The number of pictures that are near another.

    Raises:
        GalleryError: The index cannot be read or written.
    """
    if not store.has_near:
        return 0
    items = store.items(("id", "path", "near"))
    ids = {item.id for item in items}
    unmarked = set(store.ids_where_sql("near IS NULL").astype(str).tolist())
    unmarked |= {item.id for item in items if item.near and item.near not in ids}
    items.sort(key=lambda item: item.id in unmarked)  # stable: by path within both parts
    num_marked = sum(item.id not in unmarked for item in items)
    near = [item.near for item in items]
    if num_marked < len(items):
        order = np.array([item.id for item in items], "S32")
        pixels = PixelComparison(store.root, [item.path for item in items]) if confirms else None
        comparison = _Comparison(store.ids_and_vectors(), order, pixels)
        first = comparison.first_similar(num_marked, threshold)
        for position in range(num_marked, len(items)):
            earlier = int(first[position])
            near[position] = "" if earlier == NONE else near[earlier] or items[earlier].id
        store.mark_near([item.id for item in items[num_marked:]], near[num_marked:])
    return sum(map(bool, near))


class _Comparison:
    """Comparison of items in a given order; vectors are gathered as needed."""

    def __init__(
        self,
        gallery: IdsAndVectors,
        order: Shaped[np.ndarray, " n"],
        pixels: PixelComparison | None,
    ) -> None:
        self._pixels = pixels
        self._vectors = gallery.vectors
        # An item removed meanwhile gets the vector of a neighbour; marking it has no effect.
        self._rows = np.searchsorted(gallery.ids, order).clip(max=max(0, len(gallery.ids) - 1))

    def first_similar(self, num_marked: int, threshold: float) -> Int[np.ndarray, " n"]:
        """Return for each position from `num_marked` on the first similar one before it."""
        count = len(self._rows)
        first = np.full(count, NONE)
        groups = [np.arange(count)]
        if (count - num_marked) * count > EXACT_PAIRS:
            groups = self._groups()
        for positions in groups:
            self._compare(positions, num_marked, threshold, first)
        return first

    def _gather(self, positions: Int[np.ndarray, " k"]) -> Float[np.ndarray, "k d"]:
        return self._vectors[self._rows[positions]].astype(np.float32)

    def _compare(
        self,
        positions: Int[np.ndarray, " k"],
        num_marked: int,
        threshold: float,
        first: Int[np.ndarray, " n"],
    ) -> None:
        """Lower `first` to the first similar ones among ascending positions."""
        begin = int(np.searchsorted(positions, num_marked))
        for start in range(begin, len(positions), ROWS_AT_ONCE):
            rows = positions[start : start + ROWS_AT_ONCE]
            matrix = self._gather(rows)
            for left in range(0, start + len(rows), COLUMNS_AT_ONCE):
                columns = positions[left : min(left + COLUMNS_AT_ONCE, start + len(rows))]
                alike = matrix @ self._gather(columns).T >= threshold
                alike &= columns < rows[:, None]
                alike &= columns < first[rows][:, None]
                self._confirm(alike, rows, columns)
                earliest = np.where(alike.any(1), columns[alike.argmax(1)], NONE)
                first[rows] = np.minimum(first[rows], earliest)

    def _confirm(
        self,
        alike: Bool[np.ndarray, "r c"],
        rows: Int[np.ndarray, " r"],
        columns: Int[np.ndarray, " c"],
    ) -> None:
        """Unmark pairs whose pixels differ, after the first pair of each row that are copies."""
        if self._pixels is None:
            return
        pending = np.flatnonzero(alike.any(1))
        while pending.size:
            nearest = alike[pending].argmax(1)
            same = self._pixels.confirm(rows[pending], columns[nearest])
            alike[pending[~same], nearest[~same]] = False
            pending = pending[~same & alike[pending].any(1)]

    def _groups(self) -> list[Int[np.ndarray, " k"]]:
        """Return the positions near each of many pivots; every position is in two groups."""
        count = len(self._rows)
        rng = np.random.default_rng(0)
        num_pivots = max(PIVOTS_OF_A_ROW, count // ROWS_PER_PIVOT)
        pivots = self._gather(rng.choice(count, num_pivots, replace=False)).T
        nearest = np.empty((count, PIVOTS_OF_A_ROW), np.int32)
        for start in range(0, count, COLUMNS_AT_ONCE):
            rows = np.arange(start, min(start + COLUMNS_AT_ONCE, count))
            alike = self._gather(rows) @ pivots
            nearest[rows] = np.argpartition(-alike, PIVOTS_OF_A_ROW - 1)[:, :PIVOTS_OF_A_ROW]
        order = nearest.ravel().argsort(kind="stable")
        ends = np.bincount(nearest.ravel(), minlength=num_pivots).cumsum()[:-1]
        return np.split(order // PIVOTS_OF_A_ROW, ends)
