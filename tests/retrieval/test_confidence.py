"""Confidence: from the standing of the best hit to a probability, and back to nothing matches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from retrieval.confidence import (
    Calibration,
    CalibrationError,
    Confidence,
    QueryMode,
    Standing,
    auroc,
    fit,
    judge,
    load_calibrations,
    query_mode,
    save_calibrations,
    standing,
)
from tests.retrieval.queries import query_of


def drawn(rng, best, count=400):
    """Standings whose best score is above the mean by about `best`, whatever the mean is."""
    means = rng.uniform(0.0, 0.6, count)
    above = rng.normal(best, 0.05, count)
    return [
        Standing(best=float(m + a), mean=float(m), spread=0.1, num_items=100)
        for m, a in zip(means, above, strict=True)
    ]


def test_a_standing_is_the_best_score_beside_a_sample_of_the_gallery():
    background = torch.tensor([[1.0, 0], [0, 1], [0.6, 0.8], [-1, 0]])
    measured = standing(0.9, torch.tensor([1.0, 0]), background, 1000)
    assert (measured.best, measured.mean) == (0.9, pytest.approx(0.15))
    assert measured.spread == pytest.approx(np.std([1, 0, 0.6, -1]))
    by_chance = measured.spread * np.sqrt(2 * np.log(1000))
    expected = [0.9, measured.mean, measured.spread, by_chance]
    assert measured.as_vector() == pytest.approx(expected)


def test_a_larger_gallery_must_come_nearer():
    rng = np.random.default_rng(2)
    calibration = fit(drawn(rng, 0.4), drawn(rng, 0.25))
    small, large = (
        Standing(best=0.7, mean=0.35, spread=0.1, num_items=size) for size in (100, 1_000_000)
    )
    assert calibration.probability(small) > 0.5 > calibration.probability(large)


def test_a_fit_reads_the_score_relative_to_the_gallery():
    rng = np.random.default_rng(0)
    calibration = fit(drawn(rng, 0.4), drawn(rng, 0.25))
    yes = [calibration.probability(drawing) for drawing in drawn(rng, 0.4)]
    no = [calibration.probability(drawing) for drawing in drawn(rng, 0.25)]
    assert auroc(yes, no) > 0.95
    scores = [[drawing.best for drawing in drawn(rng, gap)] for gap in (0.4, 0.25)]
    assert auroc(*scores) < 0.8  # the score alone, blind to what the gallery is like
    assert np.mean(np.array(yes) < calibration.threshold) == pytest.approx(0.05, abs=0.04)
    assert 0.35 < np.mean(yes + no) < 0.65


def test_one_in_twenty_answerable_queries_is_told_that_nothing_matches():
    rng = np.random.default_rng(3)
    clear, blurred = ((drawn(rng, 0.6), drawn(rng, 0.1)), (drawn(rng, 0.3), drawn(rng, 0.28)))
    for yes, no in (clear, blurred):
        calibration = fit(yes, no)
        sure = np.sort([calibration.probability(one) for one in yes])
        # The twentieth of 400 by numpy's rule: 0.95 of the way from the 20th to the 21st.
        expected = sure[19] + 0.95 * (sure[20] - sure[19])
        assert calibration.threshold == pytest.approx(expected)
    assert fit(*clear).threshold > 0.8
    assert fit(*blurred).threshold < 0.48


@pytest.mark.parametrize(("threshold", "matches"), [(0.2, True), (0.5, True), (0.8, False)])
def test_a_ranking_matches_from_the_threshold_of_its_calibration_on(threshold, matches):
    even = Calibration(weights=(0.0, 0.0, 0.0, 0.0), bias=0.0, threshold=threshold)
    query = query_of(torch.ones(4) / 2, None, torch.ones(4) / 2)
    first = Standing(best=0.9, mean=0.1, spread=0.1, num_items=100)
    assert judge(query, first, {QueryMode.WORDS: even}) == Confidence(
        probability=0.5, matches=matches
    )
    assert judge(query, None, {QueryMode.WORDS: even}) == Confidence(probability=0.0, matches=False)
    assert judge(query, first, {QueryMode.BOTH: even}) is None


def test_both_kinds_of_queries_weigh_the_same():
    rng = np.random.default_rng(1)
    few = fit(drawn(rng, 0.4, 40), drawn(rng, 0.25, 4000))
    between = Standing(best=0.3 + 0.325, mean=0.3, spread=0.1, num_items=100)
    assert few.probability(between) == pytest.approx(0.5, abs=0.15)


def test_auroc_counts_pairs():
    assert auroc([3.0, 1.0], [2.0, 0.0]) == 0.75
    assert auroc([1.0], [1.0]) == 0.5
    rng = np.random.default_rng(4)
    first, second = (rng.integers(0, 6, count).astype(float).tolist() for count in (30, 17))
    pairs = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    assert auroc(first, second) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        (0.0, QueryMode.REFERENCE),
        (0.24, QueryMode.REFERENCE),
        (0.25, QueryMode.BOTH),
        (0.5, QueryMode.BOTH),
        (0.75, QueryMode.BOTH),
        (0.76, QueryMode.WORDS),
        (1.0, QueryMode.WORDS),
    ],
)
def test_a_query_is_of_what_its_balance_is_nearest_to(balance, expected):
    feature = torch.ones(4) / 2
    both = replace(query_of(feature, torch.ones(1, 4) / 2, feature), balance=balance)
    assert query_mode(both) is expected
    assert query_mode(replace(both, words_feature=None)) is QueryMode.REFERENCE
    assert query_mode(replace(both, reference_feature=None)) is QueryMode.WORDS


def test_a_probability_by_hand():
    calibration = Calibration(weights=(4.0, -3.0, 2.0, -2.5), bias=-1.5, threshold=0.5)
    found = Standing(best=0.8, mean=0.2, spread=0.1, num_items=50)
    by_chance = 0.1 * np.sqrt(2 * np.log(50))
    logit = 4 * 0.8 - 3 * 0.2 + 2 * 0.1 - 2.5 * by_chance - 1.5
    assert calibration.probability(found) == pytest.approx(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize("num_items", [0, 1, 2])
def test_the_smallest_galleries_are_as_one_of_two(num_items):
    found = Standing(best=0.8, mean=0.2, spread=0.1, num_items=num_items)
    by_chance = 0.1 * np.sqrt(2 * np.log(2))
    assert found.as_vector() == pytest.approx([0.8, 0.2, 0.1, by_chance])


def test_a_standing_in_half_precision_is_summed_in_full():
    background = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    halves = background.half(), torch.tensor([0.7, 0.1]).half()
    found = standing(0.5, halves[1], halves[0], 2)
    cosines = halves[0].double() @ halves[1].double()
    assert found.mean == pytest.approx(float(cosines.mean()), abs=1e-7)
    assert found.spread == pytest.approx(float(cosines.std(correction=0)), abs=1e-7)


def newton(inputs, signs, shares):
    """Weights of the ridged logistic regression, the last without ridge, by Newton's method."""
    ridge = np.diag([1e-3, 1e-3, 1e-3, 1e-3, 0])
    weights = np.zeros(5)
    for _ in range(60):
        chances = 1 / (1 + np.exp(signs * (inputs @ weights)))  # of being wrong
        gradient = -(shares * signs * chances) @ inputs + 2 * ridge @ weights
        curvature = (inputs * (shares * chances * (1 - chances))[:, None]).T @ inputs + 2 * ridge
        weights = weights - np.linalg.solve(curvature, gradient)
    return weights


