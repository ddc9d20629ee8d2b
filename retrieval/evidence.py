"""Why a picture was found: which patch answers which word, and which patch answers which stroke.

A patch answers a direction of the joint space in two ways, and their sum is measured better than
either: seen alone, behind the tower's first blocks, it has a feature of its own; and seen with all
others it has a share in the picture's feature, its state times the gradient. A stroke is answered
by the patch that looks like it near where the drawing lies on the picture.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import ComposedQuery
from composer.medium import Medium
from composer.prompt import build_prompt
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.reference import PLAIN_PROMPT, reference_pixels
from composer.vision import Halfway, enter_tower, leave_tower, patches_alone
from retrieval.strokes import grid_places, land, stroke_cells

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
_REACH = 1 / 4  # of the grid: how far from its place a stroke may well be answered


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
        seen = enter_tower(backbone.model.visual, backbone.preprocess([square]), _DEPTH)
        words = _content_words(backbone, query.text)
        phrases = list(dict.fromkeys(phrase for _, _, phrase in words))
        towards = query.feature.clone()[None].to(seen.states)
        if phrases:
            towards = torch.cat([towards, _phrase_directions(backbone, phrases)])
        heats = [_heat(row, seen.grid) for row in _answers(backbone, seen, towards)]
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
            strokes=_stroke_evidence(backbone, sketch, seen),
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
    backbone: Backbone, seen: Halfway, towards: Float[Tensor, "n d"]
) -> Float[Tensor, "n p"]:
    """How each patch answers each direction, seen alone and by its share in the whole."""
    visual, patches = backbone.model.visual, seen.patches[0]
    alone = patches_alone(visual, seen, _DEPTH)  # p d
    leaf = seen.states[0].detach().clone().requires_grad_(True)
    with torch.enable_grad():
        feature = leave_tower(visual, replace(seen, states=leaf[None]), _DEPTH)[0]
    slopes = torch.autograd.grad(feature, leaf, towards, is_grads_batched=True)[0]
    shares = slopes[:, seen.num_pooled :] * (patches - patches.mean(dim=0))
    return _standardise(towards @ alone.T) + _standardise(shares.sum(dim=-1))


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
    backbone: Backbone, sketch: Sketch | None, seen: Halfway
) -> tuple[StrokeEvidence, ...]:
    """Matches the strokes of a drawing with the patches of a picture."""
    if sketch is None or sketch.strokes is None:
        return ()
    pixels = reference_pixels(backbone, Query(sketch=sketch))
    assert pixels is not None
    entered = enter_tower(backbone.model.visual, pixels, _DEPTH, medium=Medium.DRAWING)
    drawn, grid = entered.patches[0], seen.grid
    ink = stroke_cells(sketch, grid).to(drawn)  # s p
    mine, theirs = _directions_from_mean(drawn), _directions_from_mean(seen.patches[0])
    alike = functional.normalize(ink @ mine, dim=-1) @ theirs.T  # s p
    places = grid_places(grid).to(drawn)
    landed = land(ink, mine @ theirs.T, places)  # s 2
    reach = _REACH * max(grid)
    away = torch.cdist(landed, places).square() / (2 * reach**2)
    return tuple(
        StrokeEvidence(
            index=index,
            place=_strongest(own.reshape(grid)),
            heat=(heat := _heat(row, grid)),
            patch=_strongest(heat),
        )
        for index, (own, row) in enumerate(zip(ink, (alike - away).float(), strict=True))
    )


def _directions_from_mean(tokens: Float[Tensor, "p v"]) -> Float[Tensor, "p v"]:
    return functional.normalize(tokens - tokens.mean(dim=0), dim=-1)
