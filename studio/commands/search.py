"""`duet search`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from composer.composed import ComposedQuery
from composer.query import Query
from composer.sketch import rasterise
from generation.sample import RunOptions
from retrieval.confidence import Confidence
from retrieval.evidence import Evidence
from retrieval.files import open_gallery_picture, printable
from retrieval.filters.language import parse
from retrieval.search import Hit, Ranking, Refinement
from studio.best_of import check_number
from studio.commands.adapters import read_tokens, token_files
from studio.commands.options import SearchOptions
from studio.commands.outputs import OutputRules, picture_writer, plan_output, save_all
from studio.commands.shared import (
    ProgressLine,
    compose_query,
    index_of_option,
    open_engine,
    print_json,
    print_line,
    warn,
)
from studio.engine import Engine
from studio.errors import UsageError
from studio.evidence_marks import evidence_as_json, explain_hit, legend, mark_evidence
from studio.imagine import Imagination, imagine
from studio.sheet import Tile, contact_sheet

NOTHING_MATCHES = "Nothing in this gallery matches well; the closest pictures are:"
NOTHING_PASSES = "No picture of this gallery passes the filter, or is among the earlier hits."
SHEET_TILE_PX = 200


def run(options: SearchOptions) -> int:
    """Search, print the hits, and save the sheet and the query if requested."""
    where = parse(options.filter) if options.filter is not None else None
    if options.imagine is not None:
        check_number(options.imagine, "--imagine")
    sheet, saved_query = _outputs(options)
    words = read_tokens(options.query.tokens)
    engine = open_engine(options.kit).with_words(words, to_search=True)
    query, composed = compose_query(engine, options.query)
    index = index_of_option(options.index)
    refinement = _refinement(options)
    ranking = engine.search(composed, index, options.top_k, where, refinement)
    confidence = engine.confidence(composed, ranking)
    imagined: tuple[Image.Image, ...] = ()
    if options.imagine is not None:
        composed, imagined = _imagine(engine, query, composed, options)
        ranking = engine.search(composed, index, options.top_k, where, refinement)
    if saved_query:
        save_all([saved_query], [composed.save], overwrite=options.overwrite)
    evidence: dict[str, Evidence | None] = {}
    if options.evidence:
        sketch = None if query is None else query.sketch
        evidence = {
            hit.id: explain_hit(engine.search_backbone, composed, hit, sketch)
            for hit in ranking.hits
        }
    if sheet:
        drawn = ranking_sheet(ranking, query, composed.text, evidence, imagined)
        save_all([sheet], [picture_writer(drawn)], overwrite=options.overwrite)
    if options.json:
        hits = [_as_json(hit, evidence if options.evidence else None) for hit in ranking.hits]
        print_json({"hits": hits, "confidence": confidence and round(confidence.probability, 4)})
    else:
        _print_hits(
            ranking, confidence, is_narrowed=where is not None or options.within is not None
        )
    return 0


def _imagine(
    engine: Engine, query: Query | None, composed: ComposedQuery, options: SearchOptions
) -> tuple[ComposedQuery, tuple[Image.Image, ...]]:
    """Return the query averaged with pictures of it, and the pictures.

    Its confidence is that of the plain search, which is what was calibrated.
    """
    assert options.imagine is not None
    run_options = RunOptions(on_step=ProgressLine("step"))
    sketch = None if query is None else query.sketch
    imagined = imagine(
        engine, composed, sketch, Imagination(num=options.imagine, seed=options.seed), run_options
    )
    if composed.reference_feature is None:
        warn("With words alone, imagined pictures find less than the words do; add a drawing.")
    return imagined.query, imagined.images


def _outputs(options: SearchOptions) -> tuple[Path | None, Path | None]:
    """Return where the sheet and the query are saved, if they are wanted.

    Raises:
        UsageError: One could not be written.
    """
    given = (options.query.sketch, options.query.image, options.query.saved_query, options.within)
    inputs = (
        *(path for path in given if path is not None),
        *token_files(options.query.tokens),
    )
    sheet = OutputRules(
        option="--sheet",
        suffix=".png",
        why="as it is a PNG",
        inputs=inputs,
        overwrite=options.overwrite,
    )
    query = replace(
        sheet, option="--save-query", suffix=".safetensors", why="as --query reads no other format"
    )
    return (
        None if options.sheet is None else plan_output(options.sheet, sheet),
        None if options.save_query is None else plan_output(options.save_query, query),
    )


def _print_hits(ranking: Ranking, confidence: Confidence | None, *, is_narrowed: bool) -> None:
    if not ranking.hits and is_narrowed:
        print_line(NOTHING_PASSES)
        return
    if confidence is not None and not confidence.matches:
        print_line(NOTHING_MATCHES)
    for hit in ranking.hits:
        caption = printable(str(hit.metadata.get("caption", "")))
        print_line(f"{hit.rank:3}  {hit.score:.3f}  {printable(hit.path)}  {caption}")
    if num_folded := sum(len(hit.near_duplicates) for hit in ranking.hits):
        print_line(f"{num_folded} near-duplicates of these are left out; --all-copies lists them.")


def _refinement(options: SearchOptions) -> Refinement:
    """Return the refinement of a search by the hits of an earlier one.

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
                f"{options.within} must be the output of duet search --json."
            ) from error
    return Refinement(
        liked=options.like,
        unliked=options.unlike,
        within=within,
        diversity=options.diversity,
        folds=not options.all_copies,
    )


