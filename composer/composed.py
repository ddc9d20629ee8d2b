"""Composed query: the value that retrieval and generation take from a composer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.added_words import UsedWords, used_words_fields, used_words_of
from composer.errors import InputError
from composer.fusion import Fusion, fusion_fields, fusion_of, fusion_tensors
from composer.layout import NUM_CODES, LearnedLayout
from composer.weights import Shape, WeightsError, read_safetensors, write_safetensors

SCHEMA = "duet-composed-query/1"
TENSORS = ("pseudo_tokens", "prompt_embeddings", "feature", "both_feature")
OPTIONAL_TENSORS = ("reference_feature", "words_feature", "patch_features", "drawing_feature")
_OPTIONAL = "optional."
_EMPHASIS = ("word_weights", "word_sizes")
_TEXTS = ("composer", "text", "gallery_hash", "text_hash", "missing_tokens")
MAX_PSEUDO_TOKENS = 32
MAX_PROMPT_LENGTH = 1024
MAX_WORD_WEIGHT = 30.0  # nested emphasis multiplies
BALANCED = 0.5


class MissingTokensError(ValueError):
    """A composed query that can search but not generate; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComposedQuery:
    """A reference and words, composed once for retrieval and generation.

    Attributes:
        pseudo_tokens: The reference as pseudo-word tokens; no rows where there is no reference.
        prompt_embeddings: The whole spliced prompt before positions are added, padded with
            end-of-text; no rows where `missing_tokens` says why. Words that one context has no room
            for follow in further prompts of its length, each with start and end.
        end_position: Index of the prompt's first end-of-text.
        pseudo_positions: Indices of the pseudo-words in the prompt.
        feature: Unit vector in the joint space that searches, at this `balance`.
        both_feature: The feature at balance 0.5.
        reference_feature: The feature of the reference alone; None without a reference.
        words_feature: The feature of the words alone; None without words.
        patch_features: Unit vectors in the joint space, one per patch of the reference.
        layout: How the reference is laid out, where the kit has learned layouts; None where that
            follows from the patch features.
        fusion: The two sides of the query where they are compared one by one in place of `feature`,
            which then stands for the query where one vector is needed; None otherwise.
        balance: 0 is the reference alone, 0.5 the composed query, 1 the words alone.
        composer: Name of the strategy.
        text: The user's words.
        gallery_hash: Tower that galleries must be encoded with.
        text_hash: Text tower whose token space the prompt lives in.
        missing_tokens: Why there are no tokens; empty where there are.
        drawing_feature: The feature of the reference in the joint space of the tower that draws,
            where another one searches; its tokens are found from it.
        added: Words of token files that the text uses; None without any.
        word_weights: Emphasis of the words that the prompt has room for, one number each, 1 for a
            plain word; empty where all are plain. Features contain it, the prompt does not.
        word_sizes: Number of tokens of each of those words.
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
    fusion: Fusion | None = None
    drawing_feature: Float[Tensor, " c"] | None = None
    added: UsedWords | None = None
    word_weights: tuple[float, ...] = ()
    word_sizes: tuple[int, ...] = ()

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
                f"{_OPTIONAL}*": (),
            },
        )
        tensors = {name.removeprefix(_OPTIONAL): t for name, t in weights.tensors.items()}
        try:
            return query_from_fields(tensors, _fields_of(weights.metadata))
        except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise WeightsError(f"{path.name} is not a composed query of this program.") from error


def with_prompt_of(searching: ComposedQuery, drawing: ComposedQuery) -> ComposedQuery:
    """Return a query that searches as one does and draws as the other.

    Args:
        searching: Composed with the tower that galleries are indexed with.
        drawing: The same reference and words, composed with the tower of the pipeline.
    """
    return replace(
        searching,
        pseudo_tokens=drawing.pseudo_tokens,
        prompt_embeddings=drawing.prompt_embeddings,
        end_position=drawing.end_position,
        pseudo_positions=drawing.pseudo_positions,
        text_hash=drawing.text_hash,
        missing_tokens=drawing.missing_tokens,
        drawing_feature=drawing.reference_feature,
        added=drawing.added,
        word_weights=drawing.word_weights,
        word_sizes=drawing.word_sizes,
    )


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


def query_fields(query: ComposedQuery) -> dict[str, Any]:
    """Return everything of a query but its tensors, as values of JSON."""
    return {
        "end_position": query.end_position,
        "pseudo_positions": list(query.pseudo_positions),
        "balance": query.balance,
        **{name: getattr(query, name) for name in _TEXTS},
        **({} if query.layout is None else {"layout_weight": query.layout.weight}),
        **({name: list(getattr(query, name)) for name in _EMPHASIS} if query.word_weights else {}),
        **fusion_fields(query.fusion),
        **used_words_fields(query.added),
    }


def query_from_fields(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> ComposedQuery:
    """Make a query of its tensors and of what `query_fields` returned.

    Args:
        tensors: Those of `TENSORS`, and any of `OPTIONAL_TENSORS`, "layout", `FUSION_TENSORS` and
            "second_vectors".
        fields: As `query_fields` returns them; from an untrusted file, if need be.

    Raises:
        KeyError: A tensor or a field is missing.
        ValueError: Values or shapes contradict each other.
        TypeError: A field is of another type.
        OverflowError: A number is out of the range of its type.
    """
    required: dict[str, Any] = {name: tensors[name] for name in TENSORS}
    optional: dict[str, Any] = {name: tensors.get(name) for name in OPTIONAL_TENSORS}
    texts: dict[str, Any] = {name: str(fields[name]) for name in _TEXTS}
    query = ComposedQuery(
        **required,
        **optional,
        **texts,
        end_position=_whole(fields["end_position"]),
        pseudo_positions=tuple(_whole(i) for i in fields["pseudo_positions"]),
        balance=float(fields["balance"]),
        layout=_layout_of(tensors, fields),
        fusion=fusion_of(tensors, fields),
        added=used_words_of(tensors, fields),
        word_weights=tuple(float(weight) for weight in fields.get("word_weights", ())),
        word_sizes=tuple(_whole(size) for size in fields.get("word_sizes", ())),
    )
    if not _is_consistent(query):
        raise ValueError("The parts of the composed query contradict each other.")
    return query


def _layout_of(tensors: Mapping[str, Tensor], fields: Mapping[str, Any]) -> LearnedLayout | None:
    vector = tensors.get("layout")
    if vector is None:
        return None
    return LearnedLayout(vector=vector, weight=float(fields["layout_weight"]))


def _tensors(query: ComposedQuery) -> dict[str, Tensor]:
    optional = {f"{_OPTIONAL}{name}": getattr(query, name) for name in OPTIONAL_TENSORS}
    optional[f"{_OPTIONAL}layout"] = None if query.layout is None else query.layout.vector
    optional |= {f"{_OPTIONAL}{name}": part for name, part in fusion_tensors(query.fusion).items()}
    optional[f"{_OPTIONAL}second_vectors"] = query.added and query.added.second_vectors
    return {
        **{name: getattr(query, name) for name in TENSORS},
        **{name: tensor for name, tensor in optional.items() if tensor is not None},
    }


def _metadata(query: ComposedQuery) -> dict[str, str]:
    fields = query_fields(query)
    numbers = {name: json.dumps(value) for name, value in fields.items() if name not in _TEXTS}
    return {"schema": SCHEMA, **numbers, **{name: fields[name] for name in _TEXTS}}


def _fields_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a file's metadata, in which all values are text."""
    if metadata["schema"] != SCHEMA:
        raise ValueError(f"The schema must be {SCHEMA}, got {metadata['schema']}.")
    return {
        name: text if name in _TEXTS else json.loads(text)
        for name, text in metadata.items()
        if name != "schema"
    }


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"A position must be a whole number, got {value!r}.")
    return value


