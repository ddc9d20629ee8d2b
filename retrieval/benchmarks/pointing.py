"""Pointing game: whether evidence points at the part a word names, and at the position of a stroke.

Words: the attribute phrase names parts and their finishes, and the gallery has a map of parts. The
strongest patch of a part's phrase is right if that part has more pixels in it than any other part;
parts without such a patch are skipped. Chance is a patch drawn uniformly from those with a pixel of
the object; `chance_anywhere` is a patch drawn from all.

Strokes: the sketches do not tell which part a stroke belongs to, only its position. The expected
patch of a stroke has the same position in the object's bounding box as the stroke has in the
drawing's; the strongest patch is right within one patch of it, as cameras differ by up to 15
degrees. Drawings and pictures have the same framing, so each picture is first shrunk into a corner;
`chance_same_place` is how often the stroke's position on the paper is right nevertheless.
"""

import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from PIL import Image

from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.protocol import Composer
from retrieval.benchmarks.catalogue import STROKE_EXTENT
from retrieval.benchmarks.metrics import bootstrap
from retrieval.errors import GalleryError
from retrieval.evidence import Evidence, Patch, explain
from retrieval.strokes import path_cells

SHRUNK = 0.7
Row = dict[str, object]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AnnotatedPicture:
    """A picture with its map of parts, words and drawing.

    Attributes:
        design: Its design; the pictures of a design share camera and drawing.
        trained_kind: Whether its kind is in the training data.
        text: Attribute phrase.
        phrases: Finish and noun of each part that the text names.
        parts: i + 1 in pixels of `phrases[i]`, higher numbers for other parts, 0 for no part.
        picture: Mode "RGB", square.
        sketch: Drawing of the design.
    """

    design: str
    trained_kind: bool
    text: str
    phrases: tuple[str, ...]
    parts: UInt8[np.ndarray, "h w"]
    picture: Image.Image
    sketch: Sketch


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchResult:
    """Whether a patch is right, and the probability that a random patch is."""

    design: str
    is_right: bool
    chance: float
    chance_anywhere: float
    chance_same_position: float | None = None


def read_annotated(folder: Path) -> Iterator[AnnotatedPicture]:
    """Yield the pictures of a gallery with their part maps and drawings.

    Raises:
        GalleryError: One of the gallery's tables is missing.
    """
    try:
        items = pq.read_table(folder / "items.parquet").to_pylist()
        maps = pq.read_table(folder / "parts.parquet").to_pylist()
        drawn = pq.read_table(folder / "sketches.parquet").to_pylist()
    except (OSError, ValueError) as error:
        raise GalleryError(
            f"{folder} must hold items.parquet, parts.parquet and sketches.parquet."
        ) from error
    parts = {row["id"]: row["parts"] for row in maps}
    strokes = {(row["design"], row["skill"]): row["strokes"] for row in drawn}
    for item in items:
        sketch = strokes[item["design"], item["skill"]]
        yield _annotated(item, folder, parts[item["id"]], sketch)


def _annotated(
    item: Mapping[str, Any], folder: Path, parts: bytes, strokes: str
) -> AnnotatedPicture:
    pairs = zip(item["part_finishes"], item["part_names"], strict=True)
    return AnnotatedPicture(
        design=str(item["design"]),
        trained_kind=item["split"] == "test",
        text=str(item["attributes"]),
        phrases=tuple(f"{finish} {part}" for finish, part in pairs),
        parts=np.asarray(Image.open(io.BytesIO(parts))),
        picture=Image.open(folder / item["path"]).convert("RGB"),
        sketch=Sketch.from_json(strokes, extent=STROKE_EXTENT),
    )


def pointing_rows(composer: Composer, folder: Path) -> list[Row]:
    """Measure a composer's evidence on a gallery with part maps.

    Returns:
        Rows with `query` ("word", "stroke"), `split` ("seen", "unseen"), `rate` with its 95 %
        interval `low` to `high` over designs, `chance`, `ratio` of rate to chance,
        `chance_anywhere`, `ratio_anywhere`, `num` of words or strokes, and for strokes
        `chance_same_place`. Rates are means over designs.

    Raises:
        GalleryError: One of the gallery's tables is missing.
    """
    results: defaultdict[tuple[str, bool], list[PatchResult]] = defaultdict(list)
    corners: dict[str, int] = {}
    for annotated in read_annotated(folder):
        evidence = _explain(composer, annotated)
        results["word", annotated.trained_kind] += judge_words(annotated, evidence)
        if annotated.design not in corners:
            corners[annotated.design] = len(corners) % 4
            moved = shrink(annotated, corners[annotated.design])
            results["stroke", annotated.trained_kind] += judge_strokes(
                moved, _explain(composer, moved)
            )
    order = sorted(results, key=lambda key: (key[0] != "word", not key[1]))
    return [_row(query, trained, results[query, trained]) for query, trained in order]


def _explain(composer: Composer, annotated: AnnotatedPicture) -> Evidence:
    with torch.no_grad():
        encoded = composer.encode(Query(sketch=annotated.sketch))
        query = composer.compose(encoded, annotated.text)
    return explain(composer.backbone, query, annotated.picture, annotated.sketch)


