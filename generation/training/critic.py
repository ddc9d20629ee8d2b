"""A patch discriminator: tells crops of real pictures from reconstructed ones."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2


class PatchCritic(nn.Module):
    """Scores overlapping patches of a picture, one for every 8 x 8 pixels; real ones are high.

    Spectral norms hold its slope, so that its push may have a fixed weight.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for factor in (1, 2, 4):
            conv = nn.Conv2d(channels, factor * width, 4, stride=2, padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(_SLOPE)]
            channels = factor * width
        for out in (channels, 1):
            layers += [spectral_norm(nn.Conv2d(channels, out, 3, padding=1)), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 y x"]:
        """Score the patches of pictures, RGB in [-1, 1]."""
        return self.layers(images)

    def push(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
        """Return the loss of pictures that should pass for real; the critic does not learn."""
        self.requires_grad_(False)
        loss = -self(images).mean()
        self.requires_grad_(True)
        return loss

    def lesson(
        self, real: Float[Tensor, "n 3 h w"], restored: Float[Tensor, "n 3 h w"]
    ) -> Float[Tensor, ""]:
        """Return the critic's own loss (hinge)."""
        scores = self(torch.cat([real, restored.detach()])).chunk(2)
        return functional.relu(1 - scores[0]).mean() + functional.relu(1 + scores[1]).mean()
