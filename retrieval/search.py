"""Search of an indexed gallery with a composed query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from composer.composed import ComposedQuery
from composer.errors import InputError
from composer.layout import SHORT_LIST, blend
from retrieval.confidence import NUM_BACKGROUND, standing
from retrieval.engines.exact import ExactIndex
from retrieval.engines.lance import LanceIndex
from retrieval.engines.matrix import ExactMatrix
from retrieval.engines.protocol import Index, Matches, Source, best_matches
from retrieval.errors import GalleryError
from retrieval.files import picture_file
from retrieval.filters.targets import matches
from retrieval.filters.tree import Field, Filter
from retrieval.fusion import FusedQuery, Surroundings, resolve, search_fused
from retrieval.ranking import UNREFINED, Hit, Order, Ranking, Refinement
from retrieval.refine import diverse_order, feedback_shift, moved_by_feedback
from retrieval.regions import query_layout, query_weight, region_scores
from retrieval.store.address import IndexLocation
from retrieval.store.schema import Item, metadata_of
from retrieval.store.table import Store

MAX_TOP_K = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """An item of an order, by its position in it, with the near-duplicates folded into it."""

    position: int
    item: Item
    near_duplicates: list[str]


class Gallery:
    """An open index and its search engine.

    Attributes:
        source: Source of the items.
        index: Search engine.
    """

    def __init__(self, source: Source, index: Index) -> None:
        """Combine a source and an engine over the same items.

        Raises:
            GalleryError: The index is empty.
        """
        if not len(index):
            raise GalleryError(
                f"The index {source.location} is empty. Add pictures with: duet index FOLDER"
            )
        self.source, self.index = source, index

    @classmethod
    def open(cls, location: IndexLocation, gallery_hash: str) -> "Gallery":
        """Open an index for queries of one encoder.

        The search is exact, unless LanceDB's vector index was built.

        Raises:
            GalleryError: There is no index, it is empty or damaged, or another encoder made it.
        """
        store = Store.open(location, gallery_hash)
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
        """All items in the order of `matrix`; for galleries with exact search only."""
        items = self.source.items_of([id_.decode() for id_ in self._exact().ids])
        return [item for item in items if item is not None]

    @property
    def matrix(self) -> ExactMatrix:
        """All vectors, for benchmarks; for galleries with exact search only."""
        return self._exact().matrix

    def sample_items(self, count: int, where: Filter | None = None) -> list[Item]:
        """Return about `count` items: a deterministic random sample.

        With `where`, at most `count` of the matching items.

        Raises:
            GalleryError: The index cannot be read.
        """
        items = self.source.items_of(self.source.sample(count, where))
        return [item for item in items if item is not None]

    def values_of(self, field: Field, most: int) -> list[str]:
        """Return the distinct domains or kinds, sorted.

        Empty if there are more than `most`, or for a gallery published to Milvus.

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
        """Rank the gallery by similarity to the query, and the best hundred also by layout.

        Args:
            query: Query composed for the gallery's encoder.
            top_k: Number of hits.
            rerank: Whether to re-rank by layout, if the query has a reference and is not balanced
                to words alone, and the index stores region codes.
            where: Condition that hits must match.
            refinement: Feedback on an earlier search.

        Raises:
            GalleryError: The query was composed for another encoder, or the index cannot be read.
            InputError: `top_k` is not in 1 to 1,000, `where` compares a field with an unsuitable
                value, or an id or the diversity of `refinement` is malformed.
        """
        if not 1 <= top_k <= MAX_TOP_K:
            raise InputError(f"`top_k` must be between 1 and {MAX_TOP_K}, got {top_k}.")
        moved = self._moved(query, refinement)
        folds = refinement.folds and self.source.has_near
        count = top_k + SHORT_LIST if folds or refinement.diversity > 0 else top_k
        order = self._order(
            moved,
            count,
            rerank=rerank,
            where=where,
            within=refinement.within,
            feedback=self._feedback(query, refinement),
        )
        first = None
        if order.ids:
            best = float(order.scores[0])
            first = standing(best, moved.feature, self._background, len(self))
        candidates = self._candidates(order, folds=folds)
        candidates = self._diverse(order, candidates, refinement.diversity)
        return Ranking(
            hits=tuple(
                self._hit(order, candidate, rank, where)
                for rank, candidate in enumerate(candidates[:top_k], 1)
            ),
            num_items=len(self.index),
            standing=first,
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
        """Order the gallery as `search` does, without fetching items; `count` is unlimited.

        Raises:
            GalleryError: The query was composed for another encoder, or the index cannot be read.
            ValueError: `count` is below one, or `where` compares a field with an unsuitable value.
        """
        return self._order(query, count, rerank=rerank, where=where, within=within)

    @torch.inference_mode()
    def similarities(self, queries: Sequence[ComposedQuery]) -> Float[Tensor, "q n"]:
        """Return the scores of all items in the order of `matrix`, without re-ranking.

        For galleries with exact search only.

        Raises:
            GalleryError: The gallery has no exact search.
        """
        scores = self.matrix.similarities(torch.stack([query.feature for query in queries])).cpu()
        for row, query in enumerate(queries):
            if query.fusion is not None:
                fused = self._fused(query)
                scores[row] = fused.fuse(self.matrix.similarities(fused.vectors).cpu())
        return scores

    def _order(
        self,
        query: ComposedQuery,
        count: int,
        *,
        rerank: bool,
        where: Filter | None,
        within: Sequence[str] | None,
        feedback: Float[Tensor, " d"] | None = None,
    ) -> Order:
        self._check(query)
        weight = query_weight(query)
        reranks = rerank and weight > 0 and self.source.has_regions
        layout = query_layout(query) if reranks else None
        least = SHORT_LIST if layout is not None else 1
        count_nearest = max(count, least)
        if query.fusion is None:
            nearest = self._matches(query.feature.float(), count_nearest, where, within)
        else:
            fused = self._fused(query, feedback)
            nearest = self._fused_matches(fused, count_nearest, where, within)
        similarities = torch.tensor(nearest.similarities)
        if layout is None or not nearest.ids:
            none = similarities.new_empty(0)
            return Order(
                ids=nearest.ids,
                scores=similarities,
                similarities=similarities,
                region_similarities=none,
            )
        first = self._rerank(layout, nearest.ids[:SHORT_LIST], similarities[:SHORT_LIST], weight)
        return Order(
            ids=(first.ids + nearest.ids[SHORT_LIST:])[:count],
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
        """Search with the engine, or compare the few items of an earlier search directly."""
        if within is None:
            return self.index.search(feature[None], count, where=where)[0]
        ids = self._matching(within, where)
        vectors = torch.from_numpy(self.source.vectors_of(ids)).float()
        return best_matches(ids, vectors @ feature.cpu(), count)

    def _fused_matches(
        self, query: FusedQuery, count: int, where: Filter | None, within: Sequence[str] | None
    ) -> Matches:
        if within is None:
            return search_fused(self.index, self.source, query, count, where)
        ids = self._matching(within, where)
        vectors = torch.from_numpy(self.source.vectors_of(ids)).float()
        return best_matches(ids, query.scores(vectors), count)

    def _matching(self, within: Sequence[str], where: Filter | None) -> list[str]:
        """Return the ids that exist and match `where`."""
        items = zip(within, self.source.items_of(within), strict=True)
        return [
            id_
            for id_, item in items
            if item is not None and (where is None or matches(where, item))
        ]

    def _fused(
        self, query: ComposedQuery, feedback: Float[Tensor, " d"] | None = None
    ) -> FusedQuery:
        """Complete a query with a fusion by this gallery."""
        around = Surroundings(background=self._background, neighbours=self._neighbours)
        return resolve(query, around, feedback)

    def _neighbours(self, direction: Float[Tensor, " d"], count: int) -> Float[Tensor, "k d"]:
        nearest = self.index.search(direction[None], count)[0]
        return torch.from_numpy(self.source.vectors_of(nearest.ids)).float()

    def _feedback(self, query: ComposedQuery, refinement: Refinement) -> Float[Tensor, " d"] | None:
        """Return what feedback adds to the sides of a query with a fusion; None for nothing."""
        if query.fusion is None or not (refinement.liked or refinement.unliked):
            return None
        centre = self._background.mean(dim=0)
        liked, unliked = map(self._vectors_of, (refinement.liked, refinement.unliked))
        return feedback_shift(liked.float() - centre, unliked.float() - centre)

    def _moved(self, query: ComposedQuery, refinement: Refinement) -> ComposedQuery:
        """Return the query after feedback."""
        if not (refinement.liked or refinement.unliked):
            return query
        liked, unliked = map(self._vectors_of, (refinement.liked, refinement.unliked))
        feature = moved_by_feedback(query.feature.cpu(), liked, unliked)
        return replace(query, feature=feature.to(query.feature))

    def _vectors_of(self, ids: tuple[str, ...]) -> Float[Tensor, "n d"]:
        vectors = self.source.vectors_of(ids)
        if missing := [id_ for id_, vector in zip(ids, vectors, strict=True) if not vector.any()]:
            raise InputError(f"There is no picture {missing[0]} in {self.source.location}.")
        return torch.from_numpy(vectors)

    def _candidates(self, order: Order, *, folds: bool) -> list[_Candidate]:
        """Fetch items, and skip those deleted since the engine was opened."""
        candidates: dict[str, _Candidate] = {}
        for position, item in enumerate(self.source.items_of(order.ids)):
            if item is None:
                continue
            group = (item.near or item.id) if folds else item.id
            if group in candidates:
                candidates[group].near_duplicates.append(item.id)
            else:
                candidates[group] = _Candidate(position=position, item=item, near_duplicates=[])
        return list(candidates.values())

    def _diverse(
        self, order: Order, candidates: list[_Candidate], diversity: float
    ) -> list[_Candidate]:
        if diversity == 0:
            return candidates
        scores = order.scores[[candidate.position for candidate in candidates]]
        vectors = torch.from_numpy(self.source.vectors_of([c.item.id for c in candidates]))
        return [candidates[row] for row in diverse_order(scores, vectors, diversity).tolist()]

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
        # Items behind the short-list keep their similarities; no score before them may be lower.
        scores = mixed[best].clamp(min=similarities.min()) if len(ids) else mixed
        return Order(
            ids=tuple(ids[row] for row in best.tolist()),
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
                f"All items of {self.source.location} can be listed with exact search only, from "
                "an index folder."
            )
        return self.index

    def _check(self, query: ComposedQuery) -> None:
        if query.gallery_hash != self.source.manifest.gallery_hash:
            raise GalleryError(
                f"The query was composed for another encoder ({query.gallery_hash}) than the "
                f"gallery's ({self.source.manifest.gallery_hash}). Compose it with the same kit."
            )

    def _hit(self, order: Order, candidate: _Candidate, rank: int, where: Filter | None) -> Hit:
        position, item, regions = candidate.position, candidate.item, order.region_similarities
        path = _path_that_matches(where, item)
        copies = tuple(sorted({item.path, *item.copies} - {path}))
        return Hit(
            rank=rank,
            id=item.id,
            path=path,
            file=picture_file(self.source.root, path),
            score=float(order.scores[position]),
            similarity=float(order.similarities[position]),
            region_similarity=float(regions[position]) if position < len(regions) else None,
            metadata=metadata_of(replace(item, copies=copies)),
            near_duplicates=tuple(candidate.near_duplicates),
        )


def _path_that_matches(where: Filter | None, item: Item) -> str:
    """Return the path of an item, or of its first copy where only a copy matches."""
    if where is not None and item.copies:
        for path in (item.path, *item.copies):
            if matches(where, replace(item, path=path, copies=())):
                return path
    return item.path
