"""How likely it is that a gallery holds what was asked for: "nothing matches" is an answer.

The first hit's score says little alone: how near anything comes depends on the query and on the
gallery. So it is read beside the query's cosines with a sample of the same gallery, less what the
nearest of so many pictures would reach by chance. The numbers become a probability by a logistic
regression, fitted on validation queries of which each is asked of a gallery with and without its
kind.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.stats import rankdata
from torch import Tensor

from composer.composed import ComposedQuery

NUM_BACKGROUND = 512
FALSE_ALARMS = 0.1  # share of answerable validation queries that may be told "nothing matches"
_RIDGE = 1e-3


class Asked(StrEnum):
    """What a query is made of; each has a scale of scores of its own."""

    REFERENCE = "reference"
    BOTH = "reference+words"
    WORDS = "words"


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How the best hit stands out of its gallery.

    Attributes:
        best: Score of the first hit.
        mean: Mean cosine of the query's feature and a sample of the gallery.
        spread: Standard deviation of these.
        num_items: Size of the gallery.
    """

    best: float
    mean: float
    spread: float
    num_items: int

    def as_vector(self) -> Float[np.ndarray, "3"]:
        """Return what a calibration weighs: the excess of the best, the mean and the spread.

        Of n draws from a normal distribution the largest lies about `sqrt(2 ln n)` deviations above
        the mean: that much of the best score is the gallery's size, not the query's answer.
        """
        by_chance = self.spread * math.sqrt(2 * math.log(max(2, self.num_items)))
        return np.array([self.best - by_chance, self.mean, self.spread])


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """From a standing to a probability.

    Attributes:
        weights: Of the numbers of `Standing.as_vector`.
        bias: Added to them.
        threshold: Below it nothing matches.
    """

    weights: tuple[float, float, float]
    bias: float
    threshold: float

    def probability(self, standing: Standing) -> float:
        """Return the probability, in [0, 1], that the gallery holds what was asked for."""
        logit = float(standing.as_vector() @ np.array(self.weights)) + self.bias
        return float(1 / (1 + np.exp(-logit)))


Calibrations = Mapping[Asked, Calibration]


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """What a person is told of a ranking.

    Attributes:
        probability: That the gallery holds what was asked for, in [0, 1].
        matches: Whether that is enough; where it is not, nothing in the gallery matches well.
    """

    probability: float
    matches: bool


class CalibrationError(ValueError):
    """A file of calibrations that cannot be used."""


def asked_of(query: ComposedQuery) -> Asked:
    """Tell what a query is made of, at its balance; in between, what it is nearest to."""
    if query.words_feature is None or (
        query.reference_feature is not None and query.balance < 0.25
    ):
        return Asked.REFERENCE
    if query.reference_feature is None or query.balance > 0.75:
        return Asked.WORDS
    return Asked.BOTH


def standing(
    best: float, feature: Float[Tensor, " d"], background: Float[Tensor, "b d"], num_items: int
) -> Standing:
    """Describe the best hit's score beside the query's cosines with a sample of the gallery."""
    cosines = background.float() @ feature.float()
    return Standing(
        best=best,
        mean=float(cosines.mean()),
        spread=float(cosines.std(correction=0)),
        num_items=num_items,
    )


def judge(
    query: ComposedQuery, found: Standing | None, calibrations: Calibrations
) -> Confidence | None:
    """Judge a ranking by its standing; None where its way of asking was not calibrated.

    A ranking without hits has no standing, and nothing in it matches.
    """
    if found is None:
        return Confidence(probability=0.0, matches=False)
    calibration = calibrations.get(asked_of(query))
    if calibration is None:
        return None
    probability = calibration.probability(found)
    return Confidence(probability=probability, matches=probability >= calibration.threshold)


def fit(answerable: Sequence[Standing], unanswerable: Sequence[Standing]) -> Calibration:
    """Fit a calibration; both kinds of queries weigh the same.

    Raises:
        ValueError: There is none of one kind.
    """
    if not answerable or not unanswerable:
        raise ValueError(
            "A calibration needs queries with an answer and such without, got "
            f"{len(answerable)} and {len(unanswerable)}."
        )
    found = np.array([one.as_vector() for one in (*answerable, *unanswerable)])
    signs = np.array([1.0] * len(answerable) + [-1.0] * len(unanswerable))
    shares = np.where(signs > 0, 0.5 / len(answerable), 0.5 / len(unanswerable))
    centre, scale = found.mean(0), found.std(0).clip(min=1e-9)
    inputs = np.column_stack([(found - centre) / scale, np.ones(len(found))])

    def loss(weights: Float[np.ndarray, "4"]) -> float:
        margins = signs * (inputs @ weights)
        return float(shares @ np.logaddexp(0, -margins) + _RIDGE * (weights[:-1] ** 2).sum())

    best = minimize(loss, np.zeros(4)).x
    weights = best[:-1] / scale
    bias = float(best[-1] - weights @ centre)
    first, second, third = weights.tolist()
    plain = Calibration(weights=(first, second, third), bias=bias, threshold=0.5)
    sure = [plain.probability(one) for one in answerable]
    threshold = float(np.quantile(sure, FALSE_ALARMS))
    return Calibration(weights=plain.weights, bias=bias, threshold=threshold)


def auroc(answerable: Sequence[float], unanswerable: Sequence[float]) -> float:
    """Return how often one of the first is above one of the second; ties count half."""
    ranks = rankdata([*answerable, *unanswerable])[: len(answerable)]
    above = ranks.sum() - len(answerable) * (len(answerable) + 1) / 2
    return float(above / (len(answerable) * len(unanswerable)))


def save_calibrations(path: Path, calibrations: Calibrations) -> None:
    """Write calibrations as JSON."""
    fields = {asked.value: asdict(one) for asked, one in calibrations.items()}
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def load_calibrations(path: Path) -> Calibrations:
    """Read what `save_calibrations` wrote.

    Raises:
        CalibrationError: The file is missing or damaged.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return {Asked(name): _calibration(one) for name, one in fields.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CalibrationError(f"{path} holds no calibrations; reinstall the kit.") from error


def _calibration(fields: Mapping[str, object]) -> Calibration:
    numbers = np.array([*fields["weights"], fields["bias"], fields["threshold"]], float)  # pyright: ignore
    if numbers.shape != (5,) or not np.isfinite(numbers).all():
        raise ValueError("A calibration has three weights, a bias and a threshold.")
    best, mean, spread, bias, threshold = numbers.tolist()
    return Calibration(weights=(best, mean, spread), bias=bias, threshold=threshold)
