"""The trainable picture side of an encoder: a map to the joint space by medium, cells by medium."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from composer.data.encoder_sets import Part
from composer.media import CELL_DIM, MediaHeads
from composer.medium import Medium
from composer.training.encoder_space import Space, fit_cells, fold
from composer.training.trunk_features import TrunkFeatures


class MediumHead(nn.Module):
    """Centres and scales pooled features of one medium, then maps them to the joint space."""

    scale: Tensor

    def __init__(self, space: Space, medium: Medium) -> None:
        super().__init__()
        self.mean = nn.Parameter(space.means[medium].clone())
        self.weight = nn.Parameter(space.axes.clone())
        self.register_buffer("scale", torch.tensor(space.scale))

    def forward(self, pooled: Float[Tensor, "n w"]) -> Float[Tensor, "n d"]:
        """Return unit vectors in the joint space."""
        return functional.normalize((pooled - self.mean) / self.scale @ self.weight, dim=-1)

    def folded(self) -> tuple[Float[Tensor, "d w"], Float[Tensor, " d"]]:
        """Return weight and bias of the linear layer that does the same."""
        return fold(self.weight.detach(), self.mean.detach(), float(self.scale))


class EncoderHeads(nn.Module):
    """Heads and cells of both media, which start alike: common axes behind each medium's mean."""

    def __init__(self, space: Space, sets: Mapping[str, TrunkFeatures]) -> None:
        """Start from a space; `sets` are what its cells are centred by."""
        super().__init__()
        train = [features.of(Part.TRAIN, plain=True) for features in sets.values()]
        means, axes = fit_cells([features for features in train if features.classes], CELL_DIM)
        self.heads = nn.ModuleDict({m.value: MediumHead(space, m) for m in Medium})
        width, joint_dim = space.axes.shape
        self.media = MediaHeads(width, joint_dim, axes.shape[0])
        for medium in Medium:
            cell = self.media.cells[medium.value]
            cell.load_state_dict({"mean": means[medium], "weight": axes})

    def features(self, pooled: Float[Tensor, "n w"], medium: Medium) -> Float[Tensor, "n d"]:
        """Return unit vectors in the joint space."""
        return self.heads[medium.value](pooled)

    def layouts(self, cells: Float[Tensor, "n r c"], medium: Medium) -> Float[Tensor, "n k"]:
        """Return unit vectors of 1,024 numbers."""
        return self.media.lay_out(cells, medium)

    def trainable_state(self) -> dict[str, Tensor]:
        """Return every parameter that training changes, by name."""
        parts = {"heads": self.heads, "cells": self.media.cells}
        return {
            f"{part}.{name}": parameter
            for part, module in parts.items()
            for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `trainable_state` gave, of heads of the same size.

        Raises:
            ValueError: A tensor is missing or has another shape.
        """
        for name, parameter in self.trainable_state().items():
            if name not in state or state[name].shape != parameter.shape:
                raise ValueError(f"The heads to start from do not fit: {name} is missing or other.")
            parameter.copy_(state[name])

    def photo_head(self) -> dict[str, Tensor]:
        """Return weight and bias of the tower's linear map."""
        return dict(zip(("weight", "bias"), self._folded(Medium.PHOTO), strict=True))

    @torch.no_grad()
    def media_heads(self) -> MediaHeads:
        """Return what stands beside the tower, with the drawing head as it is trained."""
        weight, bias = self._folded(Medium.DRAWING)
        self.media.drawing.load_state_dict({"weight": weight, "bias": bias})
        return self.media

    def _folded(self, medium: Medium) -> tuple[Tensor, Tensor]:
        head = self.heads[medium.value]
        assert isinstance(head, MediumHead)
        return head.folded()
