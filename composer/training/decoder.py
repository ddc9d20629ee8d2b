"""Decoder G, from query features to pictures; used in training only."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

PICTURE_PX = 64
_CHANNELS = (256, 128, 96, 64, 32)
_COARSE_PX = 4


class Decoder(nn.Module):
    """A small convolutional decoder from the joint space to pictures of 64 px.

    Source: docs/papers.md, G of equation (9) (reconstruction: the paper has a UNet-style decoder of
    a size it does not give; one feature has no maps to skip over, so this is its upward half).
    """

    def __init__(self, joint_dim: int) -> None:
        super().__init__()
        self.coarse = nn.Linear(joint_dim, _CHANNELS[0] * _COARSE_PX**2)
        self.blocks = nn.Sequential(
            *(_finer(come, go) for come, go in itertools.pairwise(_CHANNELS))
        )
        self.levels = nn.Conv2d(_CHANNELS[-1], 3, 3, padding=1)

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n 3 64 64"]:
        """Return RGB levels in [0, 1]."""
        coarse = self.coarse(features).unflatten(1, (-1, _COARSE_PX, _COARSE_PX))
        return torch.sigmoid(self.levels(self.blocks(coarse)))


def reconstruction(
    decoder: Decoder,
    photos: Float[Tensor, "n 3 64 64"],
    query: Float[Tensor, "n d"],
    completed: Float[Tensor, "n d"],
) -> Float[Tensor, ""]:
    """Return `L_rec = |P - G(q)| + |P - G(q_delta)|`, means over pixels.

    The query of the drawing gives the shape; completed by delta_w, shape and appearance.

    Source: docs/papers.md, equation (9), a reconstruction.
    """
    made = decoder(torch.cat([query, completed]))
    alone, whole = made.chunk(2)
    return functional.l1_loss(alone, photos) + functional.l1_loss(whole, photos)


def _finer(come: int, go: int) -> nn.Module:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(come, go, 3, padding=1),
        nn.GroupNorm(8, go),
        nn.SiLU(),
    )
