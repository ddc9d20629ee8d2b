"""From a composed query to a ranking of an indexed gallery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from composer.composed import ComposedQuery
from composer.errors import InputError
from composer.layout import SHORT_LIST, blend
from retrieval.confidence import NUM_BACKGROUND, Standing, standing
from retrieval.engines.exact import ExactIndex
from retrieval.engines.lance import LanceIndex
from retrieval.engines.matrix import ExactMatrix
from retrieval.engines.protocol import Index, Matches, Source, best_matches
from retrieval.errors import GalleryError
from retrieval.filters.targets import matches
from retrieval.filters.tree import Field, Filter
from retrieval.refine import diverse_order, moved_by_feedback
from retrieval.regions import query_layout, region_scores, region_weight
from retrieval.store.location import IndexPlace
from retrieval.store.schema import Item, metadata_of
from retrieval.store.table import Store

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
        near_duplicates: Ids of pictures as good as the same that would have come below it.
    """

    rank: int
    id: str
    path: str
    file: Path
    score: float
    similarity: float
    region_similarity: float | None
    metadata: Mapping[str, str | int | list[str]]
    near_duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Refinement:
    """What a person changes about a search after a look at its hits; the ids are of items.

    Attributes:
        liked: More like these.
        unliked: Less like these.
        within: Nothing but these, in any order; None for the whole gallery.
        diversity: 0 for the nearest hits, towards 1 for hits unlike each other.
        folds: Whether near-duplicates are shown as one, where the index marks them.
    """

    liked: tuple[str, ...] = ()
    unliked: tuple[str, ...] = ()
    within: tuple[str, ...] | None = None
    diversity: float = 0.0
    folds: bool = True


