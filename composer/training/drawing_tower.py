"""A frozen trunk whose normalisation layers are trained on drawings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from composer.training.trunk_features import TrunkFeatures
from composer.trunk import REGION_GRID, see_last, see_middle
from composer.vision import copy_with_own_norms, norm_state

_BATCH = 16


class DrawingTower:
    """A copy of a trunk, with normalisation layers for drawings, and the drawings that it encodes.

    Attributes:
        visual: The copy, in evaluation mode for good.
    """

    def __init__(
        self,
        visual: nn.Module,
        levels: Mapping[str, UInt8[np.ndarray, "n s s"]],
        *,
        mean: float,
        std: float,
    ) -> None:
        """Take a frozen tower and the grey levels of the drawings of each set, by its name."""
        self.visual: Any = copy_with_own_norms(visual)
        self._levels, self._mean, self._std = levels, mean, std

    def trainable_state(self) -> dict[str, Tensor]:
        """Return weights and biases of the normalisation layers."""
        return norm_state(self.visual)

    def encode(self, name: str, drawings: TrunkFeatures) -> TrunkFeatures:
        """Encode drawings of the set `name` where the tower is, to features on the CPU.

        The graph is kept.
        """
        rows = np.asarray(drawings.rows)
        levels = torch.from_numpy(self._levels[name][rows]).float().div_(255)
        pixels = ((levels - self._mean) / self._std).unsqueeze(1).expand(-1, 3, -1, -1)
        middle = see_middle(self.visual.trunk, pixels.to(next(self.visual.parameters()).device))
        cells = functional.adaptive_avg_pool2d(middle, REGION_GRID)
        return replace(
            drawings,
            pooled=see_last(self.visual.trunk, middle).mean(dim=(2, 3)).cpu(),
            cells=cells.flatten(2).mT.cpu(),
        )

    @torch.no_grad()
    def encode_in_batches(self, name: str, drawings: TrunkFeatures) -> TrunkFeatures:
        """Return the same in small batches, without a graph."""
        pooled: list[Float[Tensor, "n w"]] = []
        cells: list[Float[Tensor, "n r c"]] = []
        for start in range(0, len(drawings.rows), _BATCH):
            stop = min(start + _BATCH, len(drawings.rows))
            features = self.encode(name, drawings.select(range(start, stop)))
            pooled.append(features.pooled)
            cells.append(features.cells)
        return replace(drawings, pooled=torch.cat(pooled), cells=torch.cat(cells))
