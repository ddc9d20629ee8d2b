"""Evidence for a hit: which patch of a picture matches which word and which stroke of a query.

A patch matches a direction of the joint space in two ways, and the sum of both points better than
either: encoded alone behind the tower's first blocks, it has a feature; among all patches, it has
a share in the picture's feature, its state times the gradient. A stroke is matched by the patch
that resembles it near the position of the stroke on the picture.
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
from composer.errors import InputError
from composer.medium import Medium
from composer.prompt import build_prompt
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.reference import PLAIN_PROMPT, reference_pixels
from composer.vision import Halfway, enter_tower, leave_tower, patches_alone
from retrieval.strokes import align_strokes, grid_positions, stroke_cells

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
# Chosen on validation designs with the mini kit; neighbouring values give much the same figures.
_DEPTH = 1 / 3  # share of the tower's blocks before patches are encoded alone
_REACH = 1 / 4  # of the grid: expected distance between a stroke and its match


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WordEvidence:
    """Patches of a picture that match a word.

    The words of a phrase ("red leather seat") share a map: together they name one thing, and the
    noun of a part alone points no better than chance.

    Attributes:
        word: As written, without punctuation; its sub-tokens are joined.
        index: Index of the word in `Backbone.words` of the text.
        phrase: The words around it up to the next function word or punctuation mark.
        heat: Match of each patch, from 0 (the weakest) to 1 (the strongest).
        patch: (row, column) of the strongest patch.
    """

    word: str
    index: int
    phrase: str
    heat: Float[Tensor, "rows columns"]
    patch: Patch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StrokeEvidence:
    """Patches of a picture that match a stroke.

    Attributes:
        index: Index of the stroke in the sketch.
        cell: (row, column) of the cell of the framed drawing that holds most of it.
        heat: Match of each patch, from 0 (the weakest) to 1 (the strongest).
        patch: (row, column) of the strongest patch.
    """

    index: int
    cell: Patch
    heat: Float[Tensor, "rows columns"]
    patch: Patch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """Patches of a picture that match a query, its words and its strokes.

    Attributes:
        heat: Match of each patch with the whole query, from 0 to 1.
        words: One for each content word that fits the prompt; empty without words.
        strokes: One for each stroke; empty without strokes.
        view: Central square of the picture, which the backbone encodes, as (left, top, right,
            bottom) in fractions of the picture.
    """

    heat: Float[Tensor, "rows columns"]
    words: tuple[WordEvidence, ...]
    strokes: tuple[StrokeEvidence, ...]
    view: Box

    def box(self, patch: Patch) -> Box:
        """Return (left, top, right, bottom) of a patch, in fractions of the picture."""
        rows, columns = self.heat.shape
        left, top, right, bottom = self.view
        width, height = (right - left) / columns, (bottom - top) / rows
        x, y = left + patch[1] * width, top + patch[0] * height
        return x, y, x + width, y + height


def explain(
    backbone: Backbone, query: ComposedQuery, picture: Image.Image, sketch: Sketch | None = None
) -> Evidence:
    """Return the evidence of a picture for a query.

    Costs about six passes of the vision tower with three phrases, and most of a pass for each
    further phrase.

    Args:
        backbone: The kit's frozen backbone.
        query: Query composed by any composer of the kit.
        picture: Picture of a hit, mode "RGB".
        sketch: Drawing of the query; a raster has no strokes.

    Raises:
        InputError: The kit's CLIP gives features alone.
        ValueError: The query was composed for another backbone, or the picture is not RGB.
    """
    _check_inputs(backbone, query, picture)
    square, view = _central_square(picture)
    # Gradients are needed, which inference mode of a caller would forbid.
    with torch.inference_mode(mode=False), torch.no_grad():
        pixels = backbone.preprocess([square])
        entered = enter_tower(backbone.model.visual, pixels, _DEPTH)
        words = _content_words(backbone, query.text)
        phrases = list(dict.fromkeys(phrase for _, _, phrase in words))
        towards = query.feature.clone()[None].to(entered.states)
        if phrases:
            towards = torch.cat([towards, _phrase_directions(backbone, phrases)])
        heats = [_heat(row, entered.grid) for row in _matches(backbone, entered, towards)]
        by_phrase = dict(zip(phrases, heats[1:], strict=True))
        return Evidence(
            heat=heats[0],
            words=tuple(
                WordEvidence(
                    word=word,
                    index=index,
                    phrase=phrase,
                    heat=by_phrase[phrase],
                    patch=_strongest(by_phrase[phrase]),
                )
                for index, word, phrase in words
            ),
            strokes=_stroke_evidence(backbone, sketch, entered),
            view=view,
        )


def _check_inputs(backbone: Backbone, query: ComposedQuery, picture: Image.Image) -> None:
    if not backbone.has_tokens:
        raise InputError(
            "This kit cannot show which part of a picture matches which words, as its CLIP pools "
            "patches by attention; choose another kit for that, such as clip-l14."
        )
    if query.gallery_hash != backbone.gallery_hash:
        raise ValueError(
            f"The query must be composed with the picture's backbone ({backbone.gallery_hash}), "
            f"got one for {query.gallery_hash}. Compose it with the same kit."
        )
    if picture.mode != "RGB":
        raise ValueError(f"The picture must be RGB, got {picture.mode}. Convert it first.")


def _central_square(picture: Image.Image) -> tuple[Image.Image, Box]:
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    view = (left / width, top / height, (left + side) / width, (top + side) / height)
    return picture.crop((left, top, left + side, top + side)), view


def _content_words(backbone: Backbone, text: str) -> list[tuple[int, str, str]]:
    """Return index, word and phrase of each content word that fits the prompt."""
    if not text.strip():
        return []
    fits = build_prompt(backbone, PLAIN_PROMPT, None, text).word_positions
    added = {word.mark.lower() for word in backbone.added_words}
    runs: list[list[tuple[int, str]]] = [[]]
    for index, (raw, positions) in enumerate(zip(backbone.words(text), fits, strict=True)):
        spelt = re.sub(r"\s+", "", raw)
        word = spelt if spelt in added else re.sub(r"^\W+|\W+$", "", spelt)
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
    """Return the text feature of each phrase less the mean of the others, or less no phrase."""
    prompts = [f"{PLAIN_PROMPT} {phrase}" for phrase in phrases]
    features = backbone.encode_text([*prompts, PLAIN_PROMPT])
    spoken, num = features[:-1], len(phrases)
    rivals = (spoken.sum(dim=0) - spoken) / (num - 1) if num > 1 else features[-1:]
    return spoken - rivals


def _matches(
    backbone: Backbone, entered: Halfway, towards: Float[Tensor, "n d"]
) -> Float[Tensor, "n p"]:
    """Return the match of each patch with each direction: alone, and by its share in the whole."""
    visual, patches = backbone.model.visual, entered.patches[0]
    alone = patches_alone(visual, entered, _DEPTH)  # p d
    leaf = entered.states[0].detach().clone().requires_grad_(True)
    with torch.enable_grad():
        feature = leave_tower(visual, replace(entered, states=leaf[None]), _DEPTH)[0]
    slopes = torch.autograd.grad(feature, leaf, towards, is_grads_batched=True)[0]
    shares = slopes[:, entered.num_pooled :] * (patches - patches.mean(dim=0))
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
    backbone: Backbone, sketch: Sketch | None, picture: Halfway
) -> tuple[StrokeEvidence, ...]:
    """Match the strokes of a drawing with the patches of a picture."""
    if sketch is None or sketch.strokes is None:
        return ()
    pixels = reference_pixels(backbone, Query(sketch=sketch))
    assert pixels is not None
    drawing = enter_tower(backbone.model.visual, pixels, _DEPTH, medium=Medium.DRAWING)
    drawn, grid = drawing.patches[0], picture.grid
    ink = stroke_cells(sketch, grid).to(drawn)  # s p
    of_drawing = _directions_from_mean(drawn)
    of_picture = _directions_from_mean(picture.patches[0])
    alike = functional.normalize(ink @ of_drawing, dim=-1) @ of_picture.T  # s p
    positions = grid_positions(grid).to(drawn)
    aligned = align_strokes(ink, of_drawing @ of_picture.T, positions)  # s 2
    reach = _REACH * max(grid)
    distances = torch.cdist(aligned, positions).square() / (2 * reach**2)
    return tuple(
        StrokeEvidence(
            index=index,
            cell=_strongest(cells.reshape(grid)),
            heat=(heat := _heat(scores, grid)),
            patch=_strongest(heat),
        )
        for index, (cells, scores) in enumerate(zip(ink, (alike - distances).float(), strict=True))
    )


def _directions_from_mean(tokens: Float[Tensor, "p v"]) -> Float[Tensor, "p v"]:
    return functional.normalize(tokens - tokens.mean(dim=0), dim=-1)
