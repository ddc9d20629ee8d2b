"""Agreement of generated pictures with their query: one picture per case and condition.

A case is a drawing and words that do not name its kind. The judge decides whether the picture is of
the drawn kind, and whether the part that the words name first has the colour they give it. Without
the control network only the token carries the drawing: the conditions without it, with the token of
another drawing or the mean token instead, measure whether the token matters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from composer.composed import ComposedQuery
from composer.sketch import Sketch
from generation.control import control_image, sketch_agreement
from generation.defaults import DrawingDefaults
from generation.generate import generate_each
from generation.judge import Judge, Verdict
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest, settings_of

USUAL = DrawingDefaults()
_BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawingCase:
    """A drawing with words, and what a picture of them should show.

    Attributes:
        sketch: the drawing.
        sibling: another drawing of the same kind, of another design.
        both: drawing and words, composed.
        drawing: the drawing alone, composed.
        words: the words alone, composed.
        kind: kind of the drawn object.
        part: the part whose colour is judged.
        colour: its colour word.
        seed: seed of the picture, the same in every condition.
        finishes: all parts that the words name, each with its colour and material.
    """

    sketch: Sketch
    sibling: Sketch
    both: ComposedQuery
    drawing: ComposedQuery
    words: ComposedQuery
    kind: str
    part: str
    colour: str
    seed: int
    finishes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The judged properties of one picture.

    Attributes:
        kind: whether it is of the drawn kind.
        colour: whether the named part has the named colour.
        parts: share of all parts with a named colour that have it; None where there is none.
        agreement: agreement of its edges with the drawing, in [0, 1].
        agreement_sibling: the same with the sibling drawing.
    """

    kind: bool
    colour: bool
    agreement: float
    agreement_sibling: float
    parts: float | None = None

    @property
    def joint(self) -> bool:
        """Whether kind and colour are right."""
        return self.kind and self.colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """The inputs that the pipeline gets from a case.

    Attributes:
        query: returns the query, from all cases and the index of this one.
        control: whether the drawing also goes through the control network.
        own: whether words without a drawing go to a drawing of the kit's own.
    """

    query: Callable[[Sequence[DrawingCase], int], ComposedQuery]
    control: bool
    own: bool = False


def with_token(query: ComposedQuery, token: Float[Tensor, "n w"]) -> ComposedQuery:
    """Replace the pseudo-words of a query.

    Raises:
        ValueError: the number or width of the tokens differs.
    """
    if token.shape != query.pseudo_tokens.shape:
        shape = tuple(query.pseudo_tokens.shape)
        raise ValueError(f"The token must have the shape {shape}, got {tuple(token.shape)}.")
    prompt = query.prompt_embeddings.clone()
    prompt[list(query.pseudo_positions)] = token.to(prompt)
    return replace(query, prompt_embeddings=prompt, pseudo_tokens=token)


def _with_others(cases: Sequence[DrawingCase], index: int) -> ComposedQuery:
    """Take the token of the next case of another kind."""
    case = cases[index]
    later = [*cases[index + 1 :], *cases[:index]]
    other = next((candidate for candidate in later if candidate.kind != case.kind), case)
    return with_token(case.both, other.both.pseudo_tokens)


def _with_mean(cases: Sequence[DrawingCase], index: int) -> ComposedQuery:
    mean = torch.stack([case.both.pseudo_tokens for case in cases]).mean(0)
    return with_token(cases[index].both, mean)


CONDITIONS: Mapping[str, Condition] = {
    "sketch+text": Condition(query=lambda cases, i: cases[i].both, control=True),
    "sketch": Condition(query=lambda cases, i: cases[i].drawing, control=True),
    "text": Condition(query=lambda cases, i: cases[i].words, control=False),
    "text, own drawing": Condition(query=lambda cases, i: cases[i].words, control=False, own=True),
    "token": Condition(query=lambda cases, i: cases[i].both, control=False),
    "other token": Condition(query=_with_others, control=False),
    "mean token": Condition(query=_with_mean, control=False),
}


def draw(
    pipeline: ImagePipeline,
    cases: Sequence[DrawingCase],
    condition: Condition,
    usual: DrawingDefaults = USUAL,
) -> list[Image.Image]:
    """Draw one picture of each case with the kit's usual settings.

    Raises:
        RequestError: the condition needs a control network and the kit has none.
    """
    if not condition.control and not condition.own:
        usual = replace(usual, controlnet_conditioning_scale=0.0)
    requests = [
        GenerateRequest(
            query=condition.query(cases, index),
            control_sketch=case.sketch if condition.control else None,
            settings=settings_of(usual, seed=case.seed),
        )
        for index, case in enumerate(cases)
    ]
    return [
        picture
        for start in range(0, len(requests), _BATCH)
        for picture in generate_each(pipeline, requests[start : start + _BATCH])
    ]


def outcomes(
    judge: Judge, cases: Sequence[DrawingCase], pictures: Sequence[Image.Image]
) -> list[Outcome]:
    """Judge one picture of each case."""
    verdicts = judge.assess(pictures, [case.part for case in cases])
    shares = _part_shares(judge, cases, pictures)
    return [
        _outcome(case, picture, verdict, share)
        for case, picture, verdict, share in zip(cases, pictures, verdicts, shares, strict=True)
    ]


def _part_shares(
    judge: Judge, cases: Sequence[DrawingCase], pictures: Sequence[Image.Image]
) -> list[float | None]:
    """Return the share of each case's coloured parts that have their colour."""
    asked = [
        (number, part, colour)
        for number, case in enumerate(cases)
        for part, finish in case.finishes
        if (colour := colour_word(finish, judge.colours.names))
    ]
    named = [part for _, part, _ in asked]
    found = judge.assess([pictures[number] for number, _, _ in asked], named) if asked else []
    hits: list[list[bool]] = [[] for _ in cases]
    for (number, _, colour), verdict in zip(asked, found, strict=True):
        hits[number].append(verdict.colour == colour)
    return [sum(one) / len(one) if one else None for one in hits]


def colour_word(finish: str, names: Sequence[str]) -> str | None:
    """Return the longest of the colour words that a finish begins with, such as "dark green"."""
    words = f"{finish} "
    return max((name for name in names if words.startswith(f"{name} ")), key=len, default=None)


def with_seeds(cases: Sequence[DrawingCase], number: int) -> list[DrawingCase]:
    """Return the cases with other seeds: for each number others, for 0 their own."""
    return [replace(case, seed=case.seed + 1_000_000 * number) for case in cases]


def _outcome(
    case: DrawingCase, picture: Image.Image, verdict: Verdict, parts: float | None
) -> Outcome:
    levels = np.asarray(picture.convert("RGB"))
    height, width, _ = levels.shape
    agreement, agreement_sibling = (
        float(sketch_agreement(levels, control_image(sketch, height, width)))
        for sketch in (case.sketch, case.sibling)
    )
    return Outcome(
        kind=verdict.kind == case.kind,
        colour=verdict.colour == case.colour,
        agreement=agreement,
        agreement_sibling=agreement_sibling,
        parts=parts,
    )
