"""What a kit with a convolutional trunk adds to open_clip's own tower: how drawings are seen.

The tower's own linear map is the photo head. A drawing has a map of its own, may have normalisation
layers of its own, and each medium has a projection of the map of stride 16, so that a drawing and a
photo of one thing are laid out alike. Biases centre the features of each medium by their own mean.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from composer.layout import NUM_CODES
from composer.medium import Medium
from composer.trunk import REGION_GRID, middle_channels
from composer.weights import WeightsError, read_safetensors, write_safetensors

MEDIA_NAME = "media.safetensors"
SCHEMA = "picture-media/1"
NUM_CELLS = REGION_GRID * REGION_GRID
CELL_DIM = NUM_CODES // NUM_CELLS
# Chosen on validation: more finds a drawing's own photo more often, but fewer photos of its class;
# for photos both fall early.
LAYOUT_WEIGHTS: Final = {Medium.PHOTO: 0.2, Medium.DRAWING: 0.5}
_NORMS = "norms."


class CellHead(nn.Module):
    """Lays pictures of one medium out: each cell centred by its own mean, then projected."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(NUM_CELLS, channels))
        self.weight = nn.Parameter(torch.zeros(channels, CELL_DIM))

    def forward(self, cells: Float[Tensor, "n r c"]) -> Float[Tensor, "n k"]:
        """Return unit vectors of 1,024 numbers, cell by cell, of float32 under autocast too."""
        with torch.autocast(cells.device.type, enabled=False):
            projected = (cells.float() - self.mean.float()) @ self.weight.float()
        return functional.normalize(projected.flatten(1), dim=-1)


class MediaHeads(nn.Module):
    """The drawing head, the cell heads of both media, and the trunk as drawings see it.

    Attributes:
        drawing: From pooled features of drawings to the joint space.
        cells: One cell head a medium.
        trunk: Shares all but its normalisation layers with the tower's; None where these are
            shared too.
    """

    def __init__(self, width: int, joint_dim: int, channels: int) -> None:
        super().__init__()
        self.drawing = nn.Linear(width, joint_dim)
        self.cells = nn.ModuleDict({medium.value: CellHead(channels) for medium in Medium})
        self.trunk: nn.Module | None = None

    @classmethod
    def for_tower(cls, visual: nn.Module) -> "MediaHeads":
        """Return empty heads of the size of a tower with a trunk."""
        tower: Any = visual
        joint_dim, width = (int(n) for n in tower.head.proj.weight.shape)
        return cls(width, joint_dim, middle_channels(tower.trunk))

    def lay_out(self, cells: Float[Tensor, "n r c"], medium: Medium) -> Float[Tensor, "n k"]:
        """Return the layouts of pictures of one medium."""
        return self.cells[medium.value](cells)

    def own_state(self) -> dict[str, Tensor]:
        """Return the tensors of the file: heads, and the drawings' normalisation layers, if any."""
        heads = {n: t for n, t in self.state_dict().items() if not n.startswith("trunk.")}
        norms = {} if self.trunk is None else _norms(self.trunk)
        return heads | {f"{_NORMS}{name}": tensor for name, tensor in norms.items()}

    def save(self, path: Path, *, half: bool = False, notes: dict[str, str] | None = None) -> None:
        """Write a `.safetensors`, atomically; `half` stores fp16."""
        dtype = torch.float16 if half else torch.float32
        tensors = {name: tensor.to(dtype) for name, tensor in self.own_state().items()}
        write_safetensors(path, tensors, {"schema": SCHEMA, **(notes or {})})

    @classmethod
    def load(cls, path: Path, visual: nn.Module) -> "MediaHeads":
        """Read what `save` wrote, for a tower of that size.

        Raises:
            WeightsError: The file is damaged, or made for a tower of another size.
        """
        found = read_safetensors(path).tensors
        heads = cls.for_tower(visual)
        if any(name.startswith(_NORMS) for name in found):
            heads.give_norms(visual)
        wanted = heads.own_state()
        if {n: t.shape for n, t in found.items()} != {n: t.shape for n, t in wanted.items()}:
            raise WeightsError(f"{path.name} was made for another vision tower; get its own.")
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(found[name])
        return heads

    def give_norms(self, visual: nn.Module) -> None:
        """Give drawings normalisation layers of their own, which begin as the tower's."""
        tower: Any = visual
        own = {id(p) for p in _norms(tower.trunk).values()}
        shared: dict[int, Any] = {id(p): p for p in tower.trunk.parameters() if id(p) not in own}
        shared |= {id(buffer): buffer for buffer in tower.trunk.buffers()}
        self.trunk = deepcopy(tower.trunk, memo=shared)


def _norms(trunk: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{leaf}": tensor
        for name, module in trunk.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for leaf, tensor in module.named_parameters()
    }
