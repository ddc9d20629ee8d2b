"""Search before generation: whether a gallery already holds what is about to be drawn."""

from dataclasses import dataclass
from pathlib import Path

from composer.composed import ComposedQuery
from retrieval.confidence import Confidence
from retrieval.errors import GalleryError
from retrieval.files import printable
from retrieval.search import Hit
from studio.engine import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownMatch:
    """The best picture of a gallery for a query, where it counts as a match."""

    hit: Hit
    confidence: Confidence

    @property
    def sentence(self) -> str:
        """What the user is told before anything is drawn."""
        return (
            f"The gallery already has a match for this query: {printable(self.hit.path)} "
            f"(confidence {self.confidence.probability:.2f})."
        )


def find_known_match(
    engine: Engine, query: ComposedQuery, index: Path | str | None = None
) -> KnownMatch | None:
    """Search a gallery for a match whose confidence reaches the calibrated threshold.

    Args:
        engine: The kit that composed the query.
        query: The query.
        index: As `Engine.gallery` takes it. The shipped gallery (None) is passed over where it
            cannot be searched, as it is for kits of other encoders.

    Returns:
        None where nothing matches, or where the kit has no calibration for the query's composer.

    Raises:
        GalleryError: The index that was named cannot be used with this query.
        CalibrationError: The calibration cannot be read.
    """
    if query.composer not in engine.kit.search_tower.confidence:
        return None
    try:
        ranking = engine.search(query, index, top_k=1)
    except GalleryError:
        if index is not None:
            raise
        return None
    confidence = engine.confidence(query, ranking)
    if confidence is None or not confidence.matches:
        return None
    return KnownMatch(hit=ranking.hits[0], confidence=confidence)
