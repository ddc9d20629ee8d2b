"""From hits and results to what the page shows of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.confidence import Confidence
from retrieval.filters.tree import Filter
from retrieval.search import Gallery, Hit, Ranking
from retrieval.store.schema import metadata_of
from studio.errors import UsageError
from studio.ui.feedback import NO_FEEDBACK, Feedback
from studio.ui.texts import Facts

NUM_OVERVIEW = 24
NOTHING_MEETS = "Nothing in the gallery meets the condition."
NO_PICTURE = "There is no picture to choose here; search for something else."
_TITLE_LENGTH = 200
_MAX_NAMED_WORDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A picture on the page: the server's own file, a short name and the facts.

    Attributes:
        file: On the server's disk.
        label: On the tile.
        facts: Beside it.
        id: Of the gallery's item; empty for what was made here.
    """

    file: Path
    label: str
    facts: Facts
    id: str = ""


def place_of(shown: Sequence[Shown], picked: str) -> int:
    """Return where the picture is that is shown large: the picked one, else the first."""
    return next((place for place, one in enumerate(shown) if one.id == picked), 0)


def large_one(shown: Sequence[Shown], picked: str) -> Shown:
    """Return the picture that is shown large.

    Raises:
        UsageError: There is none.
    """
    if not shown:
        raise UsageError(NO_PICTURE)
    return shown[place_of(shown, picked)]


def of_ranking(ranking: Ranking, feedback: Feedback = NO_FEEDBACK) -> tuple[Shown, ...]:
    """Present the hits of a ranking; what was liked and not carries a sign."""
    return tuple(_of_hit(hit, feedback.sign(hit.id)) for hit in ranking.hits)


def found_line(ranking: Ranking, confidence: Confidence | None, is_narrowed: bool = False) -> str:
    """Say over the hits what they are."""
    if is_narrowed and not ranking.hits:
        return NOTHING_MEETS
    among = "the narrowed gallery" if is_narrowed else f"{ranking.num_items:,} pictures"
    line = f"The closest {len(ranking.hits)} of {among}, best first."
    if folded := sum(len(hit.near_duplicates) for hit in ranking.hits):
        line = f"{line} {folded} that look the same as one of them are left out."
    if confidence is None or confidence.matches:
        return line
    return f"Nothing here matches well. {line}"


def overview_line(shown: Sequence[Shown], num_items: int, is_narrowed: bool) -> str:
    """Say over a spread of the gallery what it is."""
    if is_narrowed and not shown:
        return NOTHING_MEETS
    if is_narrowed:
        return f"A look into the narrowed gallery, of {num_items:,} pictures. Draw, or say a word."
    return f"A look into the gallery: {num_items:,} pictures. Draw, or say a word."


def overview(
    gallery: Gallery, where: Filter | None = None, num: int = NUM_OVERVIEW
) -> tuple[Shown, ...]:
    """Present a spread of the gallery, or of what meets a condition, the same every time."""
    return tuple(
        Shown(
            file=gallery.root / item.path,
            label=_label(metadata_of(item), item.path),
            facts=_facts(metadata_of(item), item.path, ()),
            id=item.id,
        )
        for item in gallery.spread(num, where)
    )


def _of_hit(hit: Hit, sign: str) -> Shown:
    first = (("Similarity", f"{hit.score:.3f}"),)
    return Shown(
        file=hit.file,
        label=f"{sign}{hit.rank}  {_label(hit.metadata, hit.path)}",
        facts=_facts(hit.metadata, hit.path, first),
        id=hit.id,
    )


Metadata = Mapping[str, str | int | list[str]]


def _label(metadata: Metadata, path: str) -> str:
    return str(metadata.get("kind") or metadata.get("caption") or Path(path).stem)[:60]


def _facts(metadata: Metadata, path: str, first: Sequence[tuple[str, str]]) -> Facts:
    rows = [*first]
    for key, name in (("kind", "Kind"), ("domain", "Medium"), ("tags", "Tags")):
        if value := metadata.get(key):
            rows.append((name, ", ".join(value) if isinstance(value, list) else str(value)))
    width, height = metadata.get("width_px"), metadata.get("height_px")
    if width and height:
        rows.append(("Size", f"{width} × {height} px"))
    rows.append(("File", path))
    title = str(metadata.get("caption") or Path(path).stem)
    return Facts(title=title[:_TITLE_LENGTH], rows=tuple(rows))


def unknown_words_line(words: Sequence[str]) -> str:
    """Return the sentence that names words the kit does not know; empty without such words."""
    if not words:
        return ""
    named = ", ".join(f"“{word}”" for word in words[:_MAX_NAMED_WORDS])
    rest = len(words) - _MAX_NAMED_WORDS
    more = f" and {rest} more" if rest > 0 else ""
    verb = "is" if len(words) == 1 else "are"
    return f"{named}{more} {verb} unknown to this kit, so results may be off."
