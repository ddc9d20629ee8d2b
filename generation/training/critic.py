"""Discriminators: they tell real pictures from reconstructed or drawn ones."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from composer.training.descent import Descent, DescentSettings, ParameterGroup

_SLOPE = 0.2


class PatchCritic(nn.Module):
    """Scores overlapping patches of a picture, one for every 8 x 8 pixels; real ones are high.

    Spectral norms hold its slope, so that its push may have a fixed weight.
    """

    def __init__(self, width: int = 32, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for factor in (1, 2, 4):
            conv = nn.Conv2d(channels, factor * width, 4, stride=2, padding=1)
            layers += [spectral_norm(conv), nn.LeakyReLU(_SLOPE)]
            channels = factor * width
        for out in (channels, 1):
            layers += [spectral_norm(nn.Conv2d(channels, out, 3, padding=1)), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 y x"]:
        """Score the patches of pictures, RGB in [-1, 1] and whatever channels follow it."""
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


def critic_descent(critic: nn.Module, rate: float) -> Descent:
    """Make the steps of a critic; what its spectral norms remember is part of their state."""
    named = dict(chain(critic.named_parameters(), critic.named_buffers()))
    group = ParameterGroup(parameters=list(critic.parameters()), rate=rate)
    return Descent(named, [group], DescentSettings(betas=(0.5, 0.9), skips_non_finite=True))


class ConditionedCritic(nn.Module):
    """Tells real pictures from drawn ones, knowing words and drawing: by patches and by maps.

    The patches are those of `PatchCritic`, with the drawing as a fourth colour. The maps are a
    frozen trunk's, each seen by a head of its own that compares what it finds with the words.
    Source: Sauer et al. 2021, Projected GANs Converge Faster; the comparison is the projection of
    Miyato and Koyama 2018, cGANs with Projection Discriminator.
    """

    def __init__(self, map_channels: Sequence[int], state_width: int, width: int = 32) -> None:
        super().__init__()
        self.patches = PatchCritic(width, channels=4)
        self.heads = nn.ModuleList(
            _MapHead(channels, state_width, 2 * width) for channels in map_channels
        )

    def forward(
        self,
        images: Float[Tensor, "n 3 h w"],
        maps: Sequence[Tensor],
        lines: Float[Tensor, "n 1 h w"],
        words: Float[Tensor, "n e"],
    ) -> list[Float[Tensor, "n 1 _ _"]]:
        """Score pictures; real ones are high.

        Args:
            images: RGB in [-1, 1].
            maps: Of the frozen trunk, for these pictures.
            lines: The drawings, 0 where there are none.
            words: One state that stands for the words of each picture.
        """
        scores = [self.patches(torch.cat([images, lines], dim=1))]
        for head, one in zip(self.heads, maps, strict=True):
            scores.append(head(one, functional.adaptive_max_pool2d(lines, one.shape[-2:]), words))
        return scores

    def push(self, *seen: Any) -> Float[Tensor, ""]:  # noqa: ANN401  as `forward`
        """Return the loss of pictures that should pass for real; the critic does not learn."""
        self.requires_grad_(False)
        scores = self(*seen)
        self.requires_grad_(True)
        return -torch.stack([score.mean() for score in scores]).mean()

    def lesson(self, real: Sequence[Any], drawn: Sequence[Any]) -> Float[Tensor, ""]:
        """Return the critic's own loss (hinge), of two sets that `forward` takes."""
        losses = [functional.relu(1 - score).mean() for score in self(*real)]
        losses += [functional.relu(1 + score).mean() for score in self(*drawn)]
        return 2 * torch.stack(losses).mean()


class _MapHead(nn.Module):
    def __init__(self, channels: int, state_width: int, width: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            spectral_norm(nn.Conv2d(channels + 1, width, 1)),
            nn.LeakyReLU(_SLOPE),
            spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
            nn.LeakyReLU(_SLOPE),
        )
        self.score = spectral_norm(nn.Conv2d(width, 1, 1))
        self.read = spectral_norm(nn.Linear(state_width, width))

    def forward(self, maps: Tensor, lines: Tensor, words: Tensor) -> Tensor:
        """Score the places of a map: how real it looks, and how well it fits the words."""
        found = self.look(torch.cat([maps, lines], dim=1))
        fit = (found * self.read(words)[:, :, None, None]).sum(1, keepdim=True)
        return self.score(found) + fit
