"""From a composed query to a ranking of an indexed gallery."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from composer.composed import ComposedQuery
from retrieval.exact import ExactIndex
from retrieval.gallery import GalleryError
from retrieval.store import Item, Store, metadata_of

MAX_TOP_K = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One picture of a ranking: `rank` counts from 1, `score` is a cosine, higher is better."""

    rank: int
    id: str
    path: str
    file: Path
    score: float
    metadata: Mapping[str, str | int | list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The hits of one query, best first, and the size of the gallery they were found in."""

    hits: tuple[Hit, ...]
    num_items: int


class Gallery:
    """An open index with its vectors in memory."""

    def __init__(self, store: Store) -> None:
        """Read the vectors of `store`.

        Raises:
            GalleryError: The index holds no picture, or cannot be read.
        """
        self.store = store
        self.items, vectors = store.read()
        if not self.items:
            raise GalleryError(
                f"The index {store.folder} is empty. Add pictures with: duet index FOLDER"
            )
        self.index = ExactIndex(vectors)

    @classmethod
    def open(cls, folder: Path, gallery_hash: str) -> "Gallery":
        """Open an index for queries of one encoder.

        Raises:
            GalleryError: There is no index, it is empty or another encoder made it.
        """
        return cls(Store.open(folder, gallery_hash))

    @torch.inference_mode()
    def search(self, query: ComposedQuery, *, top_k: int = 10) -> Ranking:
        """Rank the gallery by similarity to the query's feature.

        Raises:
            GalleryError: The query was composed for another encoder.
            ValueError: `top_k` is not in 1 to 1,000.
        """
        if query.gallery_hash != self.store.manifest.gallery_hash:
            raise GalleryError(
                f"The query was composed for another encoder ({query.gallery_hash}) than the "
                f"gallery's ({self.store.manifest.gallery_hash}). Compose it with the same kit."
            )
        if not 1 <= top_k <= MAX_TOP_K:
            raise ValueError(f"`top_k` must be between 1 and {MAX_TOP_K}, got {top_k}.")
        nearest = self.index.nearest(query.feature[None].float(), top_k)
        pairs = zip(nearest.rows[0].tolist(), nearest.similarities[0].tolist(), strict=True)
        hits = tuple(
            self._hit(rank, self.items[row], score) for rank, (row, score) in enumerate(pairs, 1)
        )
        return Ranking(hits=hits, num_items=len(self.items))

    def _hit(self, rank: int, item: Item, score: float) -> Hit:
        return Hit(
            rank=rank,
            id=item.id,
            path=item.path,
            file=self.store.root / item.path,
            score=score,
            metadata=metadata_of(item),
        )
