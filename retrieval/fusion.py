"""Search with the two sides of a query: one similarity to the reference, one to the words.

A side's similarity is linear in a picture's feature. It is centred by the gallery, measured in the
spread it has there, and moved so that `floor` spreads below the mean are zero: `a` and `b`, at
least 0. Pictures are ordered by `a b - penalty (a + b)^2`. The order is exact where an engine's is:
with `a + b = s` the product is at most `s^2 / 4`, and the sum is a single linear similarity, which
every engine can search by.

Source: docs/papers.md, equations (29) to (32).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.composed import BALANCED, ComposedQuery
from composer.fusion import Fusion
from retrieval.engines.protocol import Index, Matches, Scan, Source, best_matches
from retrieval.filters.tree import Filter

NUM_CANDIDATES, MAX_CANDIDATES = 512, 8192
_LEAST_SPREAD = 1e-4  # of cosines; smaller ones are rounding
_ROUNDING = 1e-5

Neighbours = Callable[[Float[Tensor, " d"], int], Float[Tensor, "k d"]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surroundings:
    """A gallery as a fusion sees it.

    Attributes:
        background: Features of a sample of the gallery, for its mean and the spread of cosines.
        neighbours: Returns the features of the pictures nearest to a unit vector.
    """

    background: Float[Tensor, "b d"]
    neighbours: Neighbours


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FusedQuery:
    """A fusion completed by a gallery: two linear similarities and a score made of both.

    Attributes:
        vectors: One row for each side of the query, the reference first.
        offsets: Added to the rows' products with a picture's feature.
        penalty: As in `Fusion`.
        tilt: 0 for the fused score, 1 for the similarity of `towards` alone.
        towards: Row that `tilt` leads to.
        scale: Factor of the score.
        shift: Added to the scaled score.
    """

    vectors: Float[Tensor, "s d"]
    offsets: Float[Tensor, " s"]
    penalty: float
    tilt: float
    towards: int
    scale: float = 1.0
    shift: float = 0.0

    def fuse(self, products: Float[Tensor, "s n"]) -> Float[Tensor, " n"]:
        """Return the scores of n pictures from their products with `vectors`."""
        sides = products + self.offsets[:, None]
        alone = sides[self.towards]
        if len(sides) == 1 or self.tilt == 1:
            return self.scale * alone + self.shift
        a, b = sides.clamp(min=0)
        fused = a * b - self.penalty * (a + b).square()
        return (
            self.scale * (torch.lerp(fused, alone, self.tilt) if self.tilt else fused) + self.shift
        )

    def scores(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the scores of pictures."""
        return self.fuse(self.vectors @ vectors.to(self.vectors).T)

    @property
    def directions(self) -> Float[Tensor, "r d"]:
        """Vectors to search candidates by: the sum of the sides, and the side of the tilt."""
        if len(self.vectors) == 1 or self.tilt == 1:
            return self.vectors[self.towards][None]
        both = self.vectors.sum(dim=0)[None]
        return torch.cat([both, self.vectors[self.towards][None]]) if self.tilt else both

    def bound(self, products: Sequence[float]) -> float:
        """Return the most that a picture can score that no direction reaches.

        Args:
            products: For each of `directions`, the largest product of such a picture.
        """
        alone = products[-1] + float(self.offsets[self.towards])
        if len(self.vectors) == 1 or self.tilt == 1:
            return self.scale * alone + self.shift
        total = max(0.0, products[0] + float(self.offsets.sum()))
        fused = (0.25 - self.penalty) * total**2
        raw = (1 - self.tilt) * fused + (self.tilt * alone if self.tilt else 0.0)
        return self.scale * raw + self.shift


def resolve(
    query: ComposedQuery, around: Surroundings, feedback: Float[Tensor, " d"] | None = None
) -> FusedQuery:
    """Complete the fusion of a query by a gallery.

    Scores are on the scale of the cosines of the query's feature: with the same mean and spread in
    the gallery.

    Args:
        query: A query with a fusion.
        around: The gallery.
        feedback: Added to each side, of length one; see `retrieval.refine.feedback_shift`.
    """
    fusion, background = query.fusion, around.background.float()
    assert fusion is not None
    sides = [_reference_direction(fusion, around)] if fusion.reference is not None else []
    if fusion.words is not None:
        sides.append(functional.normalize(fusion.words.float().cpu(), dim=0))
    if feedback is not None:
        sides = [side + feedback for side in sides]
    if fusion.reference is not None:
        sides[0] = _projected(sides[0], fusion)
    vectors = torch.stack(sides)
    products = vectors @ background.T
    spread = products.std(dim=1, correction=0).clamp(min=_LEAST_SPREAD) * fusion.floor
    fused = FusedQuery(
        vectors=vectors / spread[:, None],
        offsets=1 - products.mean(dim=1) / spread,
        penalty=fusion.penalty,
        tilt=2 * abs(query.balance - BALANCED),
        towards=0 if query.balance < BALANCED else len(sides) - 1,
    )
    return _on_cosines(fused, background, background @ query.feature.float().cpu())


