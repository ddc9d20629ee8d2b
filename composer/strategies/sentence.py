"""Sentence: a light query tower whose feature map becomes a few pseudo-words."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from composer.backbone import Backbone
from composer.composed import MAX_PSEUDO_TOKENS, ComposedQuery
from composer.folding import fold_batch_norms
from composer.medium import Medium
from composer.prompt import assemble_prompts
from composer.query import Query
from composer.strategies.files import load_tensors, read_composer, read_origin, write_composer
from composer.strategies.protocol import ComposerError, EncodedReference
from composer.strategies.reference import (
    PLAIN_PROMPT,
    compose_tokens,
    photo_of,
    reference_medium,
    reference_pixels,
)
from composer.strategies.towers import (
    SYMMETRIC,
    TOWERS,
    count_channels,
    map_features,
)

SCHEMA = "sentence-composer/1"
STRIDE_PX = 32
MAX_IMAGE_PX = 512
_SIZE = ("tower", "num_tokens", "image_px", "head")


class TokenHead(StrEnum):
    """How a feature map becomes pseudo-words."""

    ATTENTION = "attention"
    MLP = "mlp"


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceShape:
    """Size of a sentence model.

    Attributes:
        tower: A key of `TOWERS`; those made from the backbone have a size of their own.
        num_tokens: L, pseudo-words per reference; the paper's accuracy peaks at 4 to 8.
        image_px: Side of the images the tower sees, a multiple of 32.
        head: The adaptive token learner, or an MLP on the pooled map (with one token, the
            paper's ablation).
    """

    tower: str = "small"
    num_tokens: int = 4
    image_px: int = 128
    head: TokenHead = TokenHead.ATTENTION

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            ComposerError: The tower is unknown, or a number is out of range.
        """
        if self.tower not in TOWERS:
            known = ", ".join(TOWERS)
            raise ComposerError(f"There is no tower {self.tower!r}; choose one of: {known}.")
        if not 1 <= self.num_tokens <= MAX_PSEUDO_TOKENS:
            raise ComposerError(
                f"`num_tokens` must lie between 1 and {MAX_PSEUDO_TOKENS}, got {self.num_tokens}."
            )
        if self.image_px % STRIDE_PX or not STRIDE_PX <= self.image_px <= MAX_IMAGE_PX:
            raise ComposerError(
                f"`image_px` must be a multiple of {STRIDE_PX} up to {MAX_IMAGE_PX}, "
                f"got {self.image_px}."
            )


def compete(logits: Float[Tensor, "n l p"]) -> Float[Tensor, "n l p"]:
    """Return attention of l queries that compete for p positions; each query's weights sum to one.

    A softmax over the queries assigns each position; these shares, divided by their sum over the
    positions, are the weights of a query. Computed in logarithms, so that a query which wins no
    position still has weights.
    """
    return logits.log_softmax(dim=1).softmax(dim=2)


class TokenLearner(nn.Module):
    """L learned queries that divide a feature map among them, one pseudo-word each.

    Source: docs/papers.md, equation (20), a reconstruction: cross-attention, softmax over the
    queries and then normalised over the positions, a linear layer to the token width, and a
    LayerNorm at the output scaled to the token table's mean norm.
    """

    def __init__(self, channels: int, width: int, token_norm: float, num_tokens: int) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(channels)
        self.queries = nn.Parameter(torch.randn(num_tokens, channels))
        self.keys = nn.Linear(channels, channels)
        self.words = nn.Linear(channels, width)
        self.norm = _token_norm(width, token_norm)

    def attend(self, features: Float[Tensor, "n p c"]) -> Float[Tensor, "n l p"]:
        """Return each query's weights over the positions; non-negative, with a sum of one."""
        keys = self.keys(self.input_norm(features))
        return compete(torch.einsum("lc,npc->nlp", self.queries, keys) / keys.shape[-1] ** 0.5)

    def forward(self, features: Float[Tensor, "n p c"]) -> Float[Tensor, "n l w"]:
        """Return pseudo-words of n maps of p positions; their order does not matter."""
        attended = self.attend(features) @ self.input_norm(features)  # n l c
        return self.norm(self.words(attended))


class TokenMlp(nn.Module):
    """The ablation: an MLP on the mean of the map, without attention.

    Source: docs/papers.md, section 4; the size is a reconstruction: that of the duet's converter.
    """

    def __init__(self, channels: int, width: int, token_norm: float, num_tokens: int) -> None:
        super().__init__()
        hidden = 2 * width
        self.num_tokens = num_tokens
        self.layers = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, num_tokens * width),
        )
        self.norm = _token_norm(width, token_norm)

    def forward(self, features: Float[Tensor, "n p c"]) -> Float[Tensor, "n l w"]:
        """Return pseudo-words of n maps of p positions."""
        return self.norm(self.layers(features.mean(dim=1)).unflatten(1, (self.num_tokens, -1)))


