"""Prompted: visual prompts and tuned normalisation layers on the query side of a frozen CLIP."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from composer.backbone import Backbone
from composer.composed import ComposedQuery, slerp
from composer.medium import Medium
from composer.query import Query
from composer.strategies.converter import TextConverter
from composer.strategies.files import load_with_number, write_composer
from composer.strategies.protocol import EncodedReference
from composer.strategies.reference import (
    compose_features,
    learned_layout,
    photo_of,
    reference_medium,
    reference_pixels,
)
from composer.trunk import has_trunk
from composer.vision import ImageEncoding, encode_with_tower, norm_state

SCHEMA = "prompted-composer/1"
NUM_PROMPTS = 3
FRAME_SHARE = 0.1
_ALPHA = "alpha"


class PixelFrame(nn.Module):
    """Numbers that are added to the border of a preprocessed picture; zeros to begin with.

    Source: visual prompting by padding, as in docs/papers.md, section 3; the width is ours.
    """

    def __init__(self, image_px: int) -> None:
        super().__init__()
        self.width_px = max(1, round(FRAME_SHARE * image_px))
        inner_px = image_px - 2 * self.width_px
        self.rows = nn.Parameter(torch.zeros(3, 2 * self.width_px, image_px))
        self.columns = nn.Parameter(torch.zeros(3, inner_px, 2 * self.width_px))

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Return the pictures in the frame."""
        left, right = self.columns.chunk(2, dim=2)
        inside = left.new_zeros(3, left.shape[1], self.rows.shape[2] - 2 * self.width_px)
        top, bottom = self.rows.chunk(2, dim=1)
        frame = torch.cat([top, torch.cat([left, inside, right], dim=2), bottom], dim=1)
        return pixels + frame.to(pixels.dtype)


class PromptedModel(nn.Module):
    """The trainable part: visual prompts for sketches and the query tower's normalisation layers.

    A ViT takes K prompts beside its patches, as in the paper. A convolutional trunk has no place
    for tokens: its prompt is a frame of learned pixels around a drawing. Photos have none there,
    since nothing that a drawing tunes changes how such a kit sees photos.

    The paper has a second set of prompts for photos at category level and one common set at
    instance level; here photos keep the frozen tower, so that one index serves every composer, and
    the one set belongs to the references.

    Source: docs/papers.md, section 3.

    Attributes:
        alpha: Share of the way from the reference to the words; validation chooses it.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.alpha = 0.5
        self.tower = backbone.copy_vision_tower()
        self.prompts: nn.Parameter | None = None
        self.frame: PixelFrame | None = None
        if has_trunk(self.tower):
            self.frame = PixelFrame(backbone.image_size_px)
        else:
            self.prompts = nn.Parameter(0.02 * torch.randn(NUM_PROMPTS, backbone.vision_width))
        self.to(backbone.device)

    def encode_image(
        self, pixels: Float[Tensor, "n 3 h w"], medium: Medium = Medium.DRAWING
    ) -> ImageEncoding:
        """Encode preprocessed references with the prompted tower."""
        if self.frame is not None and medium is Medium.DRAWING:
            pixels = self.frame(pixels)
        return encode_with_tower(self.tower, pixels, self.prompts, medium=medium)

    def prompt_state(self) -> dict[str, Tensor]:
        """Return the visual prompts: tokens or the two parts of a frame."""
        if self.frame is None:
            assert self.prompts is not None
            return {"prompts": self.prompts}
        return {f"frame.{name}": p for name, p in self.frame.named_parameters()}

    def trainable_state(self) -> dict[str, Tensor]:
        """Return normalisation layers and prompts under the names of the file."""
        return {**norm_state(self.tower), **self.prompt_state()}

    def save(self, path: Path, *, half: bool = False, notes: dict[str, str] | None = None) -> None:
        """Write what was trained to a `.safetensors`; `notes` goes to its metadata."""
        tensors = {**self.trainable_state(), _ALPHA: torch.tensor([self.alpha])}
        kind = "tokens" if self.frame is None else f"a frame of {self.frame.width_px} px"
        facts = {**(notes or {}), "prompts": kind}
        write_composer(path, SCHEMA, tensors, self.backbone, half=half, notes=facts)

    @classmethod
    def load(cls, path: Path, backbone: Backbone) -> "PromptedModel":
        """Read what `save` wrote.

        Raises:
            ComposerError: It belongs to another backbone, or is damaged.
        """
        model = cls(backbone)
        live = model.trainable_state()
        model.alpha = load_with_number(path, SCHEMA, live, backbone, number=_ALPHA)
        return model.eval()


class PromptedComposer:
    """Composes with a trained `PromptedModel`: slerp of the prompted feature and the words'.

    Category and instance level are two trainings of it, so two files. Tokens come from the kit's
    converter; the method itself has no tokens.

    Source: docs/papers.md, section 3; the composition with words is ours.
    """

    def __init__(
        self, model: PromptedModel, converter: TextConverter | None = None, name: str = "prompted"
    ) -> None:
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.backbone = model.backbone
        self._converter = converter

    @torch.no_grad()
    def encode(self, query: Query) -> EncodedReference:
        """Encode the reference of a query with the prompted tower."""
        pixels = reference_pixels(self.backbone, query)
        if pixels is None:
            return EncodedReference()
        encoding = self.model.encode_image(pixels, reference_medium(query))
        converter = self._converter
        return EncodedReference(
            image_feature=encoding.features[0],
            pseudo_tokens=None
            if converter is None
            else converter.from_images(encoding.features)[0],
            patch_features=encoding.patch_features[0],
            layout=learned_layout(self.backbone, encoding),
            photo=photo_of(self.backbone, query, pixels),
        )

    def encode_pictures(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return unit features of a gallery's pictures by the tuned tower, as in the paper."""
        return self.model.encode_image(pixels, Medium.PHOTO).features

    @torch.no_grad()
    def compose(self, encoded: EncodedReference, text: str, balance: float = 0.5) -> ComposedQuery:
        """Mix an encoded reference with words.

        Raises:
            ValueError: There is neither a reference nor a word, or `balance` is not in [0, 1].
        """
        return compose_features(
            self,
            encoded,
            text,
            balance,
            mix=lambda reference, words: slerp(reference, words, self.model.alpha),
        )
