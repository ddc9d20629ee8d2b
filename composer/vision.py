"""The forward pass of a vision tower: whole, with visual prompts, or in two parts.

Two families are known, open_clip's own ViT and its `TimmModel` with a convolutional trunk; whoever
stands above asks the functions here and does not care which it is.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from composer.folding import fold_batch_norms
from composer.layout import region_maps, region_projection
from composer.media import MediaHeads
from composer.medium import Medium
from composer.trunk import REGION_GRID, has_trunk, last_grid, see_last, see_middle


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEncoding:
    """Output of the vision tower for n images.

    Attributes:
        features: Unit vectors in the joint space.
        patch_features: One unit vector in the joint space per patch, row by row of the grid:
            final norm and projection of the pooled token applied to each patch token; of a trunk
            the projection of each place of its last map.
        hidden: Patch tokens after the final norm, before the projection.
        cells: The map of stride 16 on a 4 x 4 grid, where the kit lays pictures out by it.
        medium: What the images were taken for.
    """

    features: Float[Tensor, "n d"]
    patch_features: Float[Tensor, "n p d"]
    hidden: Float[Tensor, "n p w"]
    cells: Float[Tensor, "n r c"] | None = None
    medium: Medium = Medium.PHOTO


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerFacts:
    """Sizes of a vision tower.

    Attributes:
        width: Of its hidden states.
        joint_dim: Of its features.
        grid: Rows and columns of its patch features.
        image_px: Side of its pictures.
    """

    width: int
    joint_dim: int
    grid: tuple[int, int]
    image_px: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Halfway:
    """Pictures behind a tower's first part.

    Attributes:
        states: Pooled tokens first, if there are any, then one state a patch.
        num_pooled: How many are pooled.
        grid: Rows and columns of the patches.
        medium: What the pictures were taken for.
    """

    states: Float[Tensor, "n q v"]
    num_pooled: int
    grid: tuple[int, int]
    medium: Medium

    @property
    def patches(self) -> Float[Tensor, "n p v"]:
        """States of the patches, row by row."""
        return self.states[:, self.num_pooled :]


def tower_facts(visual: nn.Module) -> TowerFacts:
    """Read the sizes of a tower of either family."""
    tower: Any = visual
    image_px = int(tower.image_size[0])
    if has_trunk(visual):
        joint_dim, width = (int(n) for n in tower.head.proj.weight.shape)
        grid = last_grid(image_px)
    else:
        width, joint_dim = (int(n) for n in tower.proj.shape)
        grid = tuple(tower.grid_size)
    return TowerFacts(width=width, joint_dim=joint_dim, grid=grid, image_px=image_px)


def media_of(visual: nn.Module) -> MediaHeads | None:
    """Return what a kit adds to its trunk; nothing for a ViT, or a trunk without it."""
    found = getattr(visual, "media", None)
    return found if isinstance(found, MediaHeads) else None


def encode_with_tower(
    visual: nn.Module,
    pixels: Float[Tensor, "n 3 h w"],
    prompts: Float[Tensor, "k v"] | None = None,
    *,
    medium: Medium = Medium.PHOTO,
) -> ImageEncoding:
    """Encode preprocessed images with a vision tower or a tuned copy of one.

    Args:
        visual: The tower.
        pixels: Preprocessed images.
        prompts: Visual prompts of a ViT's width, which follow the patches through the blocks
            and are dropped before pooling; None for none.
        medium: What the images are; a ViT sees all alike.

    Raises:
        ValueError: A convolutional trunk is given prompts.

    Source: the forward pass of open_clip's vision tower, on its own modules; shallow visual
    prompts as in docs/papers.md, section 3.
    """
    if has_trunk(visual):
        if prompts is not None:
            raise ValueError("Visual prompts need a ViT; this kit has a convolutional trunk.")
        return _encode_with_trunk(visual, pixels, medium)
    tower: Any = visual
    hidden = tower._embeds(pixels)  # n 1+p w
    length = hidden.shape[1]
    if prompts is not None:
        more = prompts.to(hidden.dtype).expand(len(hidden), -1, -1)
        hidden = torch.cat([hidden, more], dim=1)
    hidden = tower.transformer(hidden)[:, :length]
    patches = tower.ln_post(hidden)[:, 1:]  # n p w
    return ImageEncoding(
        features=_project(tower, hidden),
        patch_features=functional.normalize(patches @ tower.proj, dim=-1),
        hidden=patches,
        medium=medium,
    )


def rows_by_medium(is_photo: Bool[Tensor, " n"]) -> dict[Medium, Int[Tensor, " k"]]:
    """Return the rows of each medium that a mixed batch has."""
    rows = {Medium.DRAWING: (~is_photo).nonzero()[:, 0], Medium.PHOTO: is_photo.nonzero()[:, 0]}
    return {medium: chosen for medium, chosen in rows.items() if len(chosen)}


def in_order(
    parts: Sequence[Float[Tensor, "_ *d"]], rows: Sequence[Int[Tensor, " _"]]
) -> Float[Tensor, "n *d"]:
    """Join what was made of the rows of each medium, in the order of the batch."""
    return torch.cat(list(parts))[torch.cat(list(rows)).argsort()]


def lay_out(visual: nn.Module, seen: ImageEncoding) -> Float[Tensor, "n c"]:
    """Return layouts of encoded images, as an index keeps them; see `composer.layout`.

    By the kit's learned cells where it has them, else by random signs of the patch features.
    """
    media = media_of(visual)
    if media is not None and seen.cells is not None:
        return media.lay_out(seen.cells, seen.medium)
    patches = seen.patch_features
    return region_maps(patches, region_projection(patches.shape[-1]).to(patches.device))


def enter_tower(
    visual: nn.Module,
    pixels: Float[Tensor, "n 3 h w"],
    share: float,
    *,
    medium: Medium = Medium.PHOTO,
) -> Halfway:
    """Return preprocessed images behind the tower's first part.

    Args:
        visual: The tower.
        pixels: Preprocessed images.
        share: Of a ViT's blocks, in [0, 1], rounded to whole ones; a trunk is left at stride 16.
        medium: What the images are.
    """
    tower: Any = visual
    if has_trunk(visual):
        middle = see_middle(trunk_of(visual, medium), pixels)
        grid = (int(middle.shape[-2]), int(middle.shape[-1]))
        return Halfway(states=middle.flatten(2).mT, num_pooled=0, grid=grid, medium=medium)
    states = tower._embeds(pixels)
    for block in tower.transformer.resblocks[: _num_first(tower, share)]:
        states = block(states)
    return Halfway(states=states, num_pooled=1, grid=tuple(tower.grid_size), medium=medium)


def leave_tower(visual: nn.Module, halfway: Halfway, share: float) -> Float[Tensor, "n d"]:
    """Return unit features of what `enter_tower` gave.

    Args:
        visual: The tower.
        halfway: For a ViT the pooled token beside any of its patch tokens will do.
        share: As in `enter_tower`.
    """
    tower: Any = visual
    if has_trunk(visual):
        places = _project_places(visual, halfway)
        return functional.normalize(places.mean(dim=1), dim=-1)
    states = halfway.states
    for block in tower.transformer.resblocks[_num_first(tower, share) :]:
        states = block(states)
    return _project(tower, states)


def patches_alone(visual: nn.Module, halfway: Halfway, share: float) -> Float[Tensor, "p d"]:
    """Return the unit feature of each patch of one picture, encoded by itself.

    A ViT's patch goes on with the pooled token alone. A trunk's is what the joint space makes of
    its place of the last map, between places interpolated.
    """
    if has_trunk(visual):
        places = functional.normalize(_project_places(visual, halfway), dim=-1)  # 1 p d
        rows, columns = last_grid(_side_px(visual))
        small = places.mT.unflatten(2, (rows, columns))
        large = functional.interpolate(small, size=halfway.grid, mode="bilinear")
        return functional.normalize(large[0].flatten(1).T, dim=-1)
    pooled, patches = halfway.states[0, :1], halfway.patches[0]
    pairs = torch.stack([pooled.expand(len(patches), -1), patches], dim=1)
    alone = Halfway(states=pairs, num_pooled=1, grid=halfway.grid, medium=halfway.medium)
    return leave_tower(visual, alone, share)


def _encode_with_trunk(
    visual: nn.Module, pixels: Float[Tensor, "n 3 h w"], medium: Medium
) -> ImageEncoding:
    trunk = trunk_of(visual, medium)
    middle = see_middle(trunk, pixels)
    hidden = see_last(trunk, middle).flatten(2).mT  # n p w
    places = _head_of(visual, medium)(hidden)
    cells = functional.adaptive_avg_pool2d(middle, REGION_GRID).flatten(2).mT
    return ImageEncoding(
        features=functional.normalize(places.mean(dim=1), dim=-1),
        patch_features=functional.normalize(places, dim=-1),
        hidden=hidden,
        cells=None if media_of(visual) is None else cells,
        medium=medium,
    )


def _project_places(visual: nn.Module, halfway: Halfway) -> Float[Tensor, "n p d"]:
    trunk = trunk_of(visual, halfway.medium)
    middle = halfway.states.mT.unflatten(2, halfway.grid)
    return _head_of(visual, halfway.medium)(see_last(trunk, middle).flatten(2).mT)


def trunk_of(visual: nn.Module, medium: Medium) -> nn.Module:
    """Return the trunk of a tower that has one, as a medium sees it."""
    tower: Any = visual
    media = media_of(visual)
    if medium is Medium.DRAWING and media is not None and media.trunk is not None:
        return media.trunk
    return tower.trunk


def _head_of(visual: nn.Module, medium: Medium) -> nn.Module:
    tower: Any = visual
    media = media_of(visual)
    return media.drawing if medium is Medium.DRAWING and media is not None else tower.head


def _side_px(visual: nn.Module) -> int:
    tower: Any = visual
    return int(tower.image_size[0])


def _num_first(visual: nn.Module, share: float) -> int:
    tower: Any = visual
    return round(len(tower.transformer.resblocks) * share)


def _project(visual: nn.Module, hidden: Float[Tensor, "n q v"]) -> Float[Tensor, "n d"]:
    tower: Any = visual
    pooled, _ = tower._pool(hidden)
    return functional.normalize(pooled @ tower.proj, dim=-1)


def fold_tower(visual: nn.Module) -> nn.Module:
    """Copy a tower with a trunk for inference, its batch norms folded; others are returned.

    The copy sees the same up to rounding, in four fifths of the time; the two trunks of a kit whose
    drawings have norms of their own no longer share their convolutions. What it costs in memory is
    the trunk once or twice.
    """
    if not has_trunk(visual):
        return visual
    media, image_px = media_of(visual), _side_px(visual)
    tower: Any = visual
    trunks = [tower.trunk] if media is None or media.trunk is None else [tower.trunk, media.trunk]
    # Made within a search, it must serve a training of the same process.
    with torch.inference_mode(mode=False):
        # What stands in the memo is not copied.
        memo: dict[int, Any] = {id(trunk): fold_batch_norms(trunk, image_px) for trunk in trunks}
        memo |= {id(p): p for p in visual.parameters()}
        return deepcopy(visual, memo=memo).eval()


def norm_layers(visual: nn.Module) -> dict[str, nn.LayerNorm | nn.BatchNorm2d]:
    """Find the normalisation layers that tuning for references may change, by name.

    Of a kit whose drawings have normalisation layers of their own these are they; its photos' stay.
    """
    kinds = (nn.LayerNorm, nn.BatchNorm2d)
    tuned = trunk_of(visual, Medium.DRAWING) if has_trunk(visual) else visual
    return {name: m for name, m in tuned.named_modules() if isinstance(m, kinds)}


def norm_state(visual: nn.Module) -> dict[str, Tensor]:
    """Return weights and biases of these layers, and no running statistics.

    They are called `layer_norms.<name>.<weight or bias>`, as in every composer's file.
    """
    return {
        f"layer_norms.{name}.{leaf}": tensor
        for name, norm in norm_layers(visual).items()
        for leaf, tensor in norm.named_parameters()
    }


def copy_with_own_norms(visual: nn.Module) -> nn.Module:
    """Copy a tower for tuning its normalisation layers.

    Only these are new and ask for gradients; every other weight and all running statistics are
    shared with the original, so a copy costs next to no memory. It stays in evaluation mode
    whatever is asked of it, so that running statistics never move.
    """
    own = {id(p) for p in norm_state(visual).values()}
    shared: dict[int, Any] = {id(p): p for p in visual.parameters() if id(p) not in own}
    shared |= {id(buffer): buffer for buffer in visual.buffers()}
    tower: Any = deepcopy(visual, memo=shared).eval()
    for norm in norm_layers(tower).values():
        norm.requires_grad_(True)
    tower.train = lambda mode=True: tower
    return tower