def _is_consistent(query: ComposedQuery) -> bool:
    num_pseudo, num_positions = len(query.pseudo_tokens), len(query.pseudo_positions)
    length, width = query.prompt_embeddings.shape
    end, dim, patches = query.end_position, len(query.both_feature), query.patch_features
    features, layout = (query.feature, query.reference_feature, query.words_feature), query.layout
    fusion, added = query.fusion, query.added
    return (
        0.0 <= query.balance <= 1.0
        and length <= MAX_PROMPT_LENGTH
        and num_pseudo <= MAX_PSEUDO_TOKENS
        and query.pseudo_tokens.shape[1] == width
        and num_positions == (0 if query.missing_tokens else num_pseudo)
        and all(0 < i < end for i in query.pseudo_positions)
        and (bool(query.missing_tokens) or 0 < end < length)
        and all(f is None or f.shape == (dim,) for f in features)
        and (patches is None or (patches.ndim == 2 and patches.shape[1] == dim))
        and (layout is None or (layout.vector.shape == (NUM_CODES,) and 0 <= layout.weight <= 1))
        and (fusion is None or fusion.width == dim)
        and (added is None or all(at < length for at in added.second_positions))
        and len(query.word_weights) == len(query.word_sizes) <= len(query.text.split())
        and all(0 <= size <= MAX_PROMPT_LENGTH for size in query.word_sizes)
        and all(0 <= weight <= MAX_WORD_WEIGHT for weight in query.word_weights)
    )
