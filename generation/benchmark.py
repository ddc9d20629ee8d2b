"""Do generated pictures show what was drawn and said? One picture a case and condition.

A case is a drawing and words that carry no kind. What is drawn is told by the judge; what is said,
by the colour word of the part that the words name first. Without the control network only the token
can tell the model what was drawn, so the conditions without it, with another drawing's token or the
mean token in its place, say whether the token matters.
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
from generation.generate import generate_each
from generation.judge import Judge, Sight
from generation.pipeline import ImagePipeline
from generation.request import GenerateRequest

_BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """A drawing with words, and what a picture of them should show.

    Attributes:
        sketch: the drawing.
        sibling: another drawing of the same kind, of another design.
        both: drawing and words, composed.
        drawing: the drawing alone, composed.
        words: the words alone, composed.
        kind: what is drawn.
        part: the part whose colour is judged.
        colour: its colour word.
        seed: of the picture, the same in every condition.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one picture shows.

    Attributes:
        kind: whether it is of the drawn kind.
        colour: whether the named part has the named colour.
        agreement: how well its edges keep to the drawing, in [0, 1].
        agreement_sibling: the same for another drawing of the kind.
    """

    kind: bool
    colour: bool
    agreement: float
    agreement_sibling: float

    @property
    def joint(self) -> bool:
        """Whether kind and colour are right."""
        return self.kind and self.colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What the pipeline is given of a case.

    Attributes:
        query: takes the query from all cases and the number of one.
        control: whether the drawing also goes through the control network.
    """

    query: Callable[[Sequence[Case], int], ComposedQuery]
    control: bool


def with_token(query: ComposedQuery, token: Float[Tensor, "n w"]) -> ComposedQuery:
    """The query with other pseudo-words in the places of its own.

    Raises:
        ValueError: the number or width of the tokens differs.
    """
    if token.shape != query.pseudo_tokens.shape:
        own = tuple(query.pseudo_tokens.shape)
        raise ValueError(f"The token must have the shape {own}, got {tuple(token.shape)}.")
    prompt = query.prompt_embeddings.clone()
    prompt[list(query.pseudo_positions)] = token.to(prompt)
    return replace(query, prompt_embeddings=prompt, pseudo_tokens=token)


def _with_others(cases: Sequence[Case], number: int) -> ComposedQuery:
    """The token of the next case that draws another kind."""
    own = cases[number]
    later = [*cases[number + 1 :], *cases[:number]]
    other = next((case for case in later if case.kind != own.kind), own)
    return with_token(own.both, other.both.pseudo_tokens)


def _with_mean(cases: Sequence[Case], number: int) -> ComposedQuery:
    mean = torch.stack([case.both.pseudo_tokens for case in cases]).mean(0)
    return with_token(cases[number].both, mean)


CONDITIONS: Mapping[str, Condition] = {
    "sketch+text": Condition(query=lambda cases, i: cases[i].both, control=True),
    "sketch": Condition(query=lambda cases, i: cases[i].drawing, control=True),
    "text": Condition(query=lambda cases, i: cases[i].words, control=False),
    "token": Condition(query=lambda cases, i: cases[i].both, control=False),
    "other token": Condition(query=_with_others, control=False),
    "mean token": Condition(query=_with_mean, control=False),
}


def draw(pipeline: ImagePipeline, cases: Sequence[Case], condition: Condition) -> list[Image.Image]:
    """Draw one picture of each case with the kit's own settings.

    Raises:
        RequestError: the kit has no control network and the condition asks for it.
    """
    requests = [
        GenerateRequest(
            query=condition.query(cases, number),
            control_sketch=case.sketch if condition.control else None,
            seed=case.seed,
        )
        for number, case in enumerate(cases)
    ]
    return [
        picture
        for start in range(0, len(requests), _BATCH)
        for picture in generate_each(pipeline, requests[start : start + _BATCH])
    ]


def outcomes(judge: Judge, cases: Sequence[Case], pictures: Sequence[Image.Image]) -> list[Outcome]:
    """Judge one picture of each case."""
    sights = judge.look(pictures, [case.part for case in cases])
    found = zip(cases, pictures, sights, strict=True)
    return [_outcome(case, picture, sight) for case, picture, sight in found]


def _outcome(case: Case, picture: Image.Image, sight: Sight) -> Outcome:
    levels = np.asarray(picture.convert("RGB"))
    height, width, _ = levels.shape
    own, sibling = (
        float(sketch_agreement(levels, control_image(sketch, height, width)))
        for sketch in (case.sketch, case.sibling)
    )
    return Outcome(
        kind=sight.kind == case.kind,
        colour=sight.colour == case.colour,
        agreement=own,
        agreement_sibling=sibling,
    )
