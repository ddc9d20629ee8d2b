"""CLIPs that give features but no space of tokens: timm's ViTs with attention pooling.

SigLIP 2 and PE-Core are such. They search better than the CLIPs that diffusion models read with,
and no diffusion model reads their tokens; composers that mix features serve them at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import torch
from jaxtyping import Float, Int
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn
from torch.nn import functional

from composer.backbone import Backbone, TextEncoding
from composer.clip_files import BackboneError
from composer.hashes import tower_hashes
from composer.layout import region_maps, region_projection
from composer.medium import Medium
from composer.vision import ImageEncoding

Tokenize = Callable[[list[str]], Tensor]
NO_TOKENS = (
    "This kit's CLIP has no space of tokens: it searches with composers that mix features, such as "
    "basic. Choose such a composer, or a kit with tokens, such as clip-l14."
)


class FeatureBackbone(Backbone):
    """A frozen CLIP whose towers are asked for features alone."""

    has_tokens = False

    def __init__(self, model: nn.Module, tokenizer: Tokenize) -> None:
        """Take a loaded model of open_clip and the tokenizer it was trained with.

        Raises:
            BackboneError: The model's layout is not supported.
        """
        self.model: Any = model.eval().requires_grad_(False)
        self._text: Any = self.model.text
        self._tokenize = tokenizer
        self._preprocess_cfg = PreprocessCfg(**self.model.visual.preprocess_cfg)
        self._transform: Any = image_transform_v2(self._preprocess_cfg, is_train=False)
        trunk = self.model.visual.trunk
        self.context_length = int(self.model.context_length)
        self.token_width = int(self._text.token_embedding.weight.shape[1])
        self.vision_width = int(trunk.embed_dim)
        rows, columns = trunk.patch_embed.grid_size
        self.grid = (int(rows), int(columns))
        self.image_size_px = int(self.model.visual.image_size[0])
        self.joint_dim = self._joint_dim()
        self.gallery_hash, self.text_hash = tower_hashes(self.model, asdict(self._preprocess_cfg))

    @torch.no_grad()
    def _joint_dim(self) -> int:
        return int(self.encode_text(["a"]).shape[1])

    def encode_image(
        self, pixels: Float[Tensor, "n 3 h w"], medium: Medium = Medium.PHOTO
    ) -> ImageEncoding:
        """Encode preprocessed images; a patch's feature is what pooling makes of it alone."""
        visual = self.model.visual
        states = visual.trunk.forward_features(pixels)  # n 1+p w, or n p w
        patches = states[:, -self.grid[0] * self.grid[1] :]
        alone = visual.head(visual.trunk.forward_head(self._one_by_one(states, patches)))
        features = visual.head(visual.trunk.forward_head(states))
        return ImageEncoding(
            features=functional.normalize(features, dim=-1),
            patch_features=functional.normalize(alone.unflatten(0, patches.shape[:2]), dim=-1),
            hidden=patches,
            medium=medium,
        )

    def _one_by_one(
        self, states: Float[Tensor, "n q w"], patches: Float[Tensor, "n p w"]
    ) -> Float[Tensor, "m k w"]:
        """Return sequences of one patch each, behind the prefix tokens that pooling leaves out."""
        trunk = self.model.visual.trunk
        num_left_out = 0 if getattr(trunk, "pool_include_prefix", True) else trunk.num_prefix_tokens
        prefix = states[:, :num_left_out].repeat_interleave(patches.shape[1], dim=0)
        return torch.cat([prefix, patches.flatten(0, 1).unsqueeze(1)], dim=1)

    def layouts(self, seen: ImageEncoding) -> Float[Tensor, "n c"]:
        """Return the layouts of images by random signs of their patch features."""
        patches = seen.patch_features
        return region_maps(patches, region_projection(patches.shape[-1]).to(patches.device))

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return unit text features of plain texts."""
        ids = self._tokenize(list(texts)).to(self.device)
        return functional.normalize(self._text(ids), dim=-1)

    def word_ids(self, text: str) -> list[list[int]]:
        """Return one entry per word; the ids mean nothing outside."""
        return [[index] for index in range(len(text.split()))]

    def words(self, text: str) -> list[str]:
        """Return the words of a text."""
        return text.split()

    def token_table(self) -> Float[Tensor, "v w"]:
        """Return an empty table: there are no tokens to compose with."""
        return self._text.token_embedding.weight[:0]

    def encode_embeddings(
        self,
        embeddings: Float[Tensor, "n l w"],
        end_positions: Int[Tensor, " n"],
    ) -> TextEncoding:
        """Refuse: prompts are plain words here.

        Raises:
            BackboneError: Always.
        """
        _refuse()

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n l"]:
        """Refuse: the ids of this tokenizer are of another vocabulary.

        Raises:
            BackboneError: Always.
        """
        _refuse()

    def copy_vision_tower(self) -> nn.Module:
        """Refuse: composers are not trained on such a tower.

        Raises:
            BackboneError: Always.
        """
        _refuse()


def _refuse() -> NoReturn:
    raise BackboneError(NO_TOKENS)
