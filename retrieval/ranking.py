"""Rankings of a gallery, and what refines them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from retrieval.confidence import Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One picture of a ranking.

    Attributes:
        rank: Counts from 1.
        id: Id of the item.
        path: Path relative to the gallery's root.
        file: Path on disk.
        score: Sort key of the ranking, higher is better: the similarity, or its mixture with the
            region similarity for a re-ranked hit, which may exceed 1.
        similarity: Cosine of the query's feature and the picture's; of a query with a fusion, its
            fused score, on the scale of these cosines.
        region_similarity: Cosine of the layouts of the reference and the picture, see
            `retrieval.regions`; None for a hit that was not re-ranked.
        metadata: Fields of the item, without empty ones.
        near_duplicates: Ids of its near-duplicates, folded into this hit.
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
    """Refinement of a search by feedback on its hits; the ids are of items.

    Attributes:
        liked: Items that hits should resemble more.
        unliked: Items that hits should resemble less.
        within: Items to search, in any order; None for the whole gallery.
        diversity: 0 for the nearest hits, towards 1 for hits that differ from each other.
        folds: Whether near-duplicates become one hit, if the index marks them.
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
        num_items: Size of the gallery.
        standing: Standing of the first hit in the gallery; None without hits.
    """

    hits: tuple[Hit, ...]
    num_items: int
    standing: Standing | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Order:
    """The first k items of a gallery for one query, best first; names as in `Hit`.

    Attributes:
        ids: Ids of the items.
        scores: Scores, descending.
        similarities: Cosines of the features.
        region_similarities: Cosines of the layouts of the re-ranked items, which come first; empty
            without re-ranking.
    """

    ids: tuple[str, ...]
    scores: Float[Tensor, " k"]
    similarities: Float[Tensor, " k"]
    region_similarities: Float[Tensor, " r"]
