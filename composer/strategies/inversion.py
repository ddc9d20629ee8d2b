"""Inversion: pseudo-words of one query by gradient descent, without training."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from composer.backbone import Backbone
from composer.composed import MAX_PSEUDO_TOKENS, ComposedQuery
from composer.prompt import assemble_prompts
from composer.query import Query
from composer.splice import splice
from composer.strategies.protocol import EncodedReference
from composer.strategies.reference import (
    compose_tokens,
    learned_layout,
    photo_as_seen,
    reference_medium,
    reference_pixels,
)
from composer.strategies.slerp import modality_shift, needs_shift
from composer.training.phrases import HAND_PROMPTS


@dataclass(frozen=True, kw_only=True, slots=True)
class InversionSettings:
    """Settings of the optimisation.

    Attributes:
        num_tokens: Tokens per feature.
        num_restarts: Starts per feature, optimised side by side; the best one wins.
        max_steps: Steps at most.
        patience: Steps between two evaluations of the cosines.
        tolerance: A feature is done when none of its restarts gained more cosine than this
            between two evaluations.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        ema_decay: Of the running mean of the tokens, which is what is kept.
        norm_weight: Weight of the pull towards the token table's mean norm; zero switches it off.
        moves_sketches: Move a sketch to the photo side before its feature becomes the target; None
            as in `SlerpSettings`.
        seed: Of starts and templates, mixed with the feature itself.
    """

    num_tokens: int = 1
    num_restarts: int = 1
    max_steps: int = 350
    patience: int = 25
    tolerance: float = 5e-3
    learning_rate: float = 2e-2
    weight_decay: float = 0.01
    ema_decay: float = 0.99
    norm_weight: float = 0.1
    moves_sketches: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every range that does not depend on the backbone.

        Raises:
            ValueError: A setting is out of its range.
        """
        for name in ("num_tokens", "num_restarts", "max_steps", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.num_tokens > MAX_PSEUDO_TOKENS:
            raise ValueError(
                f"`num_tokens` must be at most {MAX_PSEUDO_TOKENS}, got {self.num_tokens}."
            )
        for name in ("tolerance", "weight_decay", "norm_weight"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)}.")
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(f"`learning_rate` must be above 0, got {self.learning_rate}.")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"`ema_decay` must be at least 0 and below 1, got {self.ema_decay}.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Inversion:
    """Tokens of k features.

    Attributes:
        tokens: n token embeddings per feature, in the dtype of the token table.
        cosines: Mean over all templates of the cosine between their text features with these
            tokens and the target.
        num_steps: Steps each feature took.
    """

    tokens: Float[Tensor, "k n w"]
    cosines: Float[Tensor, " k"]
    num_steps: Int[Tensor, " k"]


