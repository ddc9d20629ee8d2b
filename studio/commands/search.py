"""`duet search`."""

import json
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from composer.images import open_image
from composer.query import Query
from composer.sketch import rasterise
from retrieval.evidence import Evidence
from retrieval.filters.language import parse
from retrieval.search import Hit, Ranking, Refinement
from retrieval.store.schema import MANIFEST
from studio.commands.options import SearchOptions
from studio.commands.shared import (
    compose_query,
    open_engine,
    print_json,
    print_line,
    translate_save_errors,
)
from studio.errors import UsageError
from studio.evidence import evidence_json, explain_hit, legend, marked
from studio.sheet import Tile, contact_sheet

NOTHING_MATCHES = "Nothing in this gallery matches well; these come nearest."
SHEET_TILE_PX = 200


def run(options: SearchOptions) -> int:
    """Search, then print the hits and save what was asked for."""
    where = parse(options.filter) if options.filter is not None else None
    engine = open_engine(options.kit)
    query, composed = compose_query(engine, options.query)
    chosen = options.index
    index = index_folder(chosen) if isinstance(chosen, Path) else chosen
    ranking = engine.search(composed, index, options.top_k, where, _refinement(options))
    confidence = engine.confidence(composed, ranking)
    if options.save_query:
        with translate_save_errors(options.save_query):
            composed.save(options.save_query)
    found: dict[str, Evidence | None] = {}
    if options.evidence:
        sketch = None if query is None else query.sketch
        found = {
            hit.id: explain_hit(engine.backbone, composed, hit, sketch) for hit in ranking.hits
        }
    if options.sheet:
        with translate_save_errors(options.sheet):
            ranking_sheet(ranking, query, composed.text, found).save(options.sheet)
    if options.json:
        hits = [_as_json(hit) for hit in ranking.hits]
        if options.evidence:
            hits = [{**hit, "evidence": evidence_json(found[str(hit["id"])])} for hit in hits]
        print_json({"hits": hits, "confidence": confidence and round(confidence.probability, 4)})
    else:
        if confidence is not None and not confidence.matches:
            print_line(NOTHING_MATCHES)
        for hit in ranking.hits:
            print_line(
                f"{hit.rank:3}  {hit.score:.3f}  {hit.path}  {hit.metadata.get('caption', '')}"
            )
    return 0


def _refinement(options: SearchOptions) -> Refinement:
    """What hits of an earlier search led to.

    Raises:
        UsageError: The file of the earlier search cannot be read.
    """
    within = None
    if options.within is not None:
        try:
            hits = json.loads(options.within.read_text(encoding="utf-8"))["hits"]
            within = tuple(str(hit["id"]) for hit in hits)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{options.within} must be what duet search --json printed."
            ) from error
    return Refinement(
        liked=options.like,
        unliked=options.unlike,
        within=within,
        diversity=options.diversity,
        folds=not options.all_copies,
    )


def index_folder(chosen: Path) -> Path:
    """Accept an index folder, or a picture folder whose index lies in the usual place."""
    if not (chosen / MANIFEST).exists():
        inside = chosen / DEFAULT_INDEX
        if (inside / MANIFEST).exists():
            return inside
    return chosen


DEFAULT_INDEX = ".duet"


def ranking_sheet(
    ranking: Ranking, query: Query | None, text: str, evidence: Mapping[str, Evidence | None]
) -> Image.Image:
    """Draw the query and its hits, marked where there is evidence of them.

    A file that has gone since is shown as a blank.
    """
    tiles = [_tile(hit, evidence.get(hit.id)) for hit in ranking.hits]
    return contact_sheet(tiles, query=_query_tile(query, text), tile_px=SHEET_TILE_PX)


def _tile(hit: Hit, evidence: Evidence | None) -> Tile:
    try:
        image = open_image(hit.file)
    except ValueError:
        image = Image.new("RGB", (SHEET_TILE_PX, SHEET_TILE_PX), "white")
    about = str(hit.metadata.get("caption") or hit.path)
    if evidence is not None and evidence.words:
        image, about = marked(image, evidence), legend(evidence)
    return Tile(image=image, title=f"{hit.rank}   {hit.score:.3f}", subtitle=about)


def _query_tile(query: Query | None, text: str) -> Tile | None:
    if query is not None and query.image is not None:
        return Tile(image=query.image, title="query", subtitle=text)
    if query is not None and query.sketch is not None:
        ink = Image.fromarray(rasterise(query.sketch, SHEET_TILE_PX))
        return Tile(image=ink, title="query", subtitle=text)
    blank = Image.new("RGB", (SHEET_TILE_PX, SHEET_TILE_PX), "white")
    return Tile(image=blank, title="query (words alone)", subtitle=text)


def _as_json(hit: Hit) -> dict[str, object]:
    return {
        **hit.metadata,
        "rank": hit.rank,
        "id": hit.id,
        "path": hit.path,
        "file": str(hit.file),
        "score": round(hit.score, 6),
        "similarity": round(hit.similarity, 6),
        "near_duplicates": list(hit.near_duplicates),
    }
