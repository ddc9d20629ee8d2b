"""Why a picture was found: which patch answers which word, and which patch answers which stroke.

A patch answers a direction of the joint space in two ways, and their sum is measured better than
either: seen alone, behind the tower's first blocks, it has a feature of its own; and seen with all
others it has a share in the picture's feature, its state times the gradient. A stroke is answered
by the patch that looks like it near where the drawing lies on the picture.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from PIL import Image
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.prompt import build_prompt
from composer.query import Query
from composer.sketch import FILL, Sketch
from composer.strategies.reference import PLAIN_PROMPT, reference_pixels

Patch = tuple[int, int]
Box = tuple[float, float, float, float]

FUNCTION_WORDS = frozenset(
    {
        *("a", "an", "the", "this", "that", "its", "it", "their", "some", "one", "very"),
        *("and", "or", "but", "as", "which", "is", "are", "has", "have", "made"),
        *("of", "in", "on", "at", "by", "for", "from", "to", "with", "without", "near"),
        *("over", "under"),
    }
)
# Chosen on validation designs with the mini kit; between neighbours of these the figures are flat.
_DEPTH = 1 / 3  # share of the tower's blocks in which patches see each other first
_SHARPNESS = 20.0  # of the match of a drawing's patches, a factor of cosines
_REACH = 1 / 4  # of the grid: how far from its place a stroke may well be answered
_SCALES = (0.25, 2.0)  # a picture's object against the drawing
_SAMPLES = 256  # points along a stroke


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WordEvidence:
    """Where a picture answers a word.

    The words of a phrase ("red leather seat") share its map: together they name one thing, and a
    part's noun alone is answered no better than by chance.

    Attributes:
        word: As written, without punctuation; its sub-tokens are joined.
        index: Of the word among `Backbone.words` of the text.
        phrase: The words around it that no function word and no punctuation separates from it.
        heat: Answer of each patch, from 0 (the weakest) to 1 (the strongest).
        patch: (row, column) of the strongest.
    """

    word: str
    index: int
    phrase: str
    heat: Float[Tensor, "rows columns"]
    patch: Patch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StrokeEvidence:
    """Where a picture answers a stroke.

    Attributes:
        index: Of the stroke in the sketch.
        place: (row, column) of the cell of the framed drawing that holds most of it.
        heat: Answer of each patch, from 0 (the weakest) to 1 (the strongest).
        patch: (row, column) of the strongest.
    """

    index: int
    place: Patch
    heat: Float[Tensor, "rows columns"]
    patch: Patch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """What of a picture answers what of a query.

    Attributes:
        heat: Answer of each patch to the query as a whole, from 0 to 1.
        words: One for each content word that fits the prompt; none without words.
        strokes: One for each stroke; none without strokes.
        view: The part of the picture that the backbone sees, its central square, as (left, top,
            right, bottom) in fractions of the picture.
    """

    heat: Float[Tensor, "rows columns"]
    words: tuple[WordEvidence, ...]
    strokes: tuple[StrokeEvidence, ...]
    view: Box

    def box(self, patch: Patch) -> Box:
        """(left, top, right, bottom) of a patch, in fractions of the picture."""
        rows, columns = self.heat.shape
        left, top, right, bottom = self.view
        width, height = (right - left) / columns, (bottom - top) / rows
        x, y = left + patch[1] * width, top + patch[0] * height
        return x, y, x + width, y + height


def explain(
    backbone: Backbone, query: ComposedQuery, picture: Image.Image, sketch: Sketch | None = None
) -> Evidence:
    """Finds what of a picture answers what of a query.

    Costs about six passes of the vision tower with three phrases, most of a pass for each further.

    Args:
        backbone: The kit's frozen backbone.
        query: Composed by any composer of the kit.
        picture: A hit's picture, mode "RGB".
        sketch: The query's drawing; a raster has no strokes.

    Raises:
        ValueError: The query was composed for another backbone, or the picture is not RGB.
    """
    if query.gallery_hash != backbone.gallery_hash:
        raise ValueError(
            f"The query must be composed with the picture's backbone ({backbone.gallery_hash}), "
            f"got one for {query.gallery_hash}. Compose it with the same kit."
        )
    if picture.mode != "RGB":
        raise ValueError(f"The picture must be RGB, got {picture.mode}. Convert it first.")
    square, view = _central_square(picture)
    # A page may compose in inference mode, in which nothing can be descended through.
    with torch.inference_mode(mode=False), torch.no_grad():
        tokens = _first_blocks(backbone, backbone.preprocess([square]))[0]  # 1+p v
        words = _content_words(backbone, query.text)
        phrases = list(dict.fromkeys(phrase for _, _, phrase in words))
        towards = query.feature.clone()[None].to(tokens)
        if phrases:
            towards = torch.cat([towards, _phrase_directions(backbone, phrases)])
        heats = [_heat(row, backbone.grid) for row in _answers(backbone, tokens, towards)]
        shown = dict(zip(phrases, heats[1:], strict=True))
        return Evidence(
            heat=heats[0],
            words=tuple(
                WordEvidence(
                    word=word,
                    index=index,
                    phrase=phrase,
                    heat=shown[phrase],
                    patch=_strongest(shown[phrase]),
                )
                for index, word, phrase in words
            ),
            strokes=_stroke_evidence(backbone, sketch, tokens[1:]),
            view=view,
        )


def _central_square(picture: Image.Image) -> tuple[Image.Image, Box]:
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    view = (left / width, top / height, (left + side) / width, (top + side) / height)
    return picture.crop((left, top, left + side, top + side)), view


def _content_words(backbone: Backbone, text: str) -> list[tuple[int, str, str]]:
    """Index, word and phrase of each word with content that fits the prompt."""
    if not text.strip():
        return []
    fits = build_prompt(backbone, PLAIN_PROMPT, None, text).word_positions
    runs: list[list[tuple[int, str]]] = [[]]
    for index, (raw, positions) in enumerate(zip(backbone.words(text), fits, strict=True)):
        spelt = re.sub(r"\s+", "", raw)
        word = re.sub(r"^\W+|\W+$", "", spelt)
        if not word or not positions or word in FUNCTION_WORDS:
            runs.append([])
            continue
        if not spelt.startswith(word):
            runs.append([])
        runs[-1].append((index, word))
        if not spelt.endswith(word):
            runs.append([])
    return [(i, word, " ".join(w for _, w in run)) for run in runs for i, word in run]


def _phrase_directions(backbone: Backbone, phrases: Sequence[str]) -> Float[Tensor, "n d"]:
    """Text feature of each phrase against the mean of the others; of one against none at all."""
    prompts = [f"{PLAIN_PROMPT} {phrase}" for phrase in phrases]
    features = backbone.encode_text([*prompts, PLAIN_PROMPT])
    said, num = features[:-1], len(phrases)
    rivals = (said.sum(dim=0) - said) / (num - 1) if num > 1 else features[-1:]
    return said - rivals


def _answers(
    backbone: Backbone, tokens: Float[Tensor, "q v"], towards: Float[Tensor, "n d"]
) -> Float[Tensor, "n p"]:
    """How each patch answers each direction, seen alone and by its share in the whole."""
    patches = tokens[1:]
    pooled = tokens[:1].expand(len(patches), -1)
    alone = _last_blocks(backbone, torch.stack([pooled, patches], dim=1))  # p d
    leaf = tokens.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        feature = _last_blocks(backbone, leaf[None])[0]
    slopes = torch.autograd.grad(feature, leaf, towards, is_grads_batched=True)[0]
    shares = slopes[:, 1:] * (patches - patches.mean(dim=0))
    return _standardise(towards @ alone.T) + _standardise(shares.sum(dim=-1))


def _depth(backbone: Backbone) -> int:
    return round(len(backbone.model.visual.transformer.resblocks) * _DEPTH)


def _first_blocks(backbone: Backbone, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n q v"]:
    """Pooled token and patch tokens behind the first blocks."""
    tower: Any = backbone.model.visual
    states = tower._embeds(pixels)
    for block in tower.transformer.resblocks[: _depth(backbone)]:
        states = block(states)
    return states


def _last_blocks(backbone: Backbone, states: Float[Tensor, "n q v"]) -> Float[Tensor, "n d"]:
    """Unit features of pooled tokens and whatever patch tokens stand beside them."""
    tower: Any = backbone.model.visual
    for block in tower.transformer.resblocks[_depth(backbone) :]:
        states = block(states)
    pooled, _ = tower._pool(states)
    return functional.normalize(pooled @ tower.proj, dim=-1)


def _standardise(values: Float[Tensor, "n p"]) -> Float[Tensor, "n p"]:
    values = values.float()
    spread = values.std(dim=-1, keepdim=True).clamp_min(1e-6)
    return (values - values.mean(dim=-1, keepdim=True)) / spread


def _heat(values: Float[Tensor, " p"], grid: tuple[int, int]) -> Float[Tensor, "rows columns"]:
    low, high = values.min(), values.max()
    return ((values - low) / (high - low).clamp_min(1e-6)).reshape(grid).cpu()


def _strongest(heat: Float[Tensor, "rows columns"]) -> Patch:
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return row, column


def _stroke_evidence(
    backbone: Backbone, sketch: Sketch | None, seen: Float[Tensor, "p v"]
) -> tuple[StrokeEvidence, ...]:
    """Matches the strokes of a drawing with the patches of a picture."""
    if sketch is None or sketch.strokes is None:
        return ()
    pixels = reference_pixels(backbone, Query(sketch=sketch))
    assert pixels is not None
    drawn = _first_blocks(backbone, pixels)[0, 1:]
    ink = stroke_cells(sketch, backbone.grid).to(drawn)  # s p
    mine, theirs = _directions_from_mean(drawn), _directions_from_mean(seen)
    alike = functional.normalize(ink @ mine, dim=-1) @ theirs.T  # s p
    places = _grid_places(backbone.grid).to(drawn)
    landed = _land(ink, mine @ theirs.T, places)  # s 2
    reach = _REACH * max(backbone.grid)
    away = torch.cdist(landed, places).square() / (2 * reach**2)
    return tuple(
        StrokeEvidence(
            index=index,
            place=_strongest(own.reshape(backbone.grid)),
            heat=(heat := _heat(row, backbone.grid)),
            patch=_strongest(heat),
        )
        for index, (own, row) in enumerate(zip(ink, (alike - away).float(), strict=True))
    )


def stroke_cells(sketch: Sketch, grid: tuple[int, int]) -> Float[Tensor, "s p"]:
    """Share of each stroke in each cell of the framed drawing, row by row; rows sum to 1.

    Raises:
        ValueError: The sketch is a raster.
    """
    if sketch.strokes is None:
        raise ValueError("Cells of strokes need a sketch of strokes, got a raster.")
    points = np.concatenate([stroke[:, :2] for stroke in sketch.strokes])
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    scale = FILL / extent if extent > 0 else 1.0  # a single dot keeps its size, as when drawn
    framed = [(s[:, :2] - (low + high) / 2) * scale + 0.5 for s in sketch.strokes]
    return torch.from_numpy(np.stack([path_cells(path, grid) for path in framed]))


def path_cells(path: Float[np.ndarray, "n 2"], grid: tuple[int, int]) -> Float32[np.ndarray, " p"]:
    """Share of a path of (x, y) in the unit square in each cell of a grid, row by row; sums to 1.

    What lies outside the square counts for the nearest cell.
    """
    steps = np.diff(path.astype(float), axis=0)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    wanted = np.linspace(0, along[-1], _SAMPLES)
    x, y = (np.interp(wanted, along, path[:, axis]) for axis in (0, 1))
    rows, columns = grid
    row = np.clip((y * rows).astype(int), 0, rows - 1)
    column = np.clip((x * columns).astype(int), 0, columns - 1)
    counts = np.bincount(row * columns + column, minlength=rows * columns)
    return (counts / _SAMPLES).astype(np.float32)


def _directions_from_mean(tokens: Float[Tensor, "p v"]) -> Float[Tensor, "p v"]:
    return functional.normalize(tokens - tokens.mean(dim=0), dim=-1)


def _grid_places(grid: tuple[int, int]) -> Float[Tensor, "p 2"]:
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.stack([rows, columns], dim=-1).reshape(math.prod(grid), 2).float()


def _land(
    ink: Float[Tensor, "s p"], alike: Float[Tensor, "p p"], places: Float[Tensor, "p 2"]
) -> Float[Tensor, "s 2"]:
    """Where the strokes lie on the picture: one scale and one shift for the whole drawing.

    Both are the least squares over the inked cells, each drawn to where its softmax matches lie
    and weighted by its ink and by how sharp the match is.
    """
    match = (alike * _SHARPNESS).softmax(dim=-1)
    weight = ink.sum(dim=0) * match.amax(dim=-1)
    weight = (weight / weight.sum())[:, None]
    goals = match @ places
    from_mean, goal_mean = (weight * places).sum(dim=0), (weight * goals).sum(dim=0)
    spread = (weight * (places - from_mean).square()).sum()
    joint = (weight * (places - from_mean) * (goals - goal_mean)).sum()
    scale = (joint / spread).clamp(*_SCALES) if spread > 0 else torch.ones_like(joint)
    return (ink @ places - from_mean) * scale + goal_mean