class InversionComposer:
    """Composes on any CLIP without training: tokens are optimised for each reference.

    The target is the frozen image feature, a sketch's first moved to the photo side:
    `normalise(V(S) - m_sketch + m_photo)`. `[a photo of; tokens; words]` searches by its text
    feature; the reference alone is `[a photo of; tokens]`, the words alone "a photo of" and the
    words. Encoding takes up to `max_steps` passes through the text tower, forwards and backwards.

    Source: docs/papers.md, equation (24).
    """

    name = "inversion"

    def __init__(self, backbone: Backbone, settings: InversionSettings | None = None) -> None:
        """Take the kit's backbone.

        Raises:
            ValueError: The context has no room for that many tokens.
        """
        self.backbone = backbone
        self.settings = settings or InversionSettings()
        _check_room(backbone, self.settings.num_tokens)
        with torch.no_grad():
            moves = needs_shift(backbone, self.settings.moves_sketches)
            self._shift = modality_shift(backbone) if moves else None

    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query and invert its feature, deterministically."""
        return self.encode_batch([query])[0]

    @torch.no_grad()
    def encode_batch(self, queries: Sequence[Query]) -> list[EncodedReference]:
        """Encode several references; their tokens are optimised side by side, which costs less."""
        encoded = [EncodedReference() for _ in queries]
        pixels = {
            index: prepared
            for index, query in enumerate(queries)
            if (prepared := reference_pixels(self.backbone, query)) is not None
        }
        if not pixels:
            return encoded
        # One at a time: a batch rounds differently, and a feature's bytes seed its starts.
        encodings = [
            self.backbone.encode_image(image, reference_medium(queries[index]))
            for index, image in pixels.items()
        ]
        is_sketch = [queries[index].sketch is not None for index in pixels]
        targets = torch.cat([encoding.features for encoding in encodings])
        if self._shift is not None:
            moved = functional.normalize(targets + self._shift, dim=-1)
            flags = torch.tensor(is_sketch, device=targets.device).unsqueeze(1)
            targets = torch.where(flags, moved, targets)
        tokens = invert(self.backbone, targets, self.settings).tokens
        for row, index in enumerate(pixels):
            encoded[index] = EncodedReference(
                image_feature=targets[row],
                pseudo_tokens=tokens[row],
                patch_features=encodings[row].patch_features[0],
                layout=learned_layout(self.backbone, encodings[row]),
                photo=photo_as_seen(self.backbone, encodings[row]),
            )
        return encoded

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Compose an encoded reference with words; every side that is missing is left out.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        return compose_tokens(self, encoded, text, balance)


def invert(
    backbone: Backbone, features: Float[Tensor, "k d"], settings: InversionSettings
) -> Inversion:
    """Find tokens whose text feature, in random templates, is close to each feature.

    Each feature is optimised separately: in a batch it gets the same tokens as alone, up to
    rounding, and the same tokens for the same seed. Works under `torch.no_grad()` and
    `torch.inference_mode()`; the result carries no graph.

    Args:
        backbone: Whose tokens are searched; nothing of it is changed.
        features: Targets in the joint space, of any length but zero: the loss is `1 - cosine`.
        settings: How to search.

    Raises:
        ValueError: The features do not fit the backbone, or the context has no room for the
            tokens.

    Source: docs/papers.md, equation (24). Differences: several restarts; starts drawn like
        the token table (its mean, its deviation) instead of N(0, 0.02); the running mean is
        corrected for its empty start, so that a short search is not held back; it stops when
        converged. The pull towards the table's mean norm is a reconstruction in place of the
        paper's phrase regulariser, which needs a language model's phrases.
    """
    _check_room(backbone, settings.num_tokens)
    _check_features(backbone, features)
    with torch.inference_mode(False), torch.enable_grad():
        # A clone made here may enter a graph, whichever mode the features come from.
        return _search(backbone, features.detach().clone().float(), settings)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Templates:
    """t fixed prompts with empty slots for the tokens, padded to the longest."""

    embeddings: Float[Tensor, "t l w"]
    first: Int[Tensor, " t"]
    ends: Int[Tensor, " t"]


def _search(
    backbone: Backbone, targets: Float[Tensor, "k d"], settings: InversionSettings
) -> Inversion:
    templates = _make_templates(backbone, settings.num_tokens)
    starts, draws = _draw(backbone, targets, settings, num_templates=len(templates.ends))
    mean_norm = backbone.token_table().float().norm(dim=-1).mean()
    tokens = nn.Parameter(starts)
    optimiser = torch.optim.AdamW(
        [tokens], lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    mean = torch.zeros_like(starts)
    best = starts.clone()
    cosines = _mean_cosines(backbone, templates, starts, targets)  # k r
    num_steps = torch.zeros(len(targets), dtype=torch.long, device=targets.device)
    active = torch.arange(len(targets), device=targets.device)
    for step in range(1, settings.max_steps + 1):
        optimiser.zero_grad()
        current = tokens[active]
        reached = _cosines(
            backbone, templates, draws[active, :, step - 1], current, targets[active]
        )
        pull = (current.norm(dim=-1) / mean_norm - 1).square().mean(dim=-1)
        # A sum, so that no feature's gradient depends on how many others there are.
        (1 - reached + settings.norm_weight * pull).sum().backward()
        optimiser.step()  # finished features go on changing, but are no longer read
        mean.lerp_(tokens.detach(), 1 - settings.ema_decay)
        if step % settings.patience and step < settings.max_steps:
            continue
        num_steps[active] = step
        kept = mean[active] / (1 - settings.ema_decay**step)
        gains = _mean_cosines(backbone, templates, kept, targets[active]) - cosines[active]
        better = gains > 0
        best[active] = torch.where(better[..., None, None], kept, best[active])
        cosines[active] += gains.clamp(min=0)
        active = active[_is_unfinished(gains, settings.tolerance)]
        if len(active) == 0:
            break
    winners = cosines.argmax(dim=1)
    rows = torch.arange(len(targets), device=targets.device)
    return Inversion(
        tokens=best[rows, winners].to(backbone.dtype),
        cosines=cosines[rows, winners],
        num_steps=num_steps,
    )


def _is_unfinished(gains: Float[Tensor, "a r"], tolerance: float) -> Bool[Tensor, " a"]:
    return (gains > tolerance).any(dim=1)


def _cosines(
    backbone: Backbone,
    templates: _Templates,
    which: Int[Tensor, "a r"],
    tokens: Float[Tensor, "a r n w"],
    targets: Float[Tensor, "a d"],
) -> Float[Tensor, "a r"]:
    """Return the cosine of every target with its tokens, each in the template chosen for it."""
    chosen = which.flatten()
    ends = templates.ends[chosen]
    offsets = torch.arange(tokens.shape[2], device=ends.device)
    embeddings = splice(
        templates.embeddings[chosen, : int(ends.max()) + 1],
        templates.first[chosen, None] + offsets,
        tokens.flatten(0, 1),
    )
    text = backbone.encode_embeddings(embeddings, ends).features.float()
    return functional.cosine_similarity(
        text.unflatten(0, which.shape), targets.unsqueeze(1), dim=-1
    )


@torch.no_grad()
def _mean_cosines(
    backbone: Backbone,
    templates: _Templates,
    tokens: Float[Tensor, "a r n w"],
    targets: Float[Tensor, "a d"],
) -> Float[Tensor, "a r"]:
    """Return the mean of the cosines over all templates."""
    num_starts, num_templates = tokens.shape[1], len(templates.ends)
    which = torch.arange(num_templates, device=tokens.device).repeat(len(tokens), num_starts)
    repeated = tokens.repeat_interleave(num_templates, dim=1)  # a r n w -> a rt n w
    cosines = _cosines(backbone, templates, which, repeated, targets)
    return cosines.unflatten(1, (num_starts, num_templates)).mean(dim=-1)


def _make_templates(backbone: Backbone, num_tokens: int) -> _Templates:
    slots = [backbone.end_id] * num_tokens  # overwritten before anything is encoded
    batch = assemble_prompts(
        backbone, prefix=(), pseudo=None, word_ids=[ids + slots for ids in _prefixes(backbone)]
    )
    return _Templates(
        embeddings=batch.embeddings.float(),
        first=batch.end_positions - num_tokens,
        ends=batch.end_positions,
    )


def _prefixes(backbone: Backbone) -> list[list[int]]:
    return [[i for word in backbone.word_ids(text) for i in word] for text in HAND_PROMPTS]


def _draw(
    backbone: Backbone,
    targets: Float[Tensor, "k d"],
    settings: InversionSettings,
    *,
    num_templates: int,
) -> tuple[Float[Tensor, "k r n w"], Int[Tensor, "k r s"]]:
    """Return the starts of all restarts and the template of each of their steps.

    Every restart has its own generator, so that further restarts leave the first unchanged.
    """
    table = backbone.token_table().float()
    shape = (settings.num_tokens, backbone.token_width)
    noise: list[Tensor] = []
    draws: list[Tensor] = []
    for target in targets:
        for restart in range(settings.num_restarts):
            generator = torch.Generator().manual_seed(_mix(settings.seed, restart, target))
            noise.append(torch.randn(shape, generator=generator))
            draws.append(torch.randint(num_templates, (settings.max_steps,), generator=generator))
    sizes = (len(targets), settings.num_restarts)
    starts = torch.stack(noise).unflatten(0, sizes).to(table.device)
    starts = table.mean(dim=0) + table.std(dim=0) * starts
    return starts, torch.stack(draws).unflatten(0, sizes).to(table.device)


def _mix(seed: int, restart: int, target: Float[Tensor, " d"]) -> int:
    """Return a generator's seed from the user's, the restart and the bytes of the target."""
    digest = hashlib.sha256(f"{seed} {restart} ".encode())
    digest.update(target.cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:7], "big")


def _check_room(backbone: Backbone, num_tokens: int) -> None:
    longest = max(len(ids) for ids in _prefixes(backbone))
    room = backbone.context_length - 2 - longest
    if num_tokens > room:
        raise ValueError(
            f"`num_tokens` must be at most {room}, the room that the templates leave in the "
            f"context of this backbone, got {num_tokens}."
        )


def _check_features(backbone: Backbone, features: Float[Tensor, "k d"]) -> None:
    if len(features) == 0 or features.shape[1] != backbone.joint_dim:
        raise ValueError(
            f"Features must be one or more vectors of the joint space's {backbone.joint_dim} "
            f"dimensions, got shape {tuple(features.shape)}."
        )
    if not bool(features.isfinite().all() and (features != 0).any(dim=1).all()):
        raise ValueError("Features must be finite and not zero; encode the reference again.")
