"""Protocol of the shipped gallery with the short-list re-ranked by layout."""

import numpy as np
from jaxtyping import Int

from composer.composed import ComposedQuery
from composer.strategies.protocol import Composer
from retrieval.benchmarks.catalogue import Encoded, Protocol, composed_queries, query_ranks
from retrieval.regions import query_layout
from retrieval.search import Gallery


def both_ranks(
    protocol: Protocol, gallery: Gallery, composer: Composer, mode: str, encoded: Encoded
) -> dict[bool, Int[np.ndarray, " q"]]:
    """Return the ranks of every case's target by features alone, and re-ranked if possible.

    Re-ranking needs queries with layouts, and an index with region codes.
    """
    return ranks_of_queries(
        protocol, gallery, composed_queries(protocol, composer, mode, encoded=encoded)
    )


def ranks_of_queries(
    protocol: Protocol, gallery: Gallery, queries: list[ComposedQuery]
) -> dict[bool, Int[np.ndarray, " q"]]:
    """Return what `both_ranks` does, of queries that are composed."""
    by_rerank = {False: query_ranks(protocol, gallery, queries)}
    if gallery.source.has_regions and all(query_layout(query) is not None for query in queries):
        by_rerank[True] = reranked_ranks(protocol, gallery, queries)
    return by_rerank


def reranked_ranks(
    protocol: Protocol, gallery: Gallery, queries: list[ComposedQuery]
) -> Int[np.ndarray, " q"]:
    """Return the rank of every case's target in the whole gallery, in the order of a search.

    Items with an equal score count as ahead of the target, as in `metrics.ranks_of_targets`.

    Args:
        protocol: Protocol with the cases.
        gallery: Gallery; without region codes, the ranks are those of the features alone.
        queries: One query per case, in order.

    Raises:
        ValueError: The numbers of queries and cases differ.
    """
    if len(queries) != len(protocol.cases):
        raise ValueError(
            f"Each of the {len(protocol.cases)} cases needs a query, got {len(queries)}."
        )
    return np.array(
        [
            _rank(gallery, query, case.target)
            for query, case in zip(queries, protocol.cases, strict=True)
        ]
    )


def _rank(gallery: Gallery, query: ComposedQuery, target: int) -> int:
    order = gallery.order(query, len(gallery.items))
    score = order.scores[order.ids.index(gallery.items[target].id)]
    return int((order.scores >= score).sum())
