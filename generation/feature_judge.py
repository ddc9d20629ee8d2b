"""A second judge of what pictures show: a linear map of a public trunk's features.

It shares nothing with the judge of `generation.judge` but the pictures of train designs that both
learned from. Nothing is trained or chosen by it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from composer.weights import read_safetensors, write_safetensors
from generation.judge import JudgeError, names_in

_SCHEMA = "duet-feature-judge/1"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureJudge:
    """Names kinds by features.

    Attributes:
        kinds: Names, in the order of the map's rows.
        mean: Of the features.
        weight: Of the map.
        bias: Of the map.
    """

    kinds: tuple[str, ...]
    mean: Float[np.ndarray, " d"]
    weight: Float[np.ndarray, "k d"]
    bias: Float[np.ndarray, " k"]

    @classmethod
    def fit(
        cls, features: Float[np.ndarray, "n d"], labels: Sequence[str], ridge: float = 0.1
    ) -> "FeatureJudge":
        """Fit by ridge regression onto one-hot kinds.

        Args:
            features: Of pictures of known kind.
            labels: Their kinds.
            ridge: Share of the features' mean variance that is added to each.
        """
        kinds = tuple(sorted(set(labels)))
        wanted = np.eye(len(kinds))[[kinds.index(label) for label in labels]]
        mean, level = features.mean(0), wanted.mean(0)
        centred = (features - mean).astype(np.float64)
        gram = centred.T @ centred / len(centred)
        gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
        weight = np.linalg.solve(gram, centred.T @ (wanted - level) / len(centred)).T
        return cls(
            kinds=kinds,
            mean=mean.astype(np.float32),
            weight=weight.astype(np.float32),
            bias=level.astype(np.float32),
        )

    def name(self, features: Float[np.ndarray, "n d"]) -> list[str]:
        """Return the likeliest kind of each picture."""
        scores = (features - self.mean) @ self.weight.T + self.bias
        return [self.kinds[i] for i in scores.argmax(1)]

    def save(self, path: Path) -> None:
        """Write a `.safetensors` file."""
        arrays = {"mean": self.mean, "weight": self.weight, "bias": self.bias}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        write_safetensors(path, tensors, {"schema": _SCHEMA, "kinds": json.dumps(self.kinds)})

    @classmethod
    def load(cls, path: Path) -> "FeatureJudge":
        """Read a file that `save` wrote.

        Raises:
            WeightsError: The file is missing or damaged.
            JudgeError: It is not such a judge.
        """
        shapes = {"mean": (None,), "weight": (None, None), "bias": (None,)}
        weights = read_safetensors(path, shapes)
        if weights.metadata.get("schema") != _SCHEMA:
            raise JudgeError(f"{path.name} is not a judge of this program.")
        arrays = {name: tensor.float().numpy() for name, tensor in weights.tensors.items()}
        try:
            kinds = names_in(weights, "kinds")
        except (LookupError, ValueError, RecursionError) as error:
            raise JudgeError(f"{path.name} is damaged: it names no kinds.") from error
        size = (len(kinds), len(arrays["mean"]))
        if arrays["weight"].shape != size or len(arrays["bias"]) != len(kinds):
            raise JudgeError(f"{path.name} is damaged: its parts do not fit together.")
        return cls(kinds=kinds, **arrays)
