"""Duet: a tower with tuned normalisation layers, a few pseudo-words, and a learned prompt."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from composer.backbone import Backbone
from composer.composed import MAX_PSEUDO_TOKENS, ComposedQuery
from composer.medium import Medium
from composer.prompt import assemble_prompts
from composer.query import Query
from composer.strategies.converter import NUM_TOKENS, Converter
from composer.strategies.files import load_with_number, read_origin, write_composer
from composer.strategies.protocol import ComposerError, EncodedReference
from composer.strategies.reference import (
    compose_tokens,
    learned_layout,
    photo_of,
    reference_medium,
    reference_pixels,
)
from composer.vision import ImageEncoding, encode_with_tower, norm_state

SCHEMA = "duet-composer/2"
INITIAL_PROMPT = "a photo of"
MAX_PROMPT_LENGTH = 16
_RESIDUAL = "residual"
_SHARES = ("residual_alone", "words_share")


@dataclass(frozen=True, kw_only=True, slots=True)
class DuetShape:
    """Size of a duet.

    Attributes:
        prompt_length: L, vectors of the learned prompt; three are those of "a photo of".
        num_tokens: Pseudo-words per reference; one in the paper.
    """

    prompt_length: int = 3
    num_tokens: int = NUM_TOKENS

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            ComposerError: A number is out of range.
        """
        limits = {"prompt_length": MAX_PROMPT_LENGTH, "num_tokens": MAX_PSEUDO_TOKENS}
        for name, most in limits.items():
            if not 1 <= getattr(self, name) <= most:
                raise ComposerError(
                    f"`{name}` must lie between 1 and {most}, got {getattr(self, name)}."
                )


DEFAULT_SHAPE = DuetShape()


