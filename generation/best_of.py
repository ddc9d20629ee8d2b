"""Order of several pictures of one query, by how well each agrees with the query's two sides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from composer.composed import ComposedQuery

MAX_BEST_OF = 64
LEAST_SPREAD = 1e-3  # of cosines; smaller differences are rounding


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Agreement of one picture with the two sides of its query.

    Attributes:
        reference: cosine of the picture's feature and the reference's; None without a reference.
        words: cosine of the picture's feature and the words'; None without words.
        score: what the pictures of a query are ordered by, higher first; see `agreements`.
    """

    reference: float | None
    words: float | None
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Place of a picture among all that were drawn of its query.

    Attributes:
        rank: 1 is the best.
        num_drawn: number of pictures.
        agreement: why.
    """

    rank: int
    num_drawn: int
    agreement: Agreement

    def as_fields(self) -> dict[str, Any]:
        """Return the selection as values of JSON."""
        place = {"rank": self.rank, "num_drawn": self.num_drawn}
        return place | asdict(self.agreement)


def agreements(query: ComposedQuery, features: Float[Tensor, "n d"]) -> tuple[Agreement, ...]:
    """Score the pictures of one query by its reference and by its words.

    The cosines of a side are those that a search by this side alone ranks by. The two sides have
    different means and spreads, so each is standardised among the pictures before they are added:
    its mean becomes 0 and its standard deviation 1, less where the pictures differ by less than
    `LEAST_SPREAD`. The query's balance b weighs them by 2 (1 - b) and 2 b: alike at 0.5, one side
    alone at an end. A query of one side is scored by that side. Scores compare pictures of one
    query; the cosines also compare queries.

    Args:
        query: the query.
        features: unit vectors of the pictures, in the joint space of the query's features.
    """
    pictures = features.float()
    reference, words = query.reference_feature, query.words_feature
    to_reference = None if reference is None else pictures @ reference.to(pictures)
    to_words = None if words is None else pictures @ words.to(pictures)
    if to_reference is None or to_words is None:
        alone = to_words if to_reference is None else to_reference
        assert alone is not None  # no query is empty
        scores = _standardised(alone)
    else:
        scores = 2 * (1 - query.balance) * _standardised(to_reference)
        scores = scores + 2 * query.balance * _standardised(to_words)
    columns = (_column(to_reference, len(pictures)), _column(to_words, len(pictures)))
    return tuple(
        Agreement(reference=reference, words=words, score=round(score, 6))
        for reference, words, score in zip(*columns, scores.tolist(), strict=True)
    )


def best_first(scored: Sequence[Agreement]) -> list[int]:
    """Return the indices of pictures, the best first; equal ones keep their order."""
    return sorted(range(len(scored)), key=lambda index: -scored[index].score)


def selection_of(fields: Mapping[str, Any]) -> Selection:
    """Make a selection of what `Selection.as_fields` returned, from an untrusted file, if need be.

    Raises:
        KeyError: a field is missing.
        TypeError: a field is of another type.
        ValueError: a number is out of range.
    """
    rank, num_drawn = fields["rank"], fields["num_drawn"]
    if type(rank) is not int or type(num_drawn) is not int:
        raise TypeError("Rank and number of pictures must be whole.")
    if not 1 <= rank <= num_drawn <= MAX_BEST_OF:
        raise ValueError("The rank must be one of the pictures'.")
    score = _number(fields["score"])
    if score is None:
        raise ValueError("A selection has a score.")
    agreement = Agreement(
        reference=_number(fields["reference"]), words=_number(fields["words"]), score=score
    )
    return Selection(rank=rank, num_drawn=num_drawn, agreement=agreement)


def _standardised(cosines: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return (cosines - cosines.mean()) / cosines.std(correction=0).clamp(min=LEAST_SPREAD)


def _column(cosines: Float[Tensor, " n"] | None, count: int) -> list[float | None]:
    """Return the cosines of a side as they are kept; None for each picture without the side."""
    if cosines is None:
        return [None] * count
    return [round(cosine, 6) for cosine in cosines.tolist()]


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("A score must be a number.")
    if not math.isfinite(value):
        raise ValueError("A score must be finite.")
    return value