def search_fused(
    index: Index, source: Source, query: FusedQuery, k: int, where: Filter | None
) -> Matches:
    """Return the `k` best pictures of a gallery, exact where the engine scans all of them.

    Other engines are asked for the pictures nearest to the sum of both sides, and for more of them
    until no other one can be among the best, or `MAX_CANDIDATES` have been compared.
    """
    if isinstance(index, Scan):
        return index.scan(query.vectors, query.fuse, k, where=where)
    directions, count = query.directions, max(NUM_CANDIDATES, 2 * k)
    lengths = directions.norm(dim=1, keepdim=True)
    most = max(MAX_CANDIDATES, k)
    while True:
        count = min(count, most)
        nearest = index.search(directions / lengths, count, where=where)
        ids = list(dict.fromkeys(id_ for matches in nearest for id_ in matches.ids))
        if not ids:
            return nearest[0]
        vectors = torch.from_numpy(source.vectors_of(ids)).float()
        best = best_matches(ids, query.scores(vectors), k)
        if count >= most or len(nearest[0].ids) < count:
            return best
        reached = [
            matches.similarities[-1] * float(length)
            for matches, length in zip(nearest, lengths, strict=True)
        ]
        if best.similarities[-1] > query.bound(reached) + _ROUNDING:
            return best
        count *= 4


def similarities(
    queries: Sequence[ComposedQuery], vectors: Float[Tensor, "n d"]
) -> Float[Tensor, "q n"]:
    """Return the scores of queries and all pictures of a gallery, with or without fusion.

    Args:
        queries: Composed queries.
        vectors: Unit features of the gallery; all of them are its background.
    """
    gallery = vectors.float()
    around = Surroundings(background=gallery, neighbours=neighbours_among(gallery))
    features = torch.stack([query.feature.float().to(gallery) for query in queries])
    scores = features @ gallery.T
    for row, query in enumerate(queries):
        if query.fusion is not None:
            scores[row] = resolve(query, around).scores(gallery)
    return scores


def neighbours_among(vectors: Float[Tensor, "n d"]) -> Neighbours:
    """Return a function that finds the nearest of given features."""

    def nearest(direction: Float[Tensor, " d"], count: int) -> Float[Tensor, "k d"]:
        return vectors[(vectors @ direction).topk(min(count, len(vectors))).indices]

    return nearest


def _reference_direction(fusion: Fusion, around: Surroundings) -> Float[Tensor, " d"]:
    """Return the centred reference of length one, expanded by its neighbours."""
    assert fusion.reference is not None
    centre = around.background.float().mean(dim=0)
    reference = fusion.reference.float().cpu() - fusion.gallery_share * centre
    direction = functional.normalize(reference, dim=0)
    if not fusion.num_neighbours:
        return direction
    seen = functional.normalize(_projected(direction, fusion), dim=0)
    neighbours = around.neighbours(seen, fusion.num_neighbours).float()
    expansion = functional.normalize(neighbours.mean(dim=0) - centre, dim=0)
    return functional.normalize(direction + expansion, dim=0)


def _projected(vector: Float[Tensor, " d"], fusion: Fusion) -> Float[Tensor, " d"]:
    if fusion.projection is None:
        return vector
    rows = fusion.projection.float().cpu()
    return rows.T @ (rows @ vector)


def _on_cosines(
    query: FusedQuery, background: Float[Tensor, "b d"], cosines: Float[Tensor, " b"]
) -> FusedQuery:
    """Return the query with scores of the mean and spread of cosines in the same pictures."""
    raw = query.scores(background)
    scale = float(cosines.std(correction=0) / raw.std(correction=0).clamp(min=_LEAST_SPREAD))
    scale = scale or 1.0  # one picture has no spread
    return replace(query, scale=scale, shift=float(cosines.mean() - scale * raw.mean()))
