"""The forward pass of open_clip's vision tower: whole, with visual prompts, or in two parts."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEncoding:
    """What the vision tower says about n images.

    Attributes:
        features: Unit vectors in the joint space.
        patch_features: One unit vector in the joint space per patch, row by row of the grid:
            final norm and projection of the pooled token applied to each patch token.
        hidden: Patch tokens after the final norm, before the projection.
    """

    features: Float[Tensor, "n d"]
    patch_features: Float[Tensor, "n p d"]
    hidden: Float[Tensor, "n p w"]


def encode_with_tower(
    visual: nn.Module,
    pixels: Float[Tensor, "n 3 h w"],
    prompts: Float[Tensor, "k v"] | None = None,
) -> ImageEncoding:
    """Encodes preprocessed images with a vision tower or a tuned copy of one.

    Args:
        visual: The tower.
        pixels: Preprocessed images.
        prompts: Visual prompts of the tower's width, which follow the patches through the blocks
            and are dropped before pooling; None for none.

    Source: the forward pass of open_clip's vision tower, on its own modules; shallow visual
    prompts as in docs/papers.md, section 3.
    """
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
    )


def enter_tower(
    visual: nn.Module, pixels: Float[Tensor, "n 3 h w"], share: float
) -> Float[Tensor, "n q v"]:
    """Pooled token and patch tokens of preprocessed images behind the tower's first blocks.

    Args:
        visual: The tower.
        pixels: Preprocessed images.
        share: Of the blocks, in [0, 1], rounded to whole ones.
    """
    tower: Any = visual
    states = tower._embeds(pixels)
    for block in tower.transformer.resblocks[: _num_first(tower, share)]:
        states = block(states)
    return states


def leave_tower(
    visual: nn.Module, states: Float[Tensor, "n q v"], share: float
) -> Float[Tensor, "n d"]:
    """Unit features of what `enter_tower` gave: the pooled token beside any of its patch tokens.

    Args:
        visual: The tower.
        states: The pooled token first, then one or more patch tokens.
        share: As in `enter_tower`.
    """
    tower: Any = visual
    for block in tower.transformer.resblocks[_num_first(tower, share) :]:
        states = block(states)
    return _project(tower, states)


def _num_first(visual: nn.Module, share: float) -> int:
    tower: Any = visual
    return round(len(tower.transformer.resblocks) * share)


def _project(visual: nn.Module, hidden: Float[Tensor, "n q v"]) -> Float[Tensor, "n d"]:
    tower: Any = visual
    pooled, _ = tower._pool(hidden)
    return functional.normalize(pooled @ tower.proj, dim=-1)


def layer_norms(module: nn.Module) -> dict[str, nn.LayerNorm]:
    """Finds the LayerNorms of a module by name."""
    return {name: m for name, m in module.named_modules() if isinstance(m, nn.LayerNorm)}


def layer_norm_state(module: nn.Module) -> dict[str, Tensor]:
    """Weights and biases of a module's LayerNorms as `layer_norms.<name>.<weight or bias>`."""
    return {
        f"layer_norms.{name}.{leaf}": tensor
        for name, norm in layer_norms(module).items()
        for leaf, tensor in norm.named_parameters()
    }