class SentenceModel(nn.Module):
    """The trainable query side of ISA: a light tower and a token head, on a frozen backbone.

    The gallery stays with the backbone's tower, and so does the text tower that reads the
    pseudo-words; both stand outside this module. The paper reads the pseudo-words alone; here
    "a photo of" stands before them. Weights are fp32 whatever the backbone's.

    Source: docs/papers.md, section 4.
    """

    def __init__(self, backbone: Backbone, shape: SentenceShape) -> None:
        """Build a model with random weights.

        Raises:
            ComposerError: The text encoder has no room for so many tokens.
        """
        super().__init__()
        self.backbone, self.shape = backbone, shape
        self._prefix = [i for word in backbone.word_ids(PLAIN_PROMPT) for i in word]
        room = backbone.context_length - len(self._prefix) - 2
        if shape.num_tokens > room:
            raise ComposerError(
                f"`num_tokens` must leave room for an end: this backbone's prompts take at most "
                f"{room} pseudo-words, got {shape.num_tokens}."
            )
        self.tower = TOWERS[shape.tower](backbone, shape.image_px)
        norm = float(backbone.token_table().detach().float().norm(dim=-1).mean())
        kind = TokenMlp if shape.head is TokenHead.MLP else TokenLearner
        self.num_channels = count_channels(self.tower, shape.image_px)
        self.head = kind(self.num_channels, backbone.token_width, norm, shape.num_tokens)
        self.to(backbone.device)

    @property
    def num_parameters(self) -> int:
        """Number of trained weights, of tower and head together."""
        return sum(parameter.numel() for parameter in self.parameters())

    def trainable_state(self) -> dict[str, Tensor]:
        """Return tower and head, with the running statistics of their norms."""
        return {n: t for n, t in self.state_dict(keep_vars=True).items() if t.is_floating_point()}

    def tokens(
        self, pixels: Float[Tensor, "n 3 h w"], is_photo: Bool[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n l t"]:
        """Return pseudo-words of images that were preprocessed by the backbone, of any size.

        Args:
            pixels: The images.
            is_photo: Which of them are no drawings; None where all are drawings.
        """
        return self.head(self.map_features(pixels, is_photo))

    def map_features(
        self, pixels: Float[Tensor, "n 3 h w"], is_photo: Bool[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n p c"]:
        """Return the tower's feature map of such images, row by row."""
        return map_features(self.tower, pixels, self.shape.image_px, is_photo)

    def read(
        self, tokens: Float[Tensor, "n l t"], word_ids: Sequence[Sequence[int]] | None = None
    ) -> Float[Tensor, "n d"]:
        """Return unit text features of `[a photo of; tokens; words]`; gradients reach the tokens.

        Args:
            tokens: Pseudo-words of n references.
            word_ids: Vocabulary ids of the words of each; None for none.
        """
        words = [[] for _ in tokens] if word_ids is None else word_ids
        batch = assemble_prompts(self.backbone, prefix=self._prefix, pseudo=tokens, word_ids=words)
        encoding = self.backbone.encode_embeddings(batch.embeddings, batch.end_positions)
        return encoding.features.float()

    def save(self, path: Path, *, half: bool = False, notes: dict[str, str] | None = None) -> None:
        """Write tower and head, and nothing of the backbone.

        Args:
            path: A `.safetensors` file, written atomically.
            half: Store matrices and kernels in fp16. Vectors, among them the running variances
                that fp16 could round to nothing, stay fp32.
            notes: Further text for the metadata, such as training figures.
        """
        size = {name: str(getattr(self.shape, name)) for name in _SIZE}
        write_composer(
            path,
            SCHEMA,
            self.trainable_state(),
            self.backbone,
            half=half,
            notes={**(notes or {}), **size},
        )

    @classmethod
    def load(cls, path: Path, backbone: Backbone) -> "SentenceModel":
        """Read what `save` wrote, for the backbone it was trained on, in eval mode.

        Raises:
            ComposerError: It belongs to another backbone, or is damaged.
        """
        metadata = read_origin(path, SCHEMA, backbone)
        model = cls(backbone, _read_shape(path, metadata))
        live = model.trainable_state()
        load_tensors(live, read_composer(path, SCHEMA, live, backbone).tensors)
        return model.eval()


class SentenceComposer:
    """Composes with a trained `SentenceModel`.

    The composed prompt is `[a photo of; tokens; words]`, the reference alone `[a photo of;
    tokens]`, the words alone "a photo of" and the words. The reference has no feature in the
    joint space, only tokens.

    Source: docs/papers.md, section 4, at test time.
    """

    def __init__(self, model: SentenceModel, name: str = "sentence") -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.backbone = model.backbone
        self._tower = fold_batch_norms(model.tower, model.shape.image_px)

    @classmethod
    def load(cls, path: Path, backbone: Backbone) -> "SentenceComposer":
        """Load a composer from `sentence.safetensors`.

        Raises:
            ComposerError: It belongs to another backbone, or is damaged.
        """
        return cls(SentenceModel.load(path, backbone))

    @property
    def num_tower_parameters(self) -> int:
        """Number of weights of tower and head; in symmetric mode the tower is the backbone's."""
        parts = (self._tower, self.model.head)
        count = sum(p.numel() for part in parts for p in part.parameters())
        if self.model.shape.tower != SYMMETRIC:
            return count
        return count + sum(p.numel() for p in self.backbone.model.visual.parameters())

    @torch.no_grad()
    def tokens(
        self, pixels: Float[Tensor, "n 3 h w"], is_photo: Bool[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n l t"]:
        """Return pseudo-words of preprocessed references, in the backbone's precision."""
        features = map_features(self._tower, pixels, self.model.shape.image_px, is_photo)
        return self.model.head(features).to(self.backbone.dtype)

    @torch.no_grad()
    def encode(self, query: Query) -> EncodedReference:
        """Turn the reference of a query into pseudo-words."""
        pixels = reference_pixels(self.backbone, query)
        if pixels is None:
            return EncodedReference()
        is_photo = torch.tensor([reference_medium(query) is Medium.PHOTO], device=pixels.device)
        return EncodedReference(
            pseudo_tokens=self.tokens(pixels, is_photo)[0],
            photo=photo_of(self.backbone, query, pixels),
        )

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Compose an encoded reference with words; every side that is missing is left out.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        return compose_tokens(self, encoded, text, balance)


def _token_norm(token_width: int, token_norm: float) -> nn.LayerNorm:
    norm = nn.LayerNorm(token_width)
    # A normalised vector of width w has norm sqrt(w).
    nn.init.constant_(norm.weight, token_norm / token_width**0.5)
    return norm


def _read_shape(path: Path, metadata: dict[str, str]) -> SentenceShape:
    try:
        num_tokens, image_px = int(metadata["num_tokens"]), int(metadata["image_px"])
        tower, head = metadata["tower"], TokenHead(metadata["head"])
    except (KeyError, ValueError) as error:
        raise ComposerError(f"{path.name} is damaged: it does not state its size.") from error
    return SentenceShape(tower=tower, num_tokens=num_tokens, image_px=image_px, head=head)
