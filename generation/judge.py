"""The judge of generated pictures: kind and parts by a small CNN, colour words in CIELAB.

The judge is trained from scratch on renders of the train split and used for measurements only;
nothing is trained or chosen by it. Every figure stands beside the judge's figure for real test
pictures.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from composer.weights import Weights, WeightsError, read_safetensors, write_safetensors

SIZE_PX = 128
_SCHEMA = "duet-judge/2"
_BATCH = 64
_MIN_PIXELS = 12
_PART_SHARE = 0.7  # of a part's highest probability; chosen on validation photos


class JudgeError(ValueError):
    """A judge that cannot be loaded; the message says why."""


class JudgeNetwork(nn.Module):
    """Five stages that each halve the picture; kinds come from the last, parts from all.

    Source: Lin et al. 2017, "Feature Pyramid Networks", for the top-down path.
    """

    def __init__(self, num_kinds: int, num_parts: int, width: int = 32) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 4 * width, 6 * width)
        before = (3, *widths[:-1])
        self.stages = nn.ModuleList(_halving(b, a) for b, a in zip(before, widths, strict=True))
        self.kinds = nn.Linear(widths[-1], num_kinds)
        self.across = nn.ModuleList(nn.Conv2d(a, width, 1) for a in widths)
        self.parts = nn.Conv2d(width, num_parts, 3, padding=1)

    def forward(
        self, images: Float[Tensor, "n 3 h w"]
    ) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n p h2 w2"]]:
        """Return kind scores, and part scores at half the size, of RGB pictures in [-1, 1]."""
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        kinds = self.kinds(maps[-1].mean((2, 3)))
        merged = self.across[-1](maps[-1])
        for across, fine in zip(reversed(self.across[:-1]), reversed(maps[1:-1]), strict=True):
            merged = across(fine) + functional.interpolate(merged, size=fine.shape[-2:])
        return kinds, self.parts(functional.silu(merged))


def _halving(before: int, after: int) -> nn.Sequential:
    groups = min(8, after // 4)
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1),
        nn.GroupNorm(groups, after),
        nn.SiLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.GroupNorm(groups, after),
        nn.SiLU(),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ColourModel:
    """A Gaussian for each colour word over the median CIELAB value of a part.

    Attributes:
        names: colour words.
        means: L, a, b of each.
        precisions: inverse covariances.
        log_scales: half the log determinants of the precisions.
    """

    names: tuple[str, ...]
    means: Float[np.ndarray, "c 3"]
    precisions: Float[np.ndarray, "c 3 3"]
    log_scales: Float[np.ndarray, " c"]

    @classmethod
    def fit(
        cls, colours: Float[np.ndarray, "n 3"], labels: Sequence[str], spread: float = 6.0
    ) -> "ColourModel":
        """Fit to parts of known colour; `spread` (in L, a, b) keeps rare words from being sharp."""
        names = tuple(sorted(set(labels)))
        indices = np.array([names.index(label) for label in labels])
        means, precisions, scales = [], [], []
        for i in range(len(names)):
            members = colours[indices == i]
            centred = members - members.mean(0)
            covariance = (centred.T @ centred + 4 * spread**2 * np.eye(3)) / (len(members) + 4)
            covariance += np.eye(3)
            precision = np.linalg.inv(covariance)
            means.append(members.mean(0))
            precisions.append(precision)
            scales.append(0.5 * np.linalg.slogdet(precision)[1])
        return cls(
            names=names,
            means=np.array(means),
            precisions=np.array(precisions),
            log_scales=np.array(scales),
        )

    def rank(self, colour: Float[np.ndarray, "3"]) -> tuple[str, ...]:
        """Return the colour words by likelihood for a CIELAB value, the likeliest first."""
        difference = colour - self.means  # c 3
        distance = np.einsum("ci,cij,cj->c", difference, self.precisions, difference)
        order = np.argsort(0.5 * distance - self.log_scales)
        return tuple(self.names[i] for i in order)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Verdict:
    """The judge's answer for one picture.

    Attributes:
        kind: the likeliest kind.
        colour: colour word of the requested part; None where the part is unknown or has almost no
            pixels.
    """

    kind: str
    colour: str | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judge:
    """A trained network with its names and its colour model.

    Attributes:
        kinds: names, in the order of the network's kind scores.
        parts: names, in the order of its part scores; the background and nameless parts are "".
        network: scores kinds and parts.
        colours: names colours.
    """

    kinds: tuple[str, ...]
    parts: tuple[str, ...]
    network: JudgeNetwork
    colours: ColourModel

    @torch.inference_mode()
    def assess(self, images: Sequence[Image.Image], parts: Sequence[str]) -> list[Verdict]:
        """Return the kind of each RGB picture, of any size, and the colour of one part of it."""
        verdicts = []
        for start in range(0, len(images), _BATCH):
            levels = np.stack([_square(image) for image in images[start : start + _BATCH]])
            pixels = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 127.5 - 1
            kinds, scores = self.network(pixels)
            scores = functional.interpolate(scores, size=pixels.shape[-2:], mode="bilinear")
            requested = parts[start : start + _BATCH]
            for image, kind, likelihoods, part in zip(
                levels, kinds.argmax(1).tolist(), scores.softmax(1), requested, strict=True
            ):
                colour = self._name_colour(image, likelihoods, part)
                verdicts.append(Verdict(kind=self.kinds[kind], colour=colour))
        return verdicts

    def _name_colour(
        self, image: UInt8[np.ndarray, "h w 3"], likelihoods: Float[Tensor, "p h w"], part: str
    ) -> str | None:
        if part not in self.parts:
            return None
        likelihood = likelihoods[self.parts.index(part)].numpy()
        lab = part_colour(image, likelihood > _PART_SHARE * likelihood.max())
        return None if lab is None else self.colours.rank(lab)[0]

    def save(self, path: Path) -> None:
        """Write a `.safetensors` file, the network in fp16."""
        tensors = {f"network.{n}": t.half() for n, t in self.network.state_dict().items()}
        colours = self.colours
        tensors["colour.means"] = torch.from_numpy(colours.means).float()
        tensors["colour.precisions"] = torch.from_numpy(colours.precisions).float()
        tensors["colour.log_scales"] = torch.from_numpy(colours.log_scales).float()
        metadata = {
            "schema": _SCHEMA,
            "kinds": json.dumps(self.kinds),
            "parts": json.dumps(self.parts),
            "colours": json.dumps(colours.names),
        }
        write_safetensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> "Judge":
        """Read a file that `save` wrote.

        Raises:
            JudgeError: the file is missing, damaged or not a judge.
        """
        try:
            weights = read_safetensors(path)
        except WeightsError as error:
            raise JudgeError(str(error)) from error
        if weights.metadata.get("schema") != _SCHEMA:
            raise JudgeError(f"{path.name} is not a judge of this program.")
        try:
            return cls._of_weights(weights)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise JudgeError(f"{path.name} is damaged: its parts do not fit together.") from error

    @classmethod
    def _of_weights(cls, weights: Weights) -> "Judge":
        kinds, parts = names_in(weights, "kinds"), names_in(weights, "parts")
        state = {
            name.removeprefix("network."): tensor.float()
            for name, tensor in weights.tensors.items()
            if name.startswith("network.")
        }
        network = JudgeNetwork(len(kinds), len(parts), len(state["stages.0.0.bias"]))
        network.load_state_dict(state)
        names = names_in(weights, "colours")
        count = len(names)
        colours = ColourModel(
            names=names,
            means=weights.tensors["colour.means"].reshape(count, 3).numpy(),
            precisions=weights.tensors["colour.precisions"].reshape(count, 3, 3).numpy(),
            log_scales=weights.tensors["colour.log_scales"].reshape(count).numpy(),
        )
        network.eval().requires_grad_(False)
        return cls(kinds=kinds, parts=parts, network=network, colours=colours)


def names_in(weights: Weights, key: str) -> tuple[str, ...]:
    """Return a list of names from the metadata.

    Raises:
        LookupError: There is none.
        ValueError: It is no list of names.
    """
    names: object = json.loads(weights.metadata[key])
    if not isinstance(names, list) or not names or not all(isinstance(one, str) for one in names):
        raise ValueError(key)
    return tuple(names)


def part_colour(
    image: UInt8[np.ndarray, "h w 3"], part: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "3"] | None:
    """Return the median CIELAB value of a part; None where it has almost no pixels."""
    if int(part.sum()) < _MIN_PIXELS:
        return None
    return np.median(to_lab(image[part]), axis=0)


def to_lab(levels: UInt8[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Convert sRGB levels to CIELAB (D65).

    Source: IEC 61966-2-1 for sRGB, CIE 15 for L*a*b*.
    """
    value = levels.astype(np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _square(image: Image.Image) -> np.ndarray:
    if image.size != (SIZE_PX, SIZE_PX):
        image = image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)
    return np.asarray(image.convert("RGB"))
