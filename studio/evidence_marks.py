"""Evidence of hits as marks on their pictures, and as JSON."""

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.sketch import Sketch
from retrieval.evidence import Evidence, explain
from retrieval.files import open_gallery_picture
from retrieval.search import Hit

# Distinct for most kinds of colour vision, on light and dark pictures.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def explain_hit(
    backbone: Backbone, query: ComposedQuery, hit: Hit, sketch: Sketch | None
) -> Evidence | None:
    """Return which patches of a hit match which parts of its query; None if its file is gone."""
    try:
        picture = open_gallery_picture(hit.file)
    except ValueError:
        return None
    return explain(backbone, query, picture, sketch)


def evidence_as_json(evidence: Evidence | None) -> Mapping[str, Any] | None:
    """Return the strongest patch of each word and stroke: left, top, right, bottom in fractions."""
    if evidence is None:
        return None
    return {
        "words": [
            {"word": word.word, "phrase": word.phrase, "box": _rounded(evidence.box(word.patch))}
            for word in evidence.words
        ],
        "strokes": [
            {"stroke": stroke.index, "box": _rounded(evidence.box(stroke.patch))}
            for stroke in evidence.strokes
        ],
    }


def mark_evidence(image: Image.Image, evidence: Evidence) -> Image.Image:
    """Return a copy on which the strongest patch of each phrase is framed and numbered."""
    copy = image.convert("RGB").copy()
    pen = ImageDraw.Draw(copy)
    side = max(copy.size)
    font = ImageFont.load_default(size=max(10, side // 14))
    for number, (_, patch) in enumerate(_by_phrase(evidence).items()):
        left, top, right, bottom = evidence.box(patch)
        corners = (
            left * copy.width,
            top * copy.height,
            right * copy.width - 1,
            bottom * copy.height - 1,
        )
        colour = COLOURS[number % len(COLOURS)]
        pen.rectangle(corners, outline=colour, width=max(2, side // 80))
        pen.text(corners[:2], f" {number + 1}", fill=colour, font=font, stroke_width=1)
    return copy


def legend(evidence: Evidence) -> str:
    """Return the phrases that the numbers of `mark_evidence` stand for."""
    return ", ".join(f"{n} {phrase}" for n, phrase in enumerate(_by_phrase(evidence), 1))


def _by_phrase(evidence: Evidence) -> dict[str, tuple[int, int]]:
    return {word.phrase: word.patch for word in evidence.words}


def _rounded(box: tuple[float, ...]) -> list[float]:
    return [round(value, 4) for value in box]
