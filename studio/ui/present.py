"""Presentation of hits and results on the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from generation.best_of import Selection
from generation.lora import LoraSource
from retrieval.confidence import Confidence
from retrieval.files import picture_file
from retrieval.filters.tree import Filter
from retrieval.search import Gallery, Hit, Ranking
from retrieval.store.schema import metadata_of
from studio.errors import UsageError
from studio.ui.feedback import NO_FEEDBACK, Feedback
from studio.ui.texts import Facts

NUM_OVERVIEW = 24
NOTHING_PASSES_FILTER = "Nothing in the gallery matches the filter."
NO_PICTURE = "There is no picture to choose; search for something else."
_TITLE_LENGTH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class PagePicture:
    """A picture on the page.

    Attributes:
        file: Its file on the server.
        label: Text on its tile.
        facts: Facts beside it.
        id: Id of its item in the gallery; empty for a generated image.
    """

    file: Path
    label: str
    facts: Facts
    id: str = ""


def loras_line(loras: Sequence[LoraSource]) -> str:
    """Return the line that names the LoRAs added to the kit; empty where there are none."""
    names = [f"{lora.file.stem} at {lora.scale:g}" for lora in loras]
    return f"LoRAs: {', '.join(names)}." if names else ""


def agreement_rows(selection: Selection | None) -> tuple[tuple[str, str], ...]:
    """Return the facts about a result's place among several; none where it has no place."""
    if selection is None:
        return ()
    sides = (("Drawing", selection.agreement.reference), ("Words", selection.agreement.words))
    cosines = ((name, f"{cosine:.3f}") for name, cosine in sides if cosine is not None)
    return (("Rank", f"{selection.rank} of {selection.num_drawn}"), *cosines)


def transfer_line(words: str, strength: float, moved: PagePicture, duration_s: float) -> str:
    """Return the line about a transferred picture, with its place where several were drawn."""
    rows = dict(moved.facts.rows)
    line = f"{words}: strength {strength:g}, seed {rows['Seed']}, {duration_s:.1f} s."
    if "Rank" not in rows:
        return line
    sides = (("the picture", "Drawing"), ("the domain", "Words"))
    cosines = " and ".join(f"{name} {rows[key]}" for name, key in sides if key in rows)
    return f"{line} Rank {rows['Rank']} by agreement: {cosines}."


def index_of(pictures: Sequence[PagePicture], picked: str) -> int:
    """Return the index of the large picture: the picked one, else the first."""
    return next((index for index, picture in enumerate(pictures) if picture.id == picked), 0)


def selected_picture(pictures: Sequence[PagePicture], picked: str) -> PagePicture:
    """Return the large picture.

    Raises:
        UsageError: There is no picture.
    """
    if not pictures:
        raise UsageError(NO_PICTURE)
    return pictures[index_of(pictures, picked)]


def pictures_of_ranking(
    ranking: Ranking, feedback: Feedback = NO_FEEDBACK
) -> tuple[PagePicture, ...]:
    """Present the hits of a ranking, with a sign on those with feedback."""
    return tuple(_of_hit(hit, feedback.sign(hit.id)) for hit in ranking.hits)


def ranking_line(ranking: Ranking, confidence: Confidence | None, is_filtered: bool = False) -> str:
    """Return the line above the hits."""
    if is_filtered and not ranking.hits:
        return NOTHING_PASSES_FILTER
    among = "the filtered gallery" if is_filtered else f"{ranking.num_items:,} pictures"
    line = f"The closest {len(ranking.hits)} of {among}, best first."
    if folded := sum(len(hit.near_duplicates) for hit in ranking.hits):
        line = f"{line} {folded} near-duplicates of them are left out."
    if confidence is None or confidence.matches:
        return line
    return f"Nothing here matches well. {line}"


def overview_line(pictures: Sequence[PagePicture], num_items: int, is_filtered: bool) -> str:
    """Return the line above a spread of the gallery."""
    if is_filtered and not pictures:
        return NOTHING_PASSES_FILTER
    if is_filtered:
        return "A selection of the filtered gallery. Draw or write to search."
    return f"A selection of the gallery: {num_items:,} pictures. Draw or write to search."


def overview(
    gallery: Gallery, where: Filter | None = None, num: int = NUM_OVERVIEW
) -> tuple[PagePicture, ...]:
    """Present a spread of the gallery, or of its filtered part; the same every time."""
    return tuple(
        PagePicture(
            file=picture_file(gallery.root, item.path),
            label=_label(metadata_of(item), item.path),
            facts=_facts(metadata_of(item), item.path, ()),
            id=item.id,
        )
        for item in gallery.sample_items(num, where)
    )


def _of_hit(hit: Hit, sign: str) -> PagePicture:
    first = (("Similarity", f"{hit.score:.3f}"),)
    return PagePicture(
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
