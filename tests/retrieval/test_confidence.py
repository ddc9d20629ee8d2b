"""Confidence: from the standing of the best hit to a probability, and back to nothing matches."""

import numpy as np
import pytest
import torch

from retrieval.confidence import (
    Asked,
    Calibration,
    CalibrationError,
    Confidence,
    Standing,
    auroc,
    fit,
    judge,
    load_calibrations,
    save_calibrations,
    standing,
)
from tests.retrieval.test_regions import query_of


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
    found = standing(0.9, torch.tensor([1.0, 0]), background, 1000)
    assert (found.best, found.mean) == (0.9, pytest.approx(0.15))
    assert found.spread == pytest.approx(np.std([1, 0, 0.6, -1]))
    by_chance = found.spread * np.sqrt(2 * np.log(1000))
    assert found.as_vector() == pytest.approx([0.9 - by_chance, found.mean, found.spread])


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
    yes = [calibration.probability(one) for one in drawn(rng, 0.4)]
    no = [calibration.probability(one) for one in drawn(rng, 0.25)]
    assert auroc(yes, no) > 0.95
    scores = [[one.best for one in drawn(rng, gap)] for gap in (0.4, 0.25)]
    assert auroc(*scores) < 0.8  # the score alone, blind to what the gallery is like
    assert np.mean(np.array(yes) < calibration.threshold) == pytest.approx(0.1, abs=0.05)
    assert 0.35 < np.mean(yes + no) < 0.65


def test_one_in_ten_answerable_queries_is_told_that_nothing_matches():
    rng = np.random.default_rng(3)
    clear, blurred = ((drawn(rng, 0.6), drawn(rng, 0.1)), (drawn(rng, 0.3), drawn(rng, 0.28)))
    for yes, no in (clear, blurred):
        calibration = fit(yes, no)
        sure = np.sort([calibration.probability(one) for one in yes])
        # The tenth of 400 by numpy's rule: nine tenths of the way from the 40th to the 41st.
        expected = sure[39] + 0.9 * (sure[40] - sure[39])
        assert calibration.threshold == pytest.approx(expected)
    assert fit(*clear).threshold > 0.8
    assert fit(*blurred).threshold < 0.48


@pytest.mark.parametrize(("threshold", "matches"), [(0.2, True), (0.5, True), (0.8, False)])
def test_a_ranking_matches_from_the_threshold_of_its_calibration_on(threshold, matches):
    even = Calibration(weights=(0.0, 0.0, 0.0), bias=0.0, threshold=threshold)
    query = query_of(torch.ones(4) / 2, None, torch.ones(4) / 2)
    found = Standing(best=0.9, mean=0.1, spread=0.1, num_items=100)
    assert judge(query, found, {Asked.WORDS: even}) == Confidence(probability=0.5, matches=matches)
    assert judge(query, None, {Asked.WORDS: even}) == Confidence(probability=0.0, matches=False)
    assert judge(query, found, {Asked.BOTH: even}) is None


def test_both_kinds_of_queries_weigh_the_same():
    rng = np.random.default_rng(1)
    few = fit(drawn(rng, 0.4, 40), drawn(rng, 0.25, 4000))
    between = Standing(best=0.3 + 0.325, mean=0.3, spread=0.1, num_items=100)
    assert few.probability(between) == pytest.approx(0.5, abs=0.15)


def test_auroc_counts_pairs():
    assert auroc([3.0, 1.0], [2.0, 0.0]) == 0.75
    assert auroc([1.0], [1.0]) == 0.5


def test_a_fit_needs_both_kinds():
    with pytest.raises(ValueError, match="with an answer and such without, got 1 and 0"):
        fit([Standing(best=1.0, mean=0.0, spread=1.0, num_items=9)], [])


def test_calibrations_come_back_from_their_file(tmp_path):
    path = tmp_path / "confidence.json"
    given = {
        Asked.BOTH: Calibration(weights=(1.0, -2.0, 0.5), bias=0.1, threshold=0.4),
        Asked.WORDS: Calibration(weights=(3.0, 0.0, 0.0), bias=-1.0, threshold=0.2),
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
        '{"words": {"weights": null, "bias": 0, "threshold": 0.5}}',
    ],
)
def test_a_damaged_file_is_told(tmp_path, content):
    path = tmp_path / "confidence.json"
    path.write_text(content)
    with pytest.raises(CalibrationError, match="holds no calibrations; reinstall the kit"):
        load_calibrations(path)
    with pytest.raises(CalibrationError, match="holds no calibrations"):
        load_calibrations(tmp_path / "none.json")
