"""Explanation of a hit: marks where words and lines of the query match."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from composer.composed import ComposedQuery
from composer.query import Query
from composer.sketch import Sketch
from retrieval.evidence import Evidence, Patch, explain
from retrieval.files import open_gallery_picture
from studio.engine import Engine
from studio.evidence_marks import COLOURS
from studio.ui.present import PagePicture
from studio.ui.texts import Facts, Mark

NO_QUERY = "Draw or write something first; the marks show where it matches the picture."
NOTHING_MARKED = "No part of the query matches one region of this picture."
FILE_GONE = "The file of the picture no longer exists."
MAX_LINES = 3  # more frames would cover the picture
MAX_POINTS, MAX_STROKES = 16, 80  # of the small drawings in the legend


@dataclass(frozen=True, kw_only=True, slots=True)
class PageQuery:
    """A query of the page, as sent and composed."""

    query: Query
    composed: ComposedQuery


def explain_picture(
    engine: Engine, page_query: PageQuery | None, page_picture: PagePicture
) -> Facts:
    """Return the facts of a picture with the marks of a query; costs several encoder passes."""
    if page_query is None:
        return page_picture.facts.with_note(NO_QUERY)
    try:
        picture = open_gallery_picture(page_picture.file)
    except ValueError:
        return page_picture.facts.with_note(FILE_GONE)
    sketch = page_query.query.sketch
    evidence = explain(engine.search_backbone, page_query.composed, picture, sketch)
    marks = marks_of(evidence, sketch)
    if not marks:
        return page_picture.facts.with_note(NOTHING_MARKED)
    return page_picture.facts.with_marks(marks, picture.width / picture.height)


def marks_of(evidence: Evidence, sketch: Sketch | None) -> tuple[Mark, ...]:
    """Return a mark for each phrase; without words, for the longest lines of the drawing."""
    phrases = {word.phrase: word.patch for word in evidence.words}
    if phrases:
        return tuple(
            Mark(box=evidence.box(patch), about=phrase, colour=colour)
            for (phrase, patch), colour in zip(phrases.items(), COLOURS, strict=False)
        )
    if sketch is None:
        return ()
    drawing, longest = _small(sketch), _longest_together(evidence, sketch)[:MAX_LINES]
    return tuple(
        Mark(box=evidence.box(patch), about="", colour=colour, lines=lines, drawing=drawing)
        for (patch, lines), colour in zip(longest, COLOURS, strict=False)
    )


def _longest_together(evidence: Evidence, sketch: Sketch) -> list[tuple[Patch, tuple[int, ...]]]:
    """Return the strokes that match each patch, the longest first."""
    strokes = sketch.strokes or ()
    ink: dict[Patch, float] = {}
    lines: dict[Patch, tuple[int, ...]] = {}
    for stroke in evidence.strokes:
        ink[stroke.patch] = ink.get(stroke.patch, 0.0) + _length(strokes[stroke.index])
        lines[stroke.patch] = (*lines.get(stroke.patch, ()), stroke.index)
    return sorted(lines.items(), key=lambda entry: -ink[entry[0]])


def _length(stroke: Float[np.ndarray, "_ _"]) -> float:
    return float(np.linalg.norm(np.diff(stroke[:, :2], axis=0), axis=1).sum())


def _small(sketch: Sketch) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return the first strokes of a drawing with few points each, for a legend."""
    reduced: list[tuple[tuple[float, float], ...]] = []
    for stroke in (sketch.strokes or ())[:MAX_STROKES]:
        kept = np.linspace(0, len(stroke) - 1, min(len(stroke), MAX_POINTS)).round().astype(int)
        reduced.append(tuple((round(float(x), 3), round(float(y), 3)) for x, y in stroke[kept, :2]))
    return tuple(reduced)
