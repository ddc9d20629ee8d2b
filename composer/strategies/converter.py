"""Converters of joint features to pseudo-word tokens."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from composer.backbone import Backbone
from composer.strategies.files import load_tensors, read_composer, write_composer

SCHEMA = "text-converter/1"
NUM_TOKENS = 4


class Converter(nn.Module):
    """C: joint features, or differences of two, to pseudo-word tokens.

    Source: docs/papers.md, section 1; the size is a reconstruction: three linear layers, hidden
    width twice the token's, GELU, and a LayerNorm at the output scaled to the token table's mean
    norm. The paper has one token; several keep more of the shape once words follow them.
    """

    def __init__(
        self, joint_dim: int, token_width: int, token_norm: float, num_tokens: int = NUM_TOKENS
    ) -> None:
        super().__init__()
        hidden = 2 * token_width
        self.num_tokens = num_tokens
        self.layers = nn.Sequential(
            nn.Linear(joint_dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, num_tokens * token_width),
        )
        self.norm = nn.LayerNorm(token_width)
        # A normalised vector of width w has norm sqrt(w).
        nn.init.constant_(self.norm.weight, token_norm / token_width**0.5)

    @classmethod
    def of(cls, backbone: Backbone, num_tokens: int = NUM_TOKENS) -> "Converter":
        """Return an untrained converter of a backbone's widths, on its device."""
        norm = float(backbone.token_table().detach().float().norm(dim=-1).mean())
        made = cls(backbone.joint_dim, backbone.token_width, norm, num_tokens)
        return made.to(backbone.device)

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k w"]:
        """Convert unit features of n references, or n differences of such."""
        return self.norm(self.layers(features).unflatten(1, (self.num_tokens, -1)))


class TextConverter(nn.Module):
    """The converter of a kit, trained on text alone, for composers without one.

    It reads text features. Picture features lie elsewhere in the joint space, so they are moved by
    the difference of the two means first.

    Source: docs/papers.md, equation (25); the move between the means is ours.
    """

    text_mean: Tensor
    image_mean: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.converter = Converter.of(backbone)
        for name in ("text_mean", "image_mean"):
            self.register_buffer(name, torch.zeros(backbone.joint_dim, device=backbone.device))

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k w"]:
        """Return the tokens of text features, or of differences of two features."""
        return self.converter(features.float())

    def from_images(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k w"]:
        """Return the tokens of picture features."""
        moved = features.float() - self.image_mean + self.text_mean
        return self.converter(functional.normalize(moved, dim=-1))

    def trainable_state(self) -> dict[str, Tensor]:
        """Return the converter and the two means under the names of the file."""
        layers = {f"converter.{n}": p for n, p in self.converter.named_parameters()}
        return {**layers, "text_mean": self.text_mean, "image_mean": self.image_mean}

    def save(self, path: Path, *, half: bool = False, notes: dict[str, str] | None = None) -> None:
        """Write a `.safetensors`, atomically; `notes` goes to its metadata."""
        write_composer(path, SCHEMA, self.trainable_state(), self.backbone, half=half, notes=notes)

    @classmethod
    def load(cls, path: Path, backbone: Backbone) -> "TextConverter":
        """Read what `save` wrote.

        Raises:
            ComposerError: It belongs to another backbone, or is damaged.
        """
        model = cls(backbone)
        live = model.trainable_state()
        load_tensors(live, read_composer(path, SCHEMA, live, backbone).tensors)
        return model.eval().requires_grad_(False)
