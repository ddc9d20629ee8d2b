"""From a composed query to a ranking of an indexed gallery."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from composer.composed import ComposedQuery
from composer.layout import SHORT_LIST, blend, region_projection
from retrieval.exact import ExactIndex
from retrieval.gallery import GalleryError
from retrieval.regions import region_scores, region_weight
from retrieval.store import Store, metadata_of

MAX_TOP_K = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One picture of a ranking.

    Attributes:
        rank: Counts from 1.
        id: Of the item.
        path: Below the gallery's root.
        file: On disk.
        score: What the ranking is ordered by, higher is better: the similarity, or its mixture with
            the region similarity where the hit was re-ranked, on the scale of a similarity though
            not bound to at most 1.
        similarity: Cosine of the query's feature and the picture's.
        region_similarity: Cosine of the layouts of the reference and the picture, see
            `retrieval.regions`; None where the hit was not re-ranked.
        metadata: What is known of the picture.
    """

    rank: int
    id: str
    path: str
    file: Path
    score: float
    similarity: float
    region_similarity: float | None
    metadata: Mapping[str, str | int | list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The hits of one query, best first, and the size of the gallery they were found in."""

    hits: tuple[Hit, ...]
    num_items: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Order:
    """The first k rows of a gallery for one query, best first; names as in `Hit`.

    Attributes:
        rows: Numbers of the items.
        scores: Never rise.
        similarities: Of the features.
        region_similarities: Of those that were re-ranked, the first ones; empty where none were.
    """

    rows: Int[Tensor, " k"]
    scores: Float[Tensor, " k"]
    similarities: Float[Tensor, " k"]
    region_similarities: Float[Tensor, " r"]


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
        self._projection = region_projection(store.manifest.dim)

    @classmethod
    def open(cls, folder: Path, gallery_hash: str) -> "Gallery":
        """Open an index for queries of one encoder.

        Raises:
            GalleryError: There is no index, it is empty or another encoder made it.
        """
        return cls(Store.open(folder, gallery_hash))

    @torch.inference_mode()
    def search(self, query: ComposedQuery, *, top_k: int = 10, rerank: bool = True) -> Ranking:
        """Rank the gallery by similarity to the query, the best hundred also by their layout.

        Args:
            query: Composed for the gallery's encoder.
            top_k: Number of hits.
            rerank: Whether layout counts. It does where the query has a reference, is not of words
                alone, and the index stores regions.

        Raises:
            GalleryError: The query was composed for another encoder.
            ValueError: `top_k` is not in 1 to 1,000.
        """
        if not 1 <= top_k <= MAX_TOP_K:
            raise ValueError(f"`top_k` must be between 1 and {MAX_TOP_K}, got {top_k}.")
        order = self.order(query, top_k, rerank=rerank)
        hits = tuple(self._hit(order, place) for place in range(len(order.rows)))
        return Ranking(hits=hits, num_items=len(self.items))

    @torch.inference_mode()
    def order(self, query: ComposedQuery, count: int, *, rerank: bool = True) -> Order:
        """Order the gallery as `search` does, without looking items up; `count` has no limit.

        Raises:
            GalleryError: The query was composed for another encoder.
            ValueError: `count` is below one.
        """
        self._check(query)
        patches = query.patch_features
        weight = region_weight(query.balance, has_words=query.words_feature is not None)
        reranks = rerank and patches is not None and weight > 0 and self.store.has_regions
        least = SHORT_LIST if reranks else 1
        nearest = self.index.nearest(query.feature[None].float(), max(count, least))
        rows, similarities = nearest.rows[0].cpu(), nearest.similarities[0].cpu()
        if not reranks:
            none = similarities.new_empty(0)
            return Order(
                rows=rows,
                scores=similarities,
                similarities=similarities,
                region_similarities=none,
            )
        assert patches is not None
        first = self._rerank(patches, rows[:SHORT_LIST], similarities[:SHORT_LIST], weight)
        return Order(
            rows=torch.cat([first.rows, rows[SHORT_LIST:]])[:count],
            scores=torch.cat([first.scores, similarities[SHORT_LIST:]])[:count],
            similarities=torch.cat([first.similarities, similarities[SHORT_LIST:]])[:count],
            region_similarities=first.region_similarities[:count],
        )

    def _rerank(
        self,
        patches: Float[Tensor, "p d"],
        rows: Int[Tensor, " k"],
        similarities: Float[Tensor, " k"],
        weight: float,
    ) -> Order:
        ids = [self.items[row].id for row in rows.tolist()]
        codes = torch.from_numpy(self.store.read_regions(ids))
        regions = region_scores(patches, codes, self._projection)
        mixed = blend(similarities, regions, weight)
        best = mixed.argsort(descending=True, stable=True)
        # What follows the short-list keeps its similarities; no score before it may be lower.
        scores = mixed[best].clamp(min=similarities.min())
        return Order(
            rows=rows[best],
            scores=scores,
            similarities=similarities[best],
            region_similarities=regions[best],
        )

    def _check(self, query: ComposedQuery) -> None:
        if query.gallery_hash != self.store.manifest.gallery_hash:
            raise GalleryError(
                f"The query was composed for another encoder ({query.gallery_hash}) than the "
                f"gallery's ({self.store.manifest.gallery_hash}). Compose it with the same kit."
            )

    def _hit(self, order: Order, place: int) -> Hit:
        item = self.items[int(order.rows[place])]
        regions = order.region_similarities
        return Hit(
            rank=place + 1,
            id=item.id,
            path=item.path,
            file=self.store.root / item.path,
            score=float(order.scores[place]),
            similarity=float(order.similarities[place]),
            region_similarity=float(regions[place]) if place < len(regions) else None,
            metadata=metadata_of(item),
        )
