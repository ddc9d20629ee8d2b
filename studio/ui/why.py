"""Why this one: what of a picture answers which words and which lines, as marks upon it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from composer.composed import ComposedQuery
from composer.images import open_image
from composer.query import Query
from composer.sketch import Sketch
from retrieval.evidence import Evidence, Patch, explain
from studio.engine import Engine
from studio.evidence_marks import COLOURS
from studio.ui.present import Shown
from studio.ui.texts import Facts, Mark

NO_QUERY = "Draw or say something first: the marks show what of it was found in the picture."
NOTHING_MARKED = "Nothing in the query points at one place of this picture."
GONE = "The picture's file has gone since."
MAX_LINES = 3  # more frames than that say nothing
MAX_POINTS, MAX_DRAWN = 16, 80  # of the small drawings in the legend


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A query and what it was composed into."""

    query: Query
    composed: ComposedQuery


def explained(engine: Engine, asked: Asked | None, shown: Shown) -> Facts:
    """Return a picture's facts with the marks of a query; costs some passes of the kit's eye."""
    if asked is None:
        return shown.facts.noting(NO_QUERY)
    try:
        picture = open_image(shown.file)
    except ValueError:
        return shown.facts.noting(GONE)
    sketch = asked.query.sketch
    found = explain(engine.backbone, asked.composed, picture, sketch)
    marks = marks_of(found, sketch)
    if not marks:
        return shown.facts.noting(NOTHING_MARKED)
    return shown.facts.marking(marks, picture.width / picture.height)


def marks_of(evidence: Evidence, sketch: Sketch | None) -> tuple[Mark, ...]:
    """One mark for each phrase; of a query without words, for the longest lines of its drawing."""
    phrases = {one.phrase: one.patch for one in evidence.words}
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
    """Gather the strokes that one patch answers; those with the most ink first."""
    strokes = sketch.strokes or ()
    ink: dict[Patch, float] = {}
    lines: dict[Patch, tuple[int, ...]] = {}
    for one in evidence.strokes:
        ink[one.patch] = ink.get(one.patch, 0.0) + _length(strokes[one.index])
        lines[one.patch] = (*lines.get(one.patch, ()), one.index)
    return sorted(lines.items(), key=lambda found: -ink[found[0]])


def _length(stroke: Float[np.ndarray, "_ _"]) -> float:
    return float(np.linalg.norm(np.diff(stroke[:, :2], axis=0), axis=1).sum())


def _small(sketch: Sketch) -> tuple[tuple[tuple[float, float], ...], ...]:
    """A drawing of few points, for a legend; only its first strokes where it has very many."""
    found: list[tuple[tuple[float, float], ...]] = []
    for stroke in (sketch.strokes or ())[:MAX_DRAWN]:
        kept = np.linspace(0, len(stroke) - 1, min(len(stroke), MAX_POINTS)).round().astype(int)
        found.append(tuple((round(float(x), 3), round(float(y), 3)) for x, y in stroke[kept, :2]))
    return tuple(found)
