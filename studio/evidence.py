"""Evidence of hits for the command line: marks on pictures, and the same as JSON."""

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.images import open_image
from composer.sketch import Sketch
from retrieval.evidence import Evidence, explain
from retrieval.search import Hit

# Apart from each other for most eyes, on light and dark pictures.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def explain_hit(
    backbone: Backbone, query: ComposedQuery, hit: Hit, sketch: Sketch | None
) -> Evidence | None:
    """Find what of a hit answers what of its query; None where the file has gone since."""
    try:
        picture = open_image(hit.file)
    except ValueError:
        return None
    return explain(backbone, query, picture, sketch)


def evidence_json(evidence: Evidence | None) -> Mapping[str, Any] | None:
    """The strongest patch of each word and stroke: left, top, right, bottom in fractions."""
    if evidence is None:
        return None
    return {
        "words": [
            {"word": one.word, "phrase": one.phrase, "box": _rounded(evidence.box(one.patch))}
            for one in evidence.words
        ],
        "strokes": [
            {"stroke": one.index, "box": _rounded(evidence.box(one.patch))}
            for one in evidence.strokes
        ],
    }


def marked(image: Image.Image, evidence: Evidence) -> Image.Image:
    """A copy with the strongest patch of each phrase framed and numbered in its order."""
    shown = image.convert("RGB").copy()
    pen = ImageDraw.Draw(shown)
    side = max(shown.size)
    font = ImageFont.load_default(size=max(10, side // 14))
    for number, (_, patch) in enumerate(_by_phrase(evidence).items()):
        left, top, right, bottom = evidence.box(patch)
        corners = (
            left * shown.width,
            top * shown.height,
            right * shown.width - 1,
            bottom * shown.height - 1,
        )
        colour = COLOURS[number % len(COLOURS)]
        pen.rectangle(corners, outline=colour, width=max(2, side // 80))
        pen.text(corners[:2], f" {number + 1}", fill=colour, font=font, stroke_width=1)
    return shown


def legend(evidence: Evidence) -> str:
    """What the numbers of `marked` stand for."""
    return ", ".join(f"{n} {phrase}" for n, phrase in enumerate(_by_phrase(evidence), 1))


def _by_phrase(evidence: Evidence) -> dict[str, tuple[int, int]]:
    return {one.phrase: one.patch for one in evidence.words}


def _rounded(box: tuple[float, ...]) -> list[float]:
    return [round(value, 4) for value in box]
