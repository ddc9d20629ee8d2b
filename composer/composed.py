"""Composed query: the value that retrieval and generation take from a composer."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.errors import InputError
from composer.layout import NUM_CODES, LearnedLayout
from composer.weights import Shape, WeightsError, read_safetensors, write_safetensors

SCHEMA = "duet-composed-query/1"
MAX_PSEUDO_TOKENS = 32
MAX_PROMPT_LENGTH = 512
BALANCED = 0.5


class MissingTokensError(ValueError):
    """A composed query that can search but not generate; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComposedQuery:
    """A reference and words, composed once for retrieval and generation.

    Attributes:
        pseudo_tokens: The reference as pseudo-word tokens; no rows where there is no reference.
        prompt_embeddings: The whole spliced prompt before positions are added, padded with
            end-of-text; no rows where `missing_tokens` says why.
        end_position: Index of the prompt's first end-of-text.
        pseudo_positions: Indices of the pseudo-words in the prompt.
        feature: Unit vector in the joint space that searches, at this `balance`.
        both_feature: The feature at balance 0.5.
        reference_feature: The feature of the reference alone; None without a reference.
        words_feature: The feature of the words alone; None without words.
        patch_features: Unit vectors in the joint space, one per patch of the reference.
        layout: How the reference is laid out, where the kit has learned layouts; None where that
            follows from the patch features.
        balance: 0 is the reference alone, 0.5 the composed query, 1 the words alone.
        composer: Name of the strategy.
        text: The user's words.
        gallery_hash: Tower that galleries must be encoded with.
        text_hash: Text tower whose token space the prompt lives in.
        missing_tokens: Why there are no tokens; empty where there are.
    """

    pseudo_tokens: Float[Tensor, "n w"]
    prompt_embeddings: Float[Tensor, "l w"]
    end_position: int
    pseudo_positions: tuple[int, ...]
    feature: Float[Tensor, " d"]
    both_feature: Float[Tensor, " d"]
    reference_feature: Float[Tensor, " d"] | None
    words_feature: Float[Tensor, " d"] | None
    patch_features: Float[Tensor, "p d"] | None
    balance: float
    composer: str
    text: str
    gallery_hash: str
    text_hash: str
    missing_tokens: str = ""
    layout: LearnedLayout | None = None

    def require_tokens(self) -> Float[Tensor, "l w"]:
        """Return the prompt that an image is generated from.

        Raises:
            MissingTokensError: The composer has no converter from features to tokens.
        """
        if self.missing_tokens:
            raise MissingTokensError(self.missing_tokens)
        return self.prompt_embeddings

    @property
    def digest(self) -> str:
        """Sixteen hex digits of a hash of the whole value."""
        digest = hashlib.sha256(json.dumps(_metadata(self), sort_keys=True).encode())
        for name, tensor in sorted(_tensors(self).items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write everything to one `.safetensors`, atomically."""
        write_safetensors(path, _tensors(self), _metadata(self))

    @classmethod
    def load(cls, path: Path) -> "ComposedQuery":
        """Read what `save` wrote.

        Raises:
            WeightsError: The file is damaged or holds something else.
        """
        width: Shape = (None, None)
        weights = read_safetensors(
            path,
            {
                "pseudo_tokens": width,
                "prompt_embeddings": width,
                "feature": (None,),
                "both_feature": (None,),
                "optional.*": (),
            },
        )
        try:
            return _from_parts(weights.tensors, weights.metadata)
        except (KeyError, ValueError, TypeError, AssertionError, RecursionError) as error:
            raise WeightsError(f"{path.name} is not a composed query of this program.") from error


def rebalance(query: ComposedQuery, balance: float) -> ComposedQuery:
    """Move the feature between reference, both and words, by vector arithmetic alone.

    The path is spherical, reference to both for 0 to 0.5 and both to words for 0.5 to 1; 0.5 is
    exactly the composed feature. A query with one side only keeps its feature.

    Raises:
        InputError: `balance` is not in [0, 1].
    """
    feature = interpolate(query.both_feature, query.reference_feature, query.words_feature, balance)
    return replace(query, feature=feature, balance=float(balance))


def interpolate(
    both: Float[Tensor, " d"],
    reference: Float[Tensor, " d"] | None,
    words: Float[Tensor, " d"] | None,
    balance: float,
) -> Float[Tensor, " d"]:
    """Return the feature at a balance; see `rebalance`.

    Raises:
        InputError: `balance` is not in [0, 1].
    """
    if not 0.0 <= balance <= 1.0:
        raise InputError(f"`balance` must lie between 0 and 1, got {balance}.")
    if reference is None or words is None or balance == BALANCED:
        return both
    if balance < BALANCED:
        return slerp(reference, both, balance / BALANCED)
    return slerp(both, words, (balance - BALANCED) / BALANCED)


def slerp(a: Float[Tensor, "*n d"], b: Float[Tensor, "*n d"], t: float) -> Float[Tensor, "*n d"]:
    """Return the point a share t along the great circle from unit vector a to b; exact at its ends.

    Opposite vectors have no shortest path: the result then is the normalised straight mix.
    """
    if t in (0.0, 1.0):
        return b if t else a
    cosine = (a * b).sum(dim=-1, keepdim=True).clamp(-1.0, 1.0)
    angle = torch.arccos(cosine)
    sine = torch.sin(angle)
    # Near 0 and pi the sine vanishes; the straight mix is the limit near 0.
    flat = sine < 1e-6
    safe = torch.where(flat, torch.ones_like(sine), sine)
    left = torch.where(flat, torch.full_like(sine, 1 - t), torch.sin((1 - t) * angle) / safe)
    right = torch.where(flat, torch.full_like(sine, t), torch.sin(t * angle) / safe)
    return functional.normalize(left * a + right * b, dim=-1)


def _tensors(query: ComposedQuery) -> dict[str, Tensor]:
    optional = {
        "optional.reference_feature": query.reference_feature,
        "optional.words_feature": query.words_feature,
        "optional.patch_features": query.patch_features,
        "optional.layout": None if query.layout is None else query.layout.vector,
    }
    always = {
        "pseudo_tokens": query.pseudo_tokens,
        "prompt_embeddings": query.prompt_embeddings,
        "feature": query.feature,
        "both_feature": query.both_feature,
    }
    return always | {name: t for name, t in optional.items() if t is not None}


def _metadata(query: ComposedQuery) -> dict[str, str]:
    learned = {} if query.layout is None else {"layout_weight": repr(query.layout.weight)}
    return learned | {
        "schema": SCHEMA,
        "end_position": str(query.end_position),
        "pseudo_positions": json.dumps(query.pseudo_positions),
        "balance": repr(query.balance),
        "composer": query.composer,
        "text": query.text,
        "gallery_hash": query.gallery_hash,
        "text_hash": query.text_hash,
        "missing_tokens": query.missing_tokens,
    }


def _from_parts(tensors: dict[str, Tensor], metadata: dict[str, str]) -> ComposedQuery:
    assert metadata["schema"] == SCHEMA
    query = ComposedQuery(
        pseudo_tokens=tensors["pseudo_tokens"],
        prompt_embeddings=tensors["prompt_embeddings"],
        end_position=int(metadata["end_position"]),
        pseudo_positions=tuple(int(i) for i in json.loads(metadata["pseudo_positions"])),
        feature=tensors["feature"],
        both_feature=tensors["both_feature"],
        reference_feature=tensors.get("optional.reference_feature"),
        words_feature=tensors.get("optional.words_feature"),
        patch_features=tensors.get("optional.patch_features"),
        balance=float(metadata["balance"]),
        composer=metadata["composer"],
        text=metadata["text"],
        gallery_hash=metadata["gallery_hash"],
        text_hash=metadata["text_hash"],
        missing_tokens=metadata["missing_tokens"],
        layout=_layout(tensors, metadata),
    )
    _check(query)
    return query


def _check(query: ComposedQuery) -> None:
    length, width = query.prompt_embeddings.shape
    num_pseudo = len(query.pseudo_tokens)
    assert 0.0 <= query.balance <= 1.0
    assert length <= MAX_PROMPT_LENGTH
    assert num_pseudo <= MAX_PSEUDO_TOKENS
    assert query.pseudo_tokens.shape[1] == width
    assert len(query.pseudo_positions) == (0 if query.missing_tokens else num_pseudo)
    assert all(0 < i < query.end_position for i in query.pseudo_positions)
    assert query.missing_tokens or 0 < query.end_position < length
    dim = len(query.both_feature)
    features = (query.feature, query.reference_feature, query.words_feature)
    assert all(f is None or f.shape == (dim,) for f in features)
    patches = query.patch_features
    assert patches is None or (patches.ndim == 2 and patches.shape[1] == dim)
    if query.layout is not None:
        assert query.layout.vector.shape == (NUM_CODES,)
        assert 0.0 <= query.layout.weight <= 1.0


def _layout(tensors: dict[str, Tensor], metadata: dict[str, str]) -> LearnedLayout | None:
    vector = tensors.get("optional.layout")
    if vector is None:
        return None
    return LearnedLayout(vector=vector, weight=float(metadata["layout_weight"]))
