"""Differences of pictures from neutral photographs, and the pseudo-word tokens that say them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from composer.backbone import Backbone
from composer.errors import InputError
from composer.prompt import assemble_prompts
from composer.splice import splice
from composer.strategies.converter import NUM_TOKENS
from composer.strategies.reference import PLAIN_PROMPT
from composer.word_lists import SUBJECTS

LEAST_PHOTOS: Final = 8
"""Photographs from which on their spread can be told."""
_NUM_SUBJECTS, _LEAST_SUBJECTS = 64, 8
_DECAY = 0.9  # of the running mean of the tokens, which is what is kept

Progress = Callable[[int, int], object]


def picture_difference(
    examples: Float[Tensor, "n d"], photos: Float[Tensor, "m d"], *, same_subject: bool
) -> Float[Tensor, " d"]:
    """Return T = P - S: how the mean of the examples differs from that of photographs.

    Examples of one subject also differ from photographs of many in their subject. The directions
    in which photographs differ among themselves are those of subject and colour; the difference
    is shrunk along each by `v / (v + variance)`, with v the mean variance of these directions.
    Photographs of the examples' own subject leave nothing to take away.

    Args:
        examples: Unit features of the examples.
        photos: Unit features of neutral photographs.
        same_subject: Whether the photographs show what the examples show.

    Raises:
        InputError: The examples do not differ from the photographs.

    Source: docs/papers.md, section 1, for T = P - S; the shrinking is ours.
    """
    mean = photos.mean(dim=0)
    difference = examples.mean(dim=0) - mean
    if not same_subject and len(photos) >= LEAST_PHOTOS:
        _, scales, directions = torch.linalg.svd(photos - mean, full_matrices=False)
        variances = scales.square() / (len(photos) - 1)
        lost = variances / (variances + variances.mean()).clamp_min(1e-12)
        difference = difference - ((directions @ difference) * lost) @ directions
    if float(difference.norm()) < 1e-4:
        raise InputError(
            "The examples do not differ from the photographs they are compared with; give pictures "
            "of another look."
        )
    return difference


@dataclass(frozen=True, kw_only=True, slots=True)
class DifferenceSettings:
    """Settings of the search for tokens.

    Attributes:
        num_tokens: Tokens of the difference.
        max_steps: Steps at most.
        batch_size: Subjects a step.
        patience: Steps between two evaluations.
        tolerance: It is done when the cosine gained less than this between two evaluations.
        learning_rate: Of AdamW.
        norm_weight: Weight of the pull towards the token table's mean norm.
        seed: Of starts and subjects.
    """

    num_tokens: int = NUM_TOKENS
    max_steps: int = 400
    batch_size: int = 16
    patience: int = 40
    tolerance: float = 5e-4
    learning_rate: float = 1e-2
    norm_weight: float = 0.1
    seed: int = 0


DEFAULT_SETTINGS: Final = DifferenceSettings()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FoundTokens:
    """Tokens of a difference.

    Attributes:
        tokens: The tokens.
        cosine: Mean cosine, over subjects, between the subject with the tokens and its moved
            feature.
        cosine_before: The same for the tokens that the search began with.
        num_steps: Steps it took.
    """

    tokens: Float[Tensor, "n w"]
    cosine: float
    cosine_before: float
    num_steps: int


def invert_difference(
    backbone: Backbone,
    difference: Float[Tensor, " d"],
    settings: DifferenceSettings = DEFAULT_SETTINGS,
    *,
    start: Float[Tensor, "n w"] | None = None,
    on_step: Progress | None = None,
) -> FoundTokens:
    """Find tokens that move any subject by a difference: textual inversion towards T.

    "a photo of a chair" and the tokens shall have the text feature `normalise(E(chair) + T)`, for
    many subjects alike, so that the tokens hold nothing of a subject of their own.

    Args:
        backbone: Whose tokens are searched; nothing of it is changed.
        difference: In its joint space.
        settings: How to search.
        start: Tokens to begin with; None for random ones.
        on_step: Called after each step; what it raises stops the search.

    Raises:
        InputError: A prompt has no room for the tokens.

    Source: docs/papers.md, equation (24), for the optimisation; the target is ours.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _search(backbone, difference.detach().clone().float(), settings, start, on_step)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Subjects:
    """Prompts of s subjects with slots for the tokens, and the features they shall have."""

    embeddings: Float[Tensor, "s l w"]
    ends: Tensor
    targets: Float[Tensor, "s d"]


