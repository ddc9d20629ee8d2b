"""The gallery's protocol with the short-list ordered once more by its regions."""

import numpy as np
import torch
from jaxtyping import Int

from composer.composed import ComposedQuery
from composer.strategies.protocol import Composer
from retrieval.benchmarks.catalogue import Encoded, Protocol, composed_queries, ranks
from retrieval.regions import query_layout
from retrieval.search import Gallery


def both_ranks(
    protocol: Protocol, gallery: Gallery, composer: Composer, mode: str, encoded: Encoded
) -> dict[bool, Int[np.ndarray, " q"]]:
    """Return the ranks of every case's target by the features alone, and re-ranked if they can be.

    They cannot where queries have no layouts, or the index no regions.
    """
    queries = composed_queries(protocol, composer, mode, encoded=encoded)
    features = torch.stack([query.feature for query in queries])
    found = {False: ranks(protocol, gallery.matrix, features)}
    if gallery.source.has_regions and all(query_layout(query) is not None for query in queries):
        found[True] = reranked_ranks(protocol, gallery, queries)
    return found


def reranked_ranks(
    protocol: Protocol, gallery: Gallery, queries: list[ComposedQuery]
) -> Int[np.ndarray, " q"]:
    """Return the rank of every case's target in the whole gallery, as `Gallery.search` orders it.

    An item that scores the same counts as ahead of the target, as in `metrics.ranks_of_targets`.

    Args:
        protocol: Whose cases they are.
        gallery: With or without regions; without, the ranks are those of the features alone.
        queries: One of each case, in their order.

    Raises:
        ValueError: There are more or fewer queries than cases.
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
    own = order.scores[order.ids.index(gallery.items[target].id)]
    return int((order.scores >= own).sum())
