"""Confidence: the probability that a gallery holds a match for a query.

The score of the first hit alone says little, since it depends on the query and on the gallery. It
is compared with the cosines of the query and a sample of the gallery, and with what the nearest of
as many pictures would be above their mean by chance. A logistic regression turns these numbers into
a probability; it is fitted on validation queries, each against galleries of several sizes with and
without its kind.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.stats import rankdata
from torch import Tensor

from composer.composed import ComposedQuery
from retrieval.errors import CalibrationError

NUM_BACKGROUND = 512
FALSE_ALARMS = 0.05  # accepted share of answerable validation queries without a match
_RIDGE = 1e-3


class QueryMode(StrEnum):
    """Parts of a query; scores of different modes have different scales."""

    REFERENCE = "reference"
    BOTH = "reference+words"
    WORDS = "words"


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Score of the best hit in relation to its gallery.

    Attributes:
        best: Score of the first hit.
        mean: Mean cosine of the query's feature and a sample of the gallery.
        spread: Standard deviation of these cosines.
        num_items: Size of the gallery.
    """

    best: float
    mean: float
    spread: float
    num_items: int

    def as_vector(self) -> Float[np.ndarray, "4"]:
        """Return the inputs of a calibration: best score, mean, spread, and excess by chance.

        The largest of n draws from a normal distribution lies about `sqrt(2 ln n)` deviations above
        the mean. Pictures of a gallery are alike, which makes the excess smaller: how much of it
        counts is fitted.
        """
        by_chance = self.spread * math.sqrt(2 * math.log(max(2, self.num_items)))
        return np.array([self.best, self.mean, self.spread, by_chance])


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Logistic regression from a standing to a probability.

    Attributes:
        weights: Weights of `Standing.as_vector`.
        bias: Constant term of the logit.
        threshold: Lowest probability that counts as a match.
    """

    weights: tuple[float, float, float, float]
    bias: float
    threshold: float

    def probability(self, standing: Standing) -> float:
        """Return the probability, in [0, 1], that the gallery holds a match."""
        logit = float(standing.as_vector() @ np.array(self.weights)) + self.bias
        return float(1 / (1 + np.exp(-logit)))


Calibrations = Mapping[QueryMode, Calibration]


@dataclass(frozen=True, kw_only=True, slots=True)
class Confidence:
    """Confidence in a ranking.

    Attributes:
        probability: Probability, in [0, 1], that the gallery holds a match.
        matches: Whether the probability reaches the threshold of the calibration.
    """

    probability: float
    matches: bool


def query_mode(query: ComposedQuery) -> QueryMode:
    """Return the mode of a query; near an end of the balance, the mode of that end."""
    if query.words_feature is None or (
        query.reference_feature is not None and query.balance < 0.25
    ):
        return QueryMode.REFERENCE
    if query.reference_feature is None or query.balance > 0.75:
        return QueryMode.WORDS
    return QueryMode.BOTH


def standing(
    best: float, feature: Float[Tensor, " d"], background: Float[Tensor, "b d"], num_items: int
) -> Standing:
    """Return the standing of the best score, given features of a sample of the gallery."""
    cosines = background.float() @ feature.float()
    return Standing(
        best=best,
        mean=float(cosines.mean()),
        spread=float(cosines.std(correction=0)),
        num_items=num_items,
    )


def judge(
    query: ComposedQuery, first: Standing | None, calibrations: Calibrations
) -> Confidence | None:
    """Return the confidence in a ranking; None for a query mode without calibration.

    Args:
        query: Query of the ranking.
        first: Standing of the first hit; None for a ranking without hits, which never matches.
        calibrations: Calibrations by query mode.
    """
    if first is None:
        return Confidence(probability=0.0, matches=False)
    calibration = calibrations.get(query_mode(query))
    if calibration is None:
        return None
    probability = calibration.probability(first)
    return Confidence(probability=probability, matches=probability >= calibration.threshold)


def fit(answerable: Sequence[Standing], unanswerable: Sequence[Standing]) -> Calibration:
    """Fit a calibration; answerable and unanswerable queries have the same total weight.

    Raises:
        ValueError: There are no queries of one kind.
    """
    if not answerable or not unanswerable:
        raise ValueError(
            "A calibration needs answerable and unanswerable queries, got "
            f"{len(answerable)} and {len(unanswerable)}."
        )
    vectors = np.array([item.as_vector() for item in (*answerable, *unanswerable)])
    signs = np.array([1.0] * len(answerable) + [-1.0] * len(unanswerable))
    shares = np.where(signs > 0, 0.5 / len(answerable), 0.5 / len(unanswerable))
    centre, scale = vectors.mean(0), vectors.std(0).clip(min=1e-9)
    inputs = np.column_stack([(vectors - centre) / scale, np.ones(len(vectors))])

    def loss(weights: Float[np.ndarray, "5"]) -> float:
        margins = signs * (inputs @ weights)
        return float(shares @ np.logaddexp(0, -margins) + _RIDGE * (weights[:-1] ** 2).sum())

    fit = minimize(loss, np.zeros(5)).x
    weights = fit[:-1] / scale
    best, mean, spread, by_chance = weights.tolist()
    bias = float(fit[-1] - weights @ centre)
    fitted = Calibration(weights=(best, mean, spread, by_chance), bias=bias, threshold=0.5)
    probabilities = [fitted.probability(item) for item in answerable]
    return replace(fitted, threshold=float(np.quantile(probabilities, FALSE_ALARMS)))


def auroc(answerable: Sequence[float], unanswerable: Sequence[float]) -> float:
    """Return the area under the ROC curve: how often an answerable query scores higher."""
    ranks = rankdata([*answerable, *unanswerable])[: len(answerable)]
    above = ranks.sum() - len(answerable) * (len(answerable) + 1) / 2
    return float(above / (len(answerable) * len(unanswerable)))


def save_calibrations(path: Path, calibrations: Calibrations) -> None:
    """Write calibrations as JSON."""
    fields = {mode.value: asdict(calibration) for mode, calibration in calibrations.items()}
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def load_calibrations(path: Path) -> Calibrations:
    """Read calibrations written by `save_calibrations`.

    Raises:
        CalibrationError: The file is missing or damaged.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return {QueryMode(name): _calibration(values) for name, values in fields.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CalibrationError(f"{path} holds no calibrations; reinstall the kit.") from error


def _calibration(fields: Mapping[str, object]) -> Calibration:
    weights = np.array(fields["weights"], float)  # pyright: ignore
    if weights.shape == (3,):  # files of earlier kits: all of the excess by chance was taken off
        weights = np.append(weights, -weights[0])
    numbers = np.array([*weights, fields["bias"], fields["threshold"]], float)  # pyright: ignore
    if numbers.shape != (6,) or not np.isfinite(numbers).all():
        raise ValueError("A calibration must have four finite weights, a bias and a threshold.")
    best, mean, spread, by_chance, bias, threshold = numbers.tolist()
    weights = (best, mean, spread, by_chance)
    return Calibration(weights=weights, bias=bias, threshold=threshold)
