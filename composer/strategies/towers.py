"""Vision towers of the sentence composer: light ones of timm, and two of the backbone."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import timm
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from composer.backbone import Backbone
from composer.medium import Medium
from composer.trunk import first_part, has_trunk, see_middle
from composer.vision import encode_with_tower, in_order, rows_by_medium, trunk_of

INHERITED, SYMMETRIC = "inherited", "symmetric"


class InheritedTower(nn.Module):
    """The first third of a ViT's blocks, copied to be trained, at half its size.

    It starts from the backbone's knowledge of edges and parts, which a tower of random weights
    takes a hundred thousand pictures to learn.

    Source: weight inheritance as in TinyCLIP (Wu et al., ICCV 2023), by depth and by resolution.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        visual: Any = deepcopy(backbone.model.visual).float().requires_grad_(True)
        self.image_px = backbone.image_size_px // 2
        patch_px = backbone.image_size_px // backbone.grid[0]
        side = self.image_px // patch_px
        blocks = visual.transformer.resblocks
        visual.transformer.resblocks = blocks[: math.ceil(len(blocks) / 3)]
        positions = shrink_positions(visual.positional_embedding.detach(), backbone.grid, side)
        visual.positional_embedding = nn.Parameter(positions)
        visual.proj = None
        self.visual = visual

    def forward_features(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n p c"]:
        """Return patch tokens after the norm."""
        hidden = self.visual.transformer(self.visual._embeds(pixels))
        return self.visual.ln_post(hidden)[:, 1:]


class InheritedTrunk(nn.Module):
    """A trunk up to its map of stride 16, as drawings see it, copied to be trained, at half size.

    Running statistics stay those of the kit: batches of some dozens would blur them.

    Source: as for `InheritedTower`; where the trunk is cut is ours.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.image_px = backbone.image_size_px // 2
        own = trunk_of(backbone.model.visual, Medium.DRAWING)
        self.trunk = first_part(own).float().requires_grad_(True)
        self.train(False)

    def train(self, mode: bool = True) -> "InheritedTrunk":
        """Stay in evaluation mode."""
        super().train(False)
        return self

    def forward_features(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c r s"]:
        """Return the map."""
        return see_middle(self.trunk, pixels)


def _inherit(backbone: Backbone) -> InheritedTower | InheritedTrunk:
    if has_trunk(backbone.model.visual):
        return InheritedTrunk(backbone)
    return InheritedTower(backbone)


def shrink_positions(
    positions: Float[Tensor, "q c"], grid: tuple[int, int], side: int
) -> Float[Tensor, "r c"]:
    """Return position vectors of a square grid of `side`, the class token's first, unchanged."""
    class_token, patches = positions[:1], positions[1:]
    picture = patches.T.unflatten(1, grid)[None]  # p c -> 1 c h w
    smaller = functional.interpolate(picture, size=(side, side), mode="bicubic", antialias=True)
    return torch.cat([class_token, smaller[0].flatten(1).T])


class FrozenTower(nn.Module):
    """The backbone's vision tower, for the symmetric mode; the module does not own its weights."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.image_px = backbone.image_size_px
        self._visual = (
            backbone.model.visual,
        )  # in a tuple, so that its weights are not registered

    def forward_features(
        self, pixels: Float[Tensor, "n 3 h w"], is_photo: Bool[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n p c"]:
        """Return the last map, behind the final norm; references are drawings unless said so."""
        (visual,) = self._visual
        pixels = pixels.to(next(visual.parameters()).dtype)
        if is_photo is None:
            is_photo = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
        rows = rows_by_medium(is_photo)
        parts = [
            encode_with_tower(visual, pixels[chosen], medium=medium).hidden.float()
            for medium, chosen in rows.items()
        ]
        return in_order(parts, list(rows.values()))


def _create(architecture: str, options: dict[str, Any]) -> nn.Module:
    tower: Any = timm.create_model(
        architecture, pretrained=False, num_classes=0, global_pool="", in_chans=3, **options
    )
    # Only the map is used: later layers would only enlarge the file.
    tower.prune_intermediate_layers(1, prune_norm=False, prune_head=True)
    return tower


_LIGHT_VIT = {"depth": 3, "embed_dim": 128, "num_heads": 2, "class_token": False}

# Name to a builder that takes the backbone and the side of the images in pixels.
TOWERS: Final[dict[str, Callable[[Backbone, int], nn.Module]]] = {
    "small": lambda _, image_px: _create(
        "vit_tiny_patch16_224", {"img_size": image_px, **_LIGHT_VIT}
    ),
    "medium": lambda *_: _create("lcnet_100", {}),
    "large": lambda *_: _create("efficientnet_lite0", {}),
    INHERITED: lambda backbone, _: _inherit(backbone),
    SYMMETRIC: lambda backbone, _: FrozenTower(backbone),
}


def map_features(
    tower: nn.Module,
    pixels: Float[Tensor, "n 3 h w"],
    image_px: int,
    is_photo: Bool[Tensor, " n"] | None = None,
) -> Float[Tensor, "n p c"]:
    """Return the feature map of preprocessed images, row by row, after resizing to `image_px`.

    Args:
        tower: One of `TOWERS`.
        pixels: The images.
        image_px: Side of the resized ones; towers made from the backbone have their own.
        is_photo: Which of them are no drawings, for the frozen tower; the others see all alike.
            None where all are drawings.
    """
    network: Any = tower
    pixels = pixels.float()
    if isinstance(tower, FrozenTower | InheritedTower | InheritedTrunk):
        image_px = tower.image_px
    if pixels.shape[-2:] != (image_px, image_px):
        pixels = functional.interpolate(
            pixels, size=(image_px, image_px), mode="bilinear", antialias=True
        )
    if isinstance(tower, FrozenTower):
        return tower.forward_features(pixels, is_photo)
    features = network.forward_features(pixels)
    return features if features.ndim == 3 else features.flatten(2).mT  # n c h w -> n p c


@torch.no_grad()
def count_channels(tower: nn.Module, image_px: int) -> int:
    """Return the width of a tower's feature map."""
    tower.eval()  # keeps the blank image out of the running statistics
    features = map_features(tower, torch.zeros(1, 3, image_px, image_px), image_px)
    tower.train()
    return features.shape[-1]