def _search(
    backbone: Backbone,
    difference: Float[Tensor, " d"],
    settings: DifferenceSettings,
    start: Float[Tensor, "n w"] | None,
    on_step: Progress | None,
) -> FoundTokens:
    count = settings.num_tokens if start is None else len(start)
    subjects = _make_subjects(backbone, difference, count)
    generator = torch.Generator().manual_seed(settings.seed)
    table = backbone.token_table().detach().float()
    if start is None:
        noise = torch.randn((count, backbone.token_width), generator=generator).to(table.device)
        start = table.mean(dim=0) + table.std(dim=0) * noise
    tokens = nn.Parameter(start.detach().clone().float().to(table.device))
    optimiser = torch.optim.AdamW([tokens], lr=settings.learning_rate, weight_decay=0.0)
    mean_norm, kept, best = table.norm(dim=-1).mean(), tokens.detach().clone(), tokens.detach()
    best = best.clone()
    cosine = before = _mean_cosine(backbone, subjects, best)
    step = 0
    for step in range(1, settings.max_steps + 1):
        rows = torch.randperm(len(subjects.ends), generator=generator)[: settings.batch_size]
        reached = _cosines(backbone, subjects, tokens, rows.to(table.device)).mean()
        pull = (tokens.norm(dim=-1) / mean_norm - 1).square().mean()
        optimiser.zero_grad()
        (1 - reached + settings.norm_weight * pull).backward()
        optimiser.step()
        kept.lerp_(tokens.detach(), 1 - _DECAY)
        if on_step is not None:
            on_step(step, settings.max_steps)
        if step % settings.patience and step < settings.max_steps:
            continue
        reached_now = _mean_cosine(backbone, subjects, kept)
        gain = reached_now - cosine
        if gain > 0:
            best, cosine = kept.clone(), reached_now
        if gain < settings.tolerance:
            break
    if on_step is not None and step < settings.max_steps:
        on_step(settings.max_steps, settings.max_steps)
    return FoundTokens(tokens=best, cosine=cosine, cosine_before=before, num_steps=step)


def _make_subjects(
    backbone: Backbone, difference: Float[Tensor, " d"], num_tokens: int
) -> _Subjects:
    rows = _subjects_that_fit(backbone, backbone.context_length - 2 - num_tokens)
    if len(rows) < _LEAST_SUBJECTS:
        raise InputError(
            f"The context of this kit's CLIP ({backbone.context_length} tokens) has no room for "
            f"{num_tokens} tokens after a subject; choose a kit with a longer one."
        )
    with torch.no_grad():
        slots = [backbone.end_id] * num_tokens  # overwritten before anything is encoded
        plain = assemble_prompts(backbone, prefix=(), pseudo=None, word_ids=rows)
        features = backbone.encode_embeddings(plain.embeddings, plain.end_positions).features
        batch = assemble_prompts(
            backbone, prefix=(), pseudo=None, word_ids=[row + slots for row in rows]
        )
        targets = functional.normalize(features.float() + difference.to(features.device), dim=-1)
    return _Subjects(embeddings=batch.embeddings.float(), ends=batch.end_positions, targets=targets)


def _subjects_that_fit(backbone: Backbone, room: int) -> list[list[int]]:
    """Return the ids of "a photo of" and a subject, for subjects that a prompt has room for."""
    rows = (
        [i for word in backbone.word_ids(f"{PLAIN_PROMPT} a {noun}") for i in word]
        for noun in SUBJECTS
    )
    return list(islice((row for row in rows if len(row) <= room), _NUM_SUBJECTS))


def _cosines(
    backbone: Backbone, subjects: _Subjects, tokens: Float[Tensor, "n w"], rows: Tensor
) -> Float[Tensor, " b"]:
    ends = subjects.ends[rows]
    offsets = torch.arange(len(tokens), device=ends.device) - len(tokens)
    embeddings = splice(
        subjects.embeddings[rows, : int(ends.max()) + 1],
        ends[:, None] + offsets,
        tokens.expand(len(rows), -1, -1),
    )
    features = backbone.encode_embeddings(embeddings, ends).features.float()
    return functional.cosine_similarity(features, subjects.targets[rows], dim=-1)


@torch.no_grad()
def _mean_cosine(backbone: Backbone, subjects: _Subjects, tokens: Float[Tensor, "n w"]) -> float:
    rows = torch.arange(len(subjects.ends), device=subjects.ends.device)
    return float(_cosines(backbone, subjects, tokens, rows).mean())
