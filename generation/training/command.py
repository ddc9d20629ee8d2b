"""Options, device, log and outputs that the stages' commands share."""

import argparse
import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from composer.data.catalogue import IMAGE_PX, CataloguePack, PackError
from composer.files import write_text
from composer.training.loop import Budget
from generation.training.loop import Run


class Scale(StrEnum):
    """The recipe: a draft on two CPU cores, or full training on one large GPU."""

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOptions:
    """Options of every stage.

    Attributes:
        data: folder of the training pack.
        out: work folder of all stages, with a folder for each.
        scale: the recipe.
        budget: steps or minutes; the recipe's minutes by default.
        device: device of the training.
        seed: seed of all randomness.
    """

    data: Path
    out: Path
    scale: Scale
    budget: Budget
    device: torch.device
    seed: int = 0

    def run(self, name: str) -> Run:
        """Return the run of a stage."""
        return Run(folder=self.out / name, budget=self.budget, device=self.device, log=log)


def log(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with the options of every stage."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training pack")
    parser.add_argument("--out", type=Path, required=True, help="work folder of all stages")
    parser.add_argument("--budget", choices=[s.value for s in Scale], help="which recipe")
    parser.add_argument("--minutes", type=float, help="training time; default: the recipe's")
    parser.add_argument("--steps", type=int, help="steps instead of minutes: repeatable")
    parser.add_argument("--device", help="cpu, cuda; default: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def read_options(args: argparse.Namespace, minutes: dict[Scale, float]) -> StageOptions:
    """Turn parsed arguments into options, with the recipe's minutes by default."""
    if args.threads:
        torch.set_num_threads(args.threads)
    name = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    scale = Scale(args.budget or (Scale.GPU if device.type == "cuda" else Scale.CPU))
    budget_minutes = args.minutes or (None if args.steps else minutes[scale])
    return StageOptions(
        data=args.data,
        out=args.out,
        scale=scale,
        budget=Budget(num_steps=args.steps, minutes=budget_minutes),
        device=device,
        seed=args.seed,
    )


class Pixels:
    """Pictures of the pack as uint8: all in memory on a GPU, decoded on demand on a CPU."""

    def __init__(
        self,
        pack: CataloguePack,
        rows: Int[np.ndarray, " n"],
        device: torch.device,
        size_px: int = IMAGE_PX,
    ) -> None:
        """Take the pictures of some rows, at the size given.

        Raises:
            PackError: there are no rows.
        """
        if len(rows) == 0:
            raise PackError("The pack has no picture of the split this stage needs.")
        self.pack, self.rows, self.device, self.size_px = pack, rows, device, size_px
        self._all: Tensor | None = None
        if device.type != "cpu":
            self._all = torch.from_numpy(pack.pixels(rows, size_px)).to(device)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Int[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
        """Return pictures by their index among `rows`, RGB in [-1, 1]."""
        return self.levels(indices).permute(0, 3, 1, 2).float() / 127.5 - 1  # b h w 3 -> b 3 h w

    def levels(self, indices: Int[Tensor, " b"]) -> UInt8[Tensor, "b h w 3"]:
        """Return pictures by their index among `rows`, RGB levels in 0..255."""
        if self._all is None:
            return torch.from_numpy(self.pack.pixels(self.rows[indices.numpy()], self.size_px))
        return self._all[indices.to(self.device)]


def draw_indices(generator: torch.Generator, count: int, size: int) -> Int[Tensor, " b"]:
    """Draw `size` indices below `count`."""
    return torch.randint(count, (size,), generator=generator)


def to_levels(images: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Convert RGB in [-1, 1] to uint8 levels."""
    levels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def contact_sheet(images: UInt8[np.ndarray, "n h w 3"], num_columns: int) -> Image.Image:
    """Arrange pictures row by row on one sheet, 4 px apart."""
    count, height, width, _ = images.shape
    num_rows = -(-count // num_columns)
    sheet = np.full((num_rows * (height + 4) + 4, num_columns * (width + 4) + 4, 3), 40, np.uint8)
    for i, image in enumerate(images):
        top, left = 4 + i // num_columns * (height + 4), 4 + i % num_columns * (width + 4)
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write figures; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(values, indent=2))
