"""Scores of the duet's validation."""

import pytest
import torch

from composer.strategies.duet import DuetModel
from composer.training import duet_validation
from composer.training.duet_validation import accuracy
from tests.composer.training.duet.runs import trainer_of


def test_accuracy_counts_ties_against_the_query():
    similarities = torch.tensor([[0.9, 0.5, 0.1], [0.7, 0.7, 0.1], [0.1, 0.2, 0.0]])
    scores = accuracy(similarities, torch.arange(3))
    assert (scores.at_1, scores.at_5) == pytest.approx((1 / 3, 1.0))


def test_validation_orders_the_best_hundred_once_more_by_layout():
    similarities = torch.linspace(0.9, 0.1, 120).expand(2, -1).clone()
    layouts = torch.zeros(2, 120)
    layouts[0, 5] = layouts[1, 110] = 1.0
    reranked = duet_validation.rerank(similarities, layouts, 0.3)
    assert reranked[0].argmax() == 5
    assert reranked[1].argsort(descending=True)[:100].tolist() == list(range(100))
    assert torch.isinf(reranked[:, 100:]).all()


def test_validation_chooses_the_residual_that_finds_most_and_the_file_carries_it(
    folder, tmp_path, monkeypatch
):
    trainer = trainer_of(folder, tmp_path, 2)
    scores = {}
    for residual in (0.0, 0.5, 50.0):
        monkeypatch.setattr(duet_validation, "RESIDUALS", (residual,))
        scores[residual] = trainer.validate().score
    assert len(set(scores.values())) > 1
    monkeypatch.setattr(duet_validation, "RESIDUALS", tuple(scores))
    monkeypatch.setattr(duet_validation, "TOLERANCE", 0.0)
    result = trainer.validate()
    assert scores[result.residual] == result.score == max(scores.values())
    # Where the difference is too small to mean anything the smallest does.
    monkeypatch.setattr(duet_validation, "TOLERANCE", 1.1)
    assert trainer.validate().residual == 0.0
    trainer.export(result)
    loaded = DuetModel.load(trainer.settings.output, trainer.objective.backbone)
    assert loaded.residual == result.residual
