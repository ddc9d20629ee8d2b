"""From hits and results to what the page shows of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.confidence import Confidence
from retrieval.search import Gallery, Hit, Ranking
from retrieval.store import metadata_of
from studio.ui.texts import Facts

NUM_OVERVIEW = 24
_TITLE_LENGTH = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A picture on the page: the server's own file, a short name and the facts."""

    file: Path
    label: str
    facts: Facts


def of_ranking(ranking: Ranking) -> tuple[Shown, ...]:
    """Present the hits of a ranking."""
    return tuple(_of_hit(hit) for hit in ranking.hits)


def found_line(ranking: Ranking, confidence: Confidence | None) -> str:
    """Say over the hits what they are."""
    line = f"The closest {len(ranking.hits)} of {ranking.num_items:,} pictures, best first."
    if folded := sum(len(hit.near_duplicates) for hit in ranking.hits):
        line = f"{line} {folded} that look the same as one of them are left out."
    if confidence is None or confidence.matches:
        return line
    return f"Nothing here matches well. {line}"


def overview(gallery: Gallery, num: int = NUM_OVERVIEW) -> tuple[Shown, ...]:
    """Present a spread of the gallery, the same every time."""
    return tuple(
        Shown(
            file=gallery.root / item.path,
            label=_label(metadata_of(item), item.path),
            facts=_facts(metadata_of(item), item.path, ()),
        )
        for item in gallery.spread(num)
    )


def _of_hit(hit: Hit) -> Shown:
    first = (("Rank", str(hit.rank)), ("Similarity", f"{hit.score:.3f}"))
    return Shown(
        file=hit.file,
        label=f"{hit.rank}  {_label(hit.metadata, hit.path)}",
        facts=_facts(hit.metadata, hit.path, first),
    )


Metadata = Mapping[str, str | int | list[str]]


def _label(metadata: Metadata, path: str) -> str:
    return str(metadata.get("kind") or metadata.get("caption") or Path(path).stem)[:60]


def _facts(metadata: Metadata, path: str, first: Sequence[tuple[str, str]]) -> Facts:
    rows = [*first]
    for key, name in (("kind", "Kind"), ("domain", "Domain"), ("tags", "Tags")):
        if value := metadata.get(key):
            rows.append((name, ", ".join(value) if isinstance(value, list) else str(value)))
    width, height = metadata.get("width_px"), metadata.get("height_px")
    if width and height:
        rows.append(("Size", f"{width} × {height} px"))
    rows.append(("File", path))
    title = str(metadata.get("caption") or Path(path).stem)
    return Facts(title=title[:_TITLE_LENGTH], rows=tuple(rows))
