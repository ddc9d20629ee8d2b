"""The judge of transferred pictures: kind and domain by linear maps of a public trunk's features.

Both maps are fitted to pictures of train designs in every domain, also in those that no training of
a kit has seen. Nothing is trained or chosen by it. The trunk is ImageNet's own, not the kit's, and
has no part in drawing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from PIL import Image

from generation.feature_judge import FeatureJudge

KINDS_FILE: Final = "kind_judge.safetensors"
DOMAINS_FILE: Final = "domain_judge.safetensors"
SIZE_PX: Final = 128
Features = Callable[[Sequence[Image.Image]], Float[np.ndarray, "n w"]]
"""Features of pictures, one row each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """What the judge takes a picture for."""

    kind: str
    domain: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DomainJudge:
    """Names kind and domain of pictures.

    Attributes:
        kinds: names kinds by features.
        domains: names domains by features.
        see: returns the features.
    """

    kinds: FeatureJudge
    domains: FeatureJudge
    see: Features

    @classmethod
    def load(cls, folder: Path, see: Features) -> "DomainJudge":
        """Read the two files of a folder.

        Raises:
            WeightsError: a file is missing or damaged.
            JudgeError: a file is no judge.
        """
        return cls(
            kinds=FeatureJudge.load(folder / KINDS_FILE),
            domains=FeatureJudge.load(folder / DOMAINS_FILE),
            see=see,
        )

    def assess(self, images: Sequence[Image.Image]) -> list[Named]:
        """Name kind and domain of RGB pictures, each in the size that the judge was fitted to."""
        features = self.see([reduced(image) for image in images])
        named = zip(self.kinds.name(features), self.domains.name(features), strict=True)
        return [Named(kind=kind, domain=domain) for kind, domain in named]


def reduced(image: Image.Image) -> Image.Image:
    """Return a picture in the size of those that the judge was fitted to, so that only these count.

    A larger one would show by its sharpness alone that it is none of them.
    """
    return image.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)