def judge_words(annotated: AnnotatedPicture, evidence: Evidence) -> list[PatchResult]:
    """Judge the strongest patch of each named part that dominates a patch.

    Raises:
        ValueError: The evidence lacks a phrase of the picture.
    """
    winners = winning_parts(annotated.parts, evidence.heat.shape)
    patches = {word.phrase: word.patch for word in evidence.words}
    results: list[PatchResult] = []
    for number, phrase in enumerate(annotated.phrases, 1):
        right = winners == number
        if not right.any():
            continue
        if phrase not in patches:
            raise ValueError(f"The evidence must have the phrase {phrase!r}, got {list(patches)}.")
        results.append(
            PatchResult(
                design=annotated.design,
                is_right=bool(right[patches[phrase]]),
                chance=float(right.sum() / (winners > 0).sum()),
                chance_anywhere=float(right.mean()),
            )
        )
    return results


def winning_parts(
    parts: UInt8[np.ndarray, "h w"], grid: tuple[int, ...]
) -> Int[np.ndarray, "rows columns"]:
    """Return the part with most pixels in each patch, 0 for none.

    A pixel that lies in several patches counts for each by its share in it.
    """
    rows, columns = grid
    parts = parts.repeat(rows // math.gcd(rows, len(parts)), axis=0)
    parts = parts.repeat(columns // math.gcd(columns, parts.shape[1]), axis=1)
    height, width = parts.shape
    patches = parts.reshape(rows, height // rows, columns, width // columns).swapaxes(1, 2)
    patches = patches.reshape(rows, columns, -1)
    numbers = np.arange(1, max(int(parts.max()), 1) + 1)
    counts = (patches[..., None] == numbers).sum(axis=2)
    return np.where(counts.any(axis=2), counts.argmax(axis=2) + 1, 0)


def shrink(annotated: AnnotatedPicture, corner: int) -> AnnotatedPicture:
    """Shrink a picture into a corner: 0 upper left, 1 upper right, 2 lower left, 3 lower right."""
    levels = np.asarray(annotated.picture)
    rim = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    ground = tuple(int(level) for level in np.median(rim, axis=0))
    picture = _in_corner(annotated.picture, corner, ground, Image.Resampling.BICUBIC)
    parts = _in_corner(Image.fromarray(annotated.parts), corner, 0, Image.Resampling.NEAREST)
    return replace(annotated, picture=picture, parts=np.asarray(parts))


def _in_corner(
    image: Image.Image, corner: int, ground: int | tuple[int, ...], how: Image.Resampling
) -> Image.Image:
    size = (round(SHRUNK * image.width), round(SHRUNK * image.height))
    canvas = Image.new(image.mode, image.size, ground)
    position = ((image.width - size[0]) * (corner % 2), (image.height - size[1]) * (corner // 2))
    canvas.paste(image.resize(size, how), position)
    return canvas


def judge_strokes(annotated: AnnotatedPicture, evidence: Evidence) -> list[PatchResult]:
    """Judge the strongest patch of each stroke."""
    rows, columns = evidence.heat.shape
    on_object = winning_parts(annotated.parts, (rows, columns)) > 0
    if not on_object.any():
        return []
    results: list[PatchResult] = []
    expected = expected_patches(annotated, (rows, columns))
    for stroke, patch in zip(evidence.strokes, expected, strict=True):
        right = _near(patch, (rows, columns))
        results.append(
            PatchResult(
                design=annotated.design,
                is_right=bool(right[stroke.patch]),
                chance=float((right & on_object).sum() / on_object.sum()),
                chance_anywhere=float(right.mean()),
                chance_same_position=float(right[stroke.cell]),
            )
        )
    return results


def expected_patches(annotated: AnnotatedPicture, grid: tuple[int, int]) -> list[Patch]:
    """Return the patch with most of each stroke, the drawing scaled to the object's box."""
    assert annotated.sketch.strokes is not None
    height, width = annotated.parts.shape
    ys, xs = np.nonzero(annotated.parts)
    low = np.array([xs.min() / width, ys.min() / height])
    high = np.array([(xs.max() + 1) / width, (ys.max() + 1) / height])
    points = np.concatenate([stroke[:, :2] for stroke in annotated.sketch.strokes])
    origin, extent = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-6)
    patches: list[Patch] = []
    for stroke in annotated.sketch.strokes:
        scaled = (stroke[:, :2] - origin) / extent * (high - low) + low
        row, column = divmod(int(path_cells(scaled, grid).argmax()), grid[1])
        patches.append((row, column))
    return patches


def _near(patch: Patch, grid: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """Return a mask of the patches within one of a patch, diagonals included."""
    rows, columns = np.ogrid[: grid[0], : grid[1]]
    return (abs(rows - patch[0]) <= 1) & (abs(columns - patch[1]) <= 1)


def _row(query: str, trained: bool, results: Sequence[PatchResult]) -> Row:
    """Average within designs, then over designs; the interval is over designs."""
    designs = np.array([result.design for result in results])
    rate = bootstrap(_means(designs, [float(result.is_right) for result in results]))
    chance = float(_means(designs, [result.chance for result in results]).mean())
    anywhere = float(_means(designs, [result.chance_anywhere for result in results]).mean())
    row: Row = {
        "query": query,
        "split": "seen" if trained else "unseen",
        "rate": rate.mean,
        "low": rate.low,
        "high": rate.high,
        "chance": chance,
        "ratio": rate.mean / chance,
        "chance_anywhere": anywhere,
        "ratio_anywhere": rate.mean / anywhere,
        "num": len(results),
    }
    same = [r.chance_same_position for r in results if r.chance_same_position is not None]
    if same:
        row["chance_same_place"] = float(_means(designs, same).mean())
    return row


def _means(designs: Shaped[np.ndarray, " n"], values: list[float]) -> Float[np.ndarray, " m"]:
    _, numbers = np.unique(designs, return_inverse=True)
    return np.bincount(numbers, weights=values) / np.bincount(numbers)