class DuetModel(nn.Module):
    """The trainable part of Duet on a frozen backbone.

    The vision tower is a copy for the query side whose normalisation layers alone are its own: the
    gallery stays with the backbone's tower, so that one index serves every composer. Where drawings
    have norms of their own these are tuned. The paper tunes one tower for sketches and photos
    alike.

    Attributes:
        residual: How much of the reference's own feature is added to the prompt's before the sum
            is normalised. Zero is the paper's query; validation chooses it, nothing trains on it.
        residual_alone: The same where there are no words.
        words_share: How much of the words' own feature is added where there are any.
    """

    def __init__(self, backbone: Backbone, shape: DuetShape = DEFAULT_SHAPE) -> None:
        super().__init__()
        self.backbone, self.shape = backbone, shape
        self.residual = self.residual_alone = self.words_share = 0.0
        table = backbone.token_table().detach().float()
        self.tower = backbone.copy_vision_tower()
        self.converter = Converter.of(backbone, shape.num_tokens)
        ids = [i for word in backbone.word_ids(INITIAL_PROMPT) for i in word]
        # A vocabulary may cut the words into more pieces; the prompt has its length, always.
        start = [ids[min(i, len(ids) - 1)] for i in range(shape.prompt_length)]
        self.prompt = nn.Parameter(table[start].clone())

    def encode_image(
        self, pixels: Float[Tensor, "n 3 h w"], medium: Medium = Medium.DRAWING
    ) -> ImageEncoding:
        """Encode preprocessed references with the tuned tower."""
        return encode_with_tower(self.tower, pixels, medium=medium)

    def convert(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k w"]:
        """Return the pseudo-word tokens of each feature, or of each difference of two features."""
        return self.converter(features.float())

    def read_alone(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return unit text features of the prompts `[P_L; s_w]` of references' features."""
        return self.read(self.convert(features), [[] for _ in features])

    def read(
        self, tokens: Float[Tensor, "n k w"], word_ids: list[list[int]]
    ) -> Float[Tensor, "n d"]:
        """Return unit text features of the prompts `[P_L; tokens; words]`."""
        prompts = assemble_prompts(
            self.backbone, prefix=self.prompt, pseudo=tokens, word_ids=word_ids
        )
        encoding = self.backbone.encode_embeddings(prompts.embeddings, prompts.end_positions)
        return encoding.features.float()

    def trainable_state(self) -> dict[str, Tensor]:
        """Return normalisation layers, converter and prompt under the names of the file."""
        norms = norm_state(self.tower)
        converter = {f"converter.{n}": p for n, p in self.converter.named_parameters()}
        return {**norms, **converter, "prompt": self.prompt}

    def save(self, path: Path, *, half: bool = False, notes: dict[str, str] | None = None) -> None:
        """Write normalisation layers, converter and prompt, and nothing of the frozen weights.

        Args:
            path: A `.safetensors` file, written atomically.
            half: Store fp16.
            notes: Further text for the metadata, such as training figures.
        """
        residual = torch.tensor([self.residual])
        tensors = {**self.trainable_state(), _RESIDUAL: residual}
        facts = {name: str(value) for name, value in asdict(self.shape).items()}
        facts |= {name: str(getattr(self, name)) for name in _SHARES}
        write_composer(
            path, SCHEMA, tensors, self.backbone, half=half, notes={**(notes or {}), **facts}
        )

    @classmethod
    def load(cls, path: Path, backbone: Backbone) -> "DuetModel":
        """Read what `save` wrote, for the backbone it was trained on.

        Raises:
            ComposerError: It belongs to another backbone, or is damaged.
        """
        facts = read_origin(path, SCHEMA, backbone)
        model = cls(backbone, _read_shape(path, facts))
        live = model.trainable_state()
        model.residual = load_with_number(path, SCHEMA, live, backbone, number=_RESIDUAL)
        # A file of before states one share, for references with words and without.
        model.residual_alone = _read_share(path, facts, "residual_alone", model.residual)
        model.words_share = _read_share(path, facts, "words_share", 0.0)
        return model.eval()


class DuetComposer:
    """Composes with a trained `DuetModel`.

    The composed prompt is `[P_L; s_w; words]`; its text feature, completed by a little of the
    reference's own, searches. The reference alone is `[P_L; s_w]`, the words alone "a photo of"
    and the words.

    Source: docs/papers.md, equation (1); the completion is ours.
    """

    name = "duet"

    def __init__(self, model: DuetModel) -> None:
        self.model = model.eval().requires_grad_(False)
        self.backbone = model.backbone

    @classmethod
    def load(cls, path: Path, backbone: Backbone) -> "DuetComposer":
        """Load a composer from `duet.safetensors`.

        Raises:
            ComposerError: It belongs to another backbone, or is damaged.
        """
        return cls(DuetModel.load(path, backbone))

    @torch.no_grad()
    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query with the tuned tower and convert it to tokens."""
        pixels = reference_pixels(self.backbone, query)
        if pixels is None:
            return EncodedReference()
        encoding = self.model.encode_image(pixels, reference_medium(query))
        return EncodedReference(
            image_feature=encoding.features[0],
            pseudo_tokens=self.model.convert(encoding.features)[0],
            patch_features=encoding.patch_features[0],
            layout=learned_layout(self.backbone, encoding),
            photo=photo_of(self.backbone, query, pixels),
        )

    def encode_pictures(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return unit features of a gallery's pictures by the tuned tower, as in the paper."""
        return self.model.encode_image(pixels, Medium.PHOTO).features

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Compose an encoded reference with words; every side that is missing is left out.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        return compose_tokens(
            self,
            encoded,
            text,
            balance,
            prefix=self.model.prompt,
            residual=self.model.residual,
            residual_alone=self.model.residual_alone,
            words_share=self.model.words_share,
        )


def _read_share(path: Path, metadata: dict[str, str], name: str, otherwise: float) -> float:
    """Return a share that a file states, or another number where it states none."""
    try:
        return float(metadata.get(name, otherwise))
    except ValueError as error:
        raise ComposerError(f"{path.name} is damaged: a share is no number.") from error


def _read_shape(path: Path, metadata: dict[str, str]) -> DuetShape:
    """Return the size that a file states; the default where it states none."""
    saved = {name: metadata[name] for name in asdict(DEFAULT_SHAPE) if name in metadata}
    try:
        return DuetShape(**{name: int(value) for name, value in saved.items()})
    except ComposerError:
        raise
    except ValueError as error:
        raise ComposerError(f"{path.name} is damaged: it does not state its size.") from error