UNREFINED = Refinement()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The hits of one query.

    Attributes:
        hits: Best first.
        num_items: Size of the gallery they were found in.
        standing: How the first stands out of the gallery; None without hits.
    """

    hits: tuple[Hit, ...]
    num_items: int
    standing: Standing | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Order:
    """The first k items of a gallery for one query, best first; names as in `Hit`.

    Attributes:
        ids: Of the items.
        scores: Never rise.
        similarities: Of the features.
        region_similarities: Of those that were re-ranked, the first ones; empty where none were.
    """

    ids: tuple[str, ...]
    scores: Float[Tensor, " k"]
    similarities: Float[Tensor, " k"]
    region_similarities: Float[Tensor, " r"]


class Gallery:
    """An open index and the engine that searches it.

    Attributes:
        source: What is known of the items.
        index: Finds the nearest.
    """

    def __init__(self, source: Source, index: Index) -> None:
        """Take a source and an engine over the same items.

        Raises:
            GalleryError: The index holds no picture.
        """
        if not len(index):
            raise GalleryError(
                f"The index {source.place} is empty. Add pictures with: duet index FOLDER"
            )
        self.source, self.index = source, index

    @classmethod
    def open(cls, place: IndexPlace, gallery_hash: str) -> "Gallery":
        """Open an index for queries of one encoder.

        It is searched exactly, or by LanceDB's own index where one was built.

        Raises:
            GalleryError: There is no index, it is empty or damaged, or another encoder made it.
        """
        store = Store.open(place, gallery_hash)
        on_disk = LanceIndex(store)
        return cls(store, on_disk if on_disk.is_built else ExactIndex(store))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.index)

    @property
    def root(self) -> Path:
        """Folder of the pictures."""
        return self.source.root

    @cached_property
    def items(self) -> list[Item]:
        """Every item, in the order of `matrix`; for galleries that are searched exactly."""
        found = self.source.items_of([one.decode() for one in self._exact().ids])
        return [item for item in found if item is not None]

    @property
    def matrix(self) -> ExactMatrix:
        """Every vector, for measurements; for galleries that are searched exactly."""
        return self._exact().matrix

    def spread(self, count: int, where: Filter | None = None) -> list[Item]:
        """Return some items from all over the gallery, the same every time.

        With `where`, of those that pass it: none only where none does.

        Raises:
            GalleryError: The index cannot be read.
        """
        found = self.source.items_of(self.source.sample(count, where))
        return [item for item in found if item is not None]

    def values_of(self, field: Field, most: int) -> list[str]:
        """Return the different domains or kinds, in order, to choose among.

        Empty where there are more than `most`, or where a Milvus server has the gallery.

        Raises:
            GalleryError: The index cannot be read.
        """
        return self.source.values_of(field, most) if isinstance(self.source, Store) else []

    @torch.inference_mode()
    def search(
        self,
        query: ComposedQuery,
        *,
        top_k: int = 10,
        rerank: bool = True,
        where: Filter | None = None,
        refinement: Refinement = UNREFINED,
    ) -> Ranking:
        """Rank the gallery by similarity to the query, the best hundred also by their layout.

        Args:
            query: Composed for the gallery's encoder.
            top_k: Number of hits.
            rerank: Whether layout counts. It does where the query has a reference, is not of words
                alone, and the index stores regions.
            where: Condition that hits must meet.
            refinement: What hits of an earlier search led to.

        Raises:
            GalleryError: The query was composed for another encoder, or the index cannot be read.
            InputError: `top_k` is not in 1 to 1,000, `where` asks a field for what it does not
                hold, or an id or the diversity of `refinement` is malformed.
        """
        if not 1 <= top_k <= MAX_TOP_K:
            raise InputError(f"`top_k` must be between 1 and {MAX_TOP_K}, got {top_k}.")
        moved = self._moved(query, refinement)
        folds = refinement.folds and self.source.has_near
        count = top_k + SHORT_LIST if folds or refinement.diversity > 0 else top_k
        order = self.order(moved, count, rerank=rerank, where=where, within=refinement.within)
        found = None
        if order.ids:
            best = float(order.scores[0])
            found = standing(best, moved.feature, self._background, len(self))
        hits = self._diverse(self._hits(order, folds=folds), refinement.diversity)
        return Ranking(
            hits=tuple(replace(hit, rank=rank) for rank, hit in enumerate(hits[:top_k], 1)),
            num_items=len(self.index),
            standing=found,
        )

    @torch.inference_mode()
    def order(
        self,
        query: ComposedQuery,
        count: int,
        *,
        rerank: bool = True,
        where: Filter | None = None,
        within: Sequence[str] | None = None,
    ) -> Order:
        """Order the gallery as `search` does, without looking items up; `count` has no limit.

        Raises:
            GalleryError: The query was composed for another encoder, or the index cannot be read.
            ValueError: `count` is below one, or `where` asks a field for what it does not hold.
        """
        self._check(query)
        weight = region_weight(
            query.balance,
            has_words=query.words_feature is not None,
            is_learned=query.layout is not None,
        )
        asks = rerank and weight > 0 and self.source.has_regions
        layout = query_layout(query) if asks else None
        least = SHORT_LIST if layout is not None else 1
        found = self._matches(query.feature.float(), max(count, least), where, within)
        similarities = torch.tensor(found.similarities)
        if layout is None or not found.ids:
            none = similarities.new_empty(0)
            return Order(
                ids=found.ids,
                scores=similarities,
                similarities=similarities,
                region_similarities=none,
            )
        first = self._rerank(layout, found.ids[:SHORT_LIST], similarities[:SHORT_LIST], weight)
        return Order(
            ids=(first.ids + found.ids[SHORT_LIST:])[:count],
            scores=torch.cat([first.scores, similarities[SHORT_LIST:]])[:count],
            similarities=torch.cat([first.similarities, similarities[SHORT_LIST:]])[:count],
            region_similarities=first.region_similarities[:count],
        )

    def _matches(
        self,
        feature: Float[Tensor, " d"],
        count: int,
        where: Filter | None,
        within: Sequence[str] | None,
    ) -> Matches:
        """Ask the engine; or compare the few items of an earlier search one by one."""
        if within is None:
            return self.index.search(feature[None], count, where=where)[0]
        found = zip(within, self.source.items_of(within), strict=True)
        ids = [
            one
            for one, item in found
            if item is not None and (where is None or matches(where, item))
        ]
        vectors = torch.from_numpy(self.source.vectors_of(ids)).float()
        return best_matches(ids, vectors @ feature.cpu(), count)

    def _moved(self, query: ComposedQuery, refinement: Refinement) -> ComposedQuery:
        """The query after feedback."""
        if not (refinement.liked or refinement.unliked):
            return query
        liked, unliked = map(self._vectors_of, (refinement.liked, refinement.unliked))
        feature = moved_by_feedback(query.feature.cpu(), liked, unliked)
        return replace(query, feature=feature.to(query.feature))

    def _vectors_of(self, ids: tuple[str, ...]) -> Float[Tensor, "n d"]:
        found = self.source.vectors_of(ids)
        if gone := [one for one, vector in zip(ids, found, strict=True) if not vector.any()]:
            raise InputError(f"There is no picture {gone[0]} in {self.source.place}.")
        return torch.from_numpy(found)

    def _hits(self, order: Order, *, folds: bool) -> list[Hit]:
        """Look items up; those deleted since the engine was opened are left out."""
        hits: dict[str, Hit] = {}
        for place, item in enumerate(self.source.items_of(order.ids)):
            if item is None:
                continue
            group = (item.near or item.id) if folds else item.id
            if group in hits:
                first = hits[group]
                found = (*first.near_duplicates, item.id)
                hits[group] = replace(first, near_duplicates=found)
            else:
                hits[group] = self._hit(order, place, item)
        return list(hits.values())

    def _diverse(self, hits: list[Hit], diversity: float) -> list[Hit]:
        if diversity == 0:
            return hits
        scores = torch.tensor([hit.score for hit in hits])
        vectors = torch.from_numpy(self.source.vectors_of([hit.id for hit in hits]))
        return [hits[place] for place in diverse_order(scores, vectors, diversity).tolist()]

    def _rerank(
        self,
        layout: Float[Tensor, " c"],
        ids: tuple[str, ...],
        similarities: Float[Tensor, " k"],
        weight: float,
    ) -> Order:
        codes = torch.from_numpy(self.source.read_regions(ids))
        regions = region_scores(layout, codes)
        mixed = blend(similarities, regions, weight)
        best = mixed.argsort(descending=True, stable=True)
        # What follows the short-list keeps its similarities; no score before it may be lower.
        scores = mixed[best].clamp(min=similarities.min()) if len(ids) else mixed
        return Order(
            ids=tuple(ids[place] for place in best.tolist()),
            scores=scores,
            similarities=similarities[best],
            region_similarities=regions[best],
        )

    @cached_property
    def _background(self) -> Float[Tensor, "b d"]:
        return torch.from_numpy(self.source.vectors_of(self.source.sample(NUM_BACKGROUND))).float()

    def _exact(self) -> ExactIndex:
        if not isinstance(self.index, ExactIndex):
            raise GalleryError(
                f"All of {self.source.place} can be listed only where it is searched exactly, "
                "from an index folder."
            )
        return self.index

    def _check(self, query: ComposedQuery) -> None:
        if query.gallery_hash != self.source.manifest.gallery_hash:
            raise GalleryError(
                f"The query was composed for another encoder ({query.gallery_hash}) than the "
                f"gallery's ({self.source.manifest.gallery_hash}). Compose it with the same kit."
            )

    def _hit(self, order: Order, place: int, item: Item) -> Hit:
        regions = order.region_similarities
        return Hit(
            rank=place + 1,
            id=item.id,
            path=item.path,
            file=self.source.root / item.path,
            score=float(order.scores[place]),
            similarity=float(order.similarities[place]),
            region_similarity=float(regions[place]) if place < len(regions) else None,
            metadata=metadata_of(item),
        )