def ranking_sheet(
    ranking: Ranking,
    query: Query | None,
    text: str,
    evidence: Mapping[str, Evidence | None],
    imagined: Sequence[Image.Image] = (),
) -> Image.Image:
    """Draw a sheet of the query and its hits, with marks where there is evidence.

    A hit whose file is gone is left blank. Imagined pictures come before the hits.
    """
    tiles = [
        Tile(image=image, title=f"imagined {number}") for number, image in enumerate(imagined, 1)
    ]
    tiles += [_tile(hit, evidence.get(hit.id)) for hit in ranking.hits]
    return contact_sheet(tiles, query=_query_tile(query, text), tile_px=SHEET_TILE_PX)


def _tile(hit: Hit, evidence: Evidence | None) -> Tile:
    try:
        image = open_gallery_picture(hit.file)
    except ValueError:
        image = Image.new("RGB", (SHEET_TILE_PX, SHEET_TILE_PX), "white")
    about = str(hit.metadata.get("caption") or hit.path)
    if evidence is not None and evidence.words:
        image, about = mark_evidence(image, evidence), legend(evidence)
    return Tile(image=image, title=f"{hit.rank}   {hit.score:.3f}", subtitle=about)


def _query_tile(query: Query | None, text: str) -> Tile | None:
    if query is not None and query.image is not None:
        return Tile(image=query.image, title="query", subtitle=text)
    if query is not None and query.sketch is not None:
        ink = Image.fromarray(rasterise(query.sketch, SHEET_TILE_PX))
        return Tile(image=ink, title="query", subtitle=text)
    blank = Image.new("RGB", (SHEET_TILE_PX, SHEET_TILE_PX), "white")
    return Tile(image=blank, title="query (words alone)", subtitle=text)


def _as_json(hit: Hit, evidence: Mapping[str, Evidence | None] | None) -> dict[str, object]:
    fields: dict[str, object] = {
        **hit.metadata,
        "rank": hit.rank,
        "id": hit.id,
        "path": hit.path,
        "file": str(hit.file),
        "score": round(hit.score, 6),
        "similarity": round(hit.similarity, 6),
        "near_duplicates": list(hit.near_duplicates),
    }
    if evidence is not None:
        fields["evidence"] = evidence_as_json(evidence[hit.id])
    return fields
