"""Whether evidence points at the right place: words at the parts they name, strokes at their own.

Words: the attribute phrase names parts and their finishes, and the gallery knows which pixel is
which part. The strongest patch of a part's phrase is right if that part has more of its pixels than
any other part; parts that win no patch are not asked for. Chance is a patch drawn uniformly from
those that hold a pixel of the object; from all patches it is the easier `chance_anywhere`.

Strokes: the sketches do not say which part a stroke belongs to, but where it lies. Its own place in
the picture is its place in the drawing's bounding box, carried over to the object's; the strongest
patch is right within one patch of that, cameras being up to 15 degrees apart. Drawings and pictures
are framed alike, so each picture is shrunk into a corner first, or pointing at the same place of
the paper would be right: `chance_same_place` says how often it still is.
"""

import io
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
class Shown:
    """A picture with what is known of it.

    Attributes:
        design: Whose picture it is; the pictures of a design share camera and drawing.
        seen: Whether its kind was trained on.
        text: The attribute phrase.
        phrases: Finish and noun of each part that the text names.
        parts: i + 1 where `phrases[i]` is seen, higher numbers for parts never named, 0 for none.
        picture: Mode "RGB", square.
        sketch: The design's drawing.
    """

    design: str
    seen: bool
    text: str
    phrases: tuple[str, ...]
    parts: UInt8[np.ndarray, "h w"]
    picture: Image.Image
    sketch: Sketch


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Whether one patch was right, and how often one drawn by chance would be."""

    design: str
    is_right: bool
    chance: float
    chance_anywhere: float
    chance_same_place: float | None = None


def read_shown(folder: Path) -> Iterator[Shown]:
    """Read the pictures of a gallery with their part maps and drawings, one by one.

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
        yield _shown(item, folder, parts[item["id"]], strokes[item["design"], item["skill"]])


def _shown(item: Mapping[str, Any], folder: Path, parts: bytes, strokes: str) -> Shown:
    pairs = zip(item["part_finishes"], item["part_names"], strict=True)
    return Shown(
        design=str(item["design"]),
        seen=item["split"] == "test",
        text=str(item["attributes"]),
        phrases=tuple(f"{finish} {part}" for finish, part in pairs),
        parts=np.asarray(Image.open(io.BytesIO(parts))),
        picture=Image.open(folder / item["path"]).convert("RGB"),
        sketch=Sketch.from_json(strokes, extent=STROKE_EXTENT),
    )


def evidence_rows(composer: Composer, folder: Path) -> list[Row]:
    """Measure a composer's evidence on a gallery with part maps.

    Returns:
        Rows with `query` ("word", "stroke"), `split` ("seen", "unseen"), `rate` with its 95 %
        interval `low` to `high` over designs, `chance`, `ratio` of rate to chance,
        `chance_anywhere`, `ratio_anywhere`, `num` of words or strokes asked about, and for strokes
        `chance_same_place`. Rates are means over designs.

    Raises:
        GalleryError: One of the gallery's tables is missing.
    """
    answers: dict[tuple[str, bool], list[Answer]] = {}
    corners: dict[str, int] = {}
    for shown in read_shown(folder):
        evidence = _explained(composer, shown)
        answers.setdefault(("word", shown.seen), []).extend(word_answers(shown, evidence))
        if shown.design not in corners:
            corners[shown.design] = len(corners) % 4
            moved = shrunk(shown, corners[shown.design])
            found = stroke_answers(moved, _explained(composer, moved))
            answers.setdefault(("stroke", shown.seen), []).extend(found)
    order = sorted(answers, key=lambda key: (key[0] != "word", not key[1]))
    return [_row(query, seen, answers[query, seen]) for query, seen in order]


def _explained(composer: Composer, shown: Shown) -> Evidence:
    with torch.no_grad():
        encoded = composer.encode(Query(sketch=shown.sketch))
        query = composer.compose(encoded, shown.text)
    return explain(composer.backbone, query, shown.picture, shown.sketch)


def word_answers(shown: Shown, evidence: Evidence) -> list[Answer]:
    """Judge the strongest patch of each named part that wins a patch.

    Raises:
        ValueError: The evidence does not have a phrase of the picture.
    """
    winners = winning_parts(shown.parts, evidence.heat.shape)
    patches = {word.phrase: word.patch for word in evidence.words}
    found: list[Answer] = []
    for number, phrase in enumerate(shown.phrases, 1):
        right = winners == number
        if not right.any():
            continue
        if phrase not in patches:
            raise ValueError(f"The evidence must have the phrase {phrase!r}, got {list(patches)}.")
        found.append(
            Answer(
                design=shown.design,
                is_right=bool(right[patches[phrase]]),
                chance=float(right.sum() / (winners > 0).sum()),
                chance_anywhere=float(right.mean()),
            )
        )
    return found