def test_a_fit_is_the_minimum_of_its_loss():
    rng = np.random.default_rng(5)

    def some(above, count):
        return [
            Standing(best=m + a, mean=m, spread=s, num_items=100)
            for m, a, s in zip(
                rng.uniform(0, 0.6, count).tolist(),
                rng.normal(above, 0.1, count).tolist(),
                rng.uniform(0.05, 0.2, count).tolist(),
                strict=True,
            )
        ]

    yes, no = some(0.4, 60), some(0.3, 20)
    calibration = fit(yes, no)
    vectors = np.array([one.as_vector() for one in (*yes, *no)])
    scaled = (vectors - vectors.mean(0)) / vectors.std(0)
    signs, shares = np.repeat([1.0, -1.0], [60, 20]), np.repeat([0.5 / 60, 0.5 / 20], [60, 20])
    expected = newton(np.column_stack([scaled, np.ones(80)]), signs, shares)
    weights = expected[:-1] / vectors.std(0)
    assert calibration.weights == pytest.approx(weights, rel=2e-3, abs=2e-3)
    assert calibration.bias == pytest.approx(expected[-1] - weights @ vectors.mean(0), abs=5e-3)


def test_calibrations_are_read_from_their_file_by_name(tmp_path):
    path = tmp_path / "confidence.json"
    path.write_text(
        '{"reference": {"weights": [1, -2, 3.5, -0.5], "bias": -4, "threshold": 0.25},'
        ' "reference+words": {"weights": [4, 0, 1], "bias": 2, "threshold": 0.75}}'
    )
    assert load_calibrations(path) == {
        QueryMode.REFERENCE: Calibration(weights=(1.0, -2.0, 3.5, -0.5), bias=-4.0, threshold=0.25),
        # A file of an earlier kit, whose first input was the best score less the excess by chance.
        QueryMode.BOTH: Calibration(weights=(4.0, 0.0, 1.0, -4.0), bias=2.0, threshold=0.75),
    }


def test_a_fit_needs_both_kinds():
    with pytest.raises(ValueError, match="answerable and unanswerable queries, got 1 and 0"):
        fit([Standing(best=1.0, mean=0.0, spread=1.0, num_items=9)], [])
    with pytest.raises(ValueError, match="answerable and unanswerable queries, got 0 and 1"):
        fit([], [Standing(best=1.0, mean=0.0, spread=1.0, num_items=9)])


def test_calibrations_come_back_from_their_file(tmp_path):
    path = tmp_path / "confidence.json"
    given = {
        QueryMode.BOTH: Calibration(weights=(1.0, -2.0, 0.5, 0.2), bias=0.1, threshold=0.4),
        QueryMode.WORDS: Calibration(weights=(3.0, 0.0, 0.0, 0.0), bias=-1.0, threshold=0.2),
    }
    save_calibrations(path, given)
    assert load_calibrations(path) == given


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"words": {}}',
        '{"sound": {"weights": [1, 2, 3], "bias": 0, "threshold": 0.5}}',
        '{"words": {"weights": [1, 2], "bias": 0, "threshold": 0.5}}',
        '{"words": {"weights": [1, 2, NaN], "bias": 0, "threshold": 0.5}}',
        '{"words": {"weights": [1, 2, 3], "bias": Infinity, "threshold": 0.5}}',
        '{"words": {"weights": [1, 2, 3], "bias": 0}}',
        '{"words": {"weights": null, "bias": 0, "threshold": 0.5}}',
    ],
)
def test_a_damaged_file_is_reported(tmp_path, content):
    path = tmp_path / "confidence.json"
    path.write_text(content)
    with pytest.raises(CalibrationError, match="holds no calibrations; reinstall the kit"):
        load_calibrations(path)
    with pytest.raises(CalibrationError, match="holds no calibrations"):
        load_calibrations(tmp_path / "none.json")
