"""Closed-form and small trained maps from sentence features into the joint space of pictures."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from composer.training.words.concepts import ConceptKind, Concepts
from composer.weights import read_safetensors, write_safetensors

# How much the texts of one concept count together.
KIND_WEIGHTS = {
    ConceptKind.PROTOTYPE: 1.0,
    ConceptKind.PARENT: 0.5,
    ConceptKind.CLASS: 1.0,
    ConceptKind.MEDIUM: 1.0,
    ConceptKind.CAPTION: 0.5,
    ConceptKind.EMOJI: 0.25,
    ConceptKind.CATALOGUE: 0.25,
}
GLOSS_WEIGHT = 0.5
HIDDEN = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A text, the unit vector it should get, and how much it counts."""

    text: str
    target: Float[Tensor, " d"]
    weight: float


def examples(concepts: Concepts) -> list[Example]:
    """Return every text once; one that several concepts share gets their weighed mean."""
    sums: dict[str, Tensor] = {}
    weights: dict[str, float] = defaultdict(float)

    def add(text: str, target: Tensor, weight: float) -> None:
        sums[text] = sums.get(text, torch.zeros_like(target)) + weight * target
        weights[text] += weight

    for concept in concepts.items:
        target, weight = concepts.target(concept), KIND_WEIGHTS[concept.kind]
        for text in concept.texts:
            add(text, target, weight / len(concept.texts))
        for text in concept.glosses:
            add(text, target, weight * GLOSS_WEIGHT / len(concept.glosses))
    return [
        Example(text=text, target=total / weights[text], weight=weights[text])
        for text, total in sums.items()
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelHead:
    """Ridge regression with a Gaussian kernel on the unit sphere.

    Attributes:
        centres: Sentence features it was fitted on.
        factors: A row for each centre.
        mean: What is far from all centres.
        gamma: Sharpness of the kernel exp(gamma (cos - 1)).
    """

    centres: Float[Tensor, "m w"]
    factors: Float[Tensor, "m d"]
    mean: Float[Tensor, " d"]
    gamma: float

    def __call__(self, sentences: Float[Tensor, "n w"]) -> Float[Tensor, "n d"]:
        """Map sentence features to unit vectors."""
        kernel = torch.exp(self.gamma * (sentences @ self.centres.T - 1))
        return functional.normalize(kernel @ self.factors + self.mean, dim=-1)


def fit_kernel(
    sentences: Float[Tensor, "n w"],
    samples: Sequence[Example],
    *,
    gamma: float = 3.0,
    ridge: float = 0.1,
    max_centres: int = 6000,
    seed: int = 0,
) -> KernelHead:
    """Fit the kernel on a sample of the examples, each weighed.

    Source: Saunders et al. 1998, kernel ridge regression, with a weight for each example.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(samples), generator=generator)[:max_centres].sort().values
    chosen = [samples[i] for i in order.tolist()]
    centres = sentences[order]
    targets = torch.stack([sample.target for sample in chosen])
    weights = torch.tensor([sample.weight for sample in chosen])
    mean = (targets * weights[:, None]).sum(0) / weights.sum()
    kernel = torch.exp(gamma * (centres @ centres.T - 1))
    kernel.diagonal().add_(ridge / weights)
    lower = torch.linalg.cholesky(kernel)
    factors = torch.cholesky_solve(targets - mean, lower)
    return KernelHead(centres=centres, factors=factors, mean=mean, gamma=gamma)


class MlpHead(nn.Module):
    """A linear map and a hidden layer beside it, which begins without effect."""

    def __init__(self, width: int, dim: int, *, seed: int = 0) -> None:
        """Build it; random weights are the seed's."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.straight = nn.Linear(width, dim)
            self.hidden = nn.Linear(width, HIDDEN)
            self.out = nn.Linear(HIDDEN, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, sentences: Float[Tensor, "n w"]) -> Float[Tensor, "n d"]:
        """Map sentence features to unit vectors."""
        bent = self.out(functional.gelu(self.hidden(sentences)))
        return functional.normalize(self.straight(sentences) + bent, dim=-1)


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherHead:
    """A kernel head and a trained one, blended."""

    kernel: KernelHead
    mlp: MlpHead
    mlp_share: float = 0.4

    @torch.no_grad()
    def __call__(self, sentences: Float[Tensor, "n w"]) -> Float[Tensor, "n d"]:
        """Map sentence features to unit vectors, some thousands at a time."""
        parts = [
            (1 - self.mlp_share) * self.kernel(part) + self.mlp_share * self.mlp(part)
            for part in sentences.split(2048)
        ]
        return functional.normalize(torch.cat(parts), dim=-1)

    def save(self, path: Path) -> None:
        """Write the head as a safetensors file."""
        tensors = {f"mlp.{name}": tensor for name, tensor in self.mlp.state_dict().items()}
        kernel = self.kernel
        tensors |= {"centres": kernel.centres, "factors": kernel.factors, "mean": kernel.mean}
        tensors["gamma"] = torch.tensor(kernel.gamma)
        tensors["mlp_share"] = torch.tensor(self.mlp_share)
        write_safetensors(path, tensors)

    @classmethod
    def load(cls, path: Path) -> "TeacherHead":
        """Read what `save` wrote.

        Raises:
            WeightsError: The file is damaged or holds something else.
        """
        shapes = {name: (None, None) for name in ("centres", "factors")}
        tensors = read_safetensors(
            path, {**shapes, "mean": (None,), "gamma": (), "mlp_share": (), "mlp.*": ()}
        ).tensors
        mlp = MlpHead(tensors["centres"].shape[1], tensors["factors"].shape[1])
        mlp.load_state_dict(
            {n.removeprefix("mlp."): t for n, t in tensors.items() if n.startswith("mlp.")}
        )
        kernel = KernelHead(
            centres=tensors["centres"],
            factors=tensors["factors"],
            mean=tensors["mean"],
            gamma=float(tensors["gamma"]),
        )
        return cls(kernel=kernel, mlp=mlp.eval(), mlp_share=float(tensors["mlp_share"]))