def winning_parts(
    parts: UInt8[np.ndarray, "h w"], grid: tuple[int, ...]
) -> Int[np.ndarray, "rows columns"]:
    """Return the part with most pixels in each patch, 0 where there is none.

    Raises:
        ValueError: The map's sides are not multiples of the grid's.
    """
    rows, columns = grid
    height, width = parts.shape
    if height % rows or width % columns:
        raise ValueError(f"The part map must divide into {rows} x {columns}, got {parts.shape}.")
    patches = parts.reshape(rows, height // rows, columns, width // columns).swapaxes(1, 2)
    patches = patches.reshape(rows, columns, -1)
    numbers = np.arange(1, max(int(parts.max()), 1) + 1)
    counts = (patches[..., None] == numbers).sum(axis=2)
    return np.where(counts.any(axis=2), counts.argmax(axis=2) + 1, 0)


def shrunk(shown: Shown, corner: int) -> Shown:
    """Move a picture into a corner: 0 upper left, 1 upper right, 2 lower left, 3 lower right."""
    levels = np.asarray(shown.picture)
    rim = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    ground = tuple(int(level) for level in np.median(rim, axis=0))
    picture = _in_corner(shown.picture, corner, ground, Image.Resampling.BICUBIC)
    parts = _in_corner(Image.fromarray(shown.parts), corner, 0, Image.Resampling.NEAREST)
    return replace(shown, picture=picture, parts=np.asarray(parts))


def _in_corner(
    image: Image.Image, corner: int, ground: int | tuple[int, ...], how: Image.Resampling
) -> Image.Image:
    size = (round(SHRUNK * image.width), round(SHRUNK * image.height))
    canvas = Image.new(image.mode, image.size, ground)
    place = ((image.width - size[0]) * (corner % 2), (image.height - size[1]) * (corner // 2))
    canvas.paste(image.resize(size, how), place)
    return canvas


def stroke_answers(shown: Shown, evidence: Evidence) -> list[Answer]:
    """Judge the strongest patch of each stroke."""
    rows, columns = evidence.heat.shape
    on_object = winning_parts(shown.parts, (rows, columns)) > 0
    if not on_object.any():
        return []
    found: list[Answer] = []
    for stroke, own in zip(evidence.strokes, own_places(shown, (rows, columns)), strict=True):
        right = _near(own, (rows, columns))
        found.append(
            Answer(
                design=shown.design,
                is_right=bool(right[stroke.patch]),
                chance=float((right & on_object).sum() / on_object.sum()),
                chance_anywhere=float(right.mean()),
                chance_same_place=float(right[stroke.place]),
            )
        )
    return found


def own_places(shown: Shown, grid: tuple[int, int]) -> list[Patch]:
    """Return the patch that holds most of each stroke, the drawing's box laid on the object's."""
    assert shown.sketch.strokes is not None
    height, width = shown.parts.shape
    ys, xs = np.nonzero(shown.parts)
    low = np.array([xs.min() / width, ys.min() / height])
    high = np.array([(xs.max() + 1) / width, (ys.max() + 1) / height])
    points = np.concatenate([stroke[:, :2] for stroke in shown.sketch.strokes])
    origin, extent = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-6)
    places: list[Patch] = []
    for stroke in shown.sketch.strokes:
        laid = (stroke[:, :2] - origin) / extent * (high - low) + low
        row, column = divmod(int(path_cells(laid, grid).argmax()), grid[1])
        places.append((row, column))
    return places


def _near(patch: Patch, grid: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """Which patches lie within one of a patch, diagonals included."""
    rows, columns = np.ogrid[: grid[0], : grid[1]]
    return (abs(rows - patch[0]) <= 1) & (abs(columns - patch[1]) <= 1)


def _row(query: str, seen: bool, answers: Sequence[Answer]) -> Row:
    """Average within designs, then over them; the interval draws designs."""
    designs = np.array([answer.design for answer in answers])
    rate = bootstrap(_means(designs, [float(answer.is_right) for answer in answers]))
    chance = float(_means(designs, [answer.chance for answer in answers]).mean())
    anywhere = float(_means(designs, [answer.chance_anywhere for answer in answers]).mean())
    row: Row = {
        "query": query,
        "split": "seen" if seen else "unseen",
        "rate": rate.mean,
        "low": rate.low,
        "high": rate.high,
        "chance": chance,
        "ratio": rate.mean / chance,
        "chance_anywhere": anywhere,
        "ratio_anywhere": rate.mean / anywhere,
        "num": len(answers),
    }
    same = [a.chance_same_place for a in answers if a.chance_same_place is not None]
    if same:
        row["chance_same_place"] = float(_means(designs, same).mean())
    return row


def _means(designs: Shaped[np.ndarray, " n"], values: list[float]) -> Float[np.ndarray, " m"]:
    _, numbers = np.unique(designs, return_inverse=True)
    return np.bincount(numbers, weights=values) / np.bincount(numbers)
