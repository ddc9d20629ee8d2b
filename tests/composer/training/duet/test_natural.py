"""Drawings of the natural world in the duet's training."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from composer.data.world import NaturalParts, PairTable
from composer.sketch import Sketch
from composer.training import duet
from composer.training.duet_objective import DuetWeights
from tests.composer.training.duet.runs import trainer_of


@pytest.fixture
def natural(monkeypatch):
    """Two classes of two things each to train on, and two more that no training sees."""

    def table(name, classes):
        ids = [(c, i) for c in classes for i in range(2)]
        marks = np.random.default_rng(len(name)).integers(0, 255, (len(ids), 128, 128, 3))
        photos = marks.astype(np.uint8)
        kinds = tuple(c for c, _ in ids)
        things = tuple(f"{name}/{c}/{i}" for c, i in ids)
        drawings = tuple(Sketch(raster=photo[..., 0]) for photo in photos)
        return PairTable(
            name=name, photos=np.concatenate([photos] * 8), photo_classes=kinds * 8,
            photo_instances=things * 8, drawings=drawings, drawing_classes=kinds,
            drawing_instances=things,
        )  # fmt: skip

    parts = NaturalParts(
        train=(table("sketchy", ("cow", "duck")), table("chairv2", ("chair",))),
        validation=(table("sketchy", ("pear", "fan")),),
    )
    monkeypatch.setattr(duet, "natural_tables", lambda folder, size_px: parts)
    return {"natural": Path("archives"), "num_natural": 16}


def test_drawings_of_the_natural_world_are_learnt_and_validated(folder, tmp_path, natural):
    only = DuetWeights(**{f.name: float(f.name == "natural") for f in fields(DuetWeights)})
    trainer = trainer_of(folder, tmp_path, 40, weights=only, num_cached_steps=1, **natural)
    assert "natural" not in trainer.train_step()
    first = sum(trainer.train_step()["natural"] for _ in range(3))
    trainer.run()
    last = sum(trainer.train_step()["natural"] for _ in range(3))
    assert last < 0.9 * first
    scores = trainer.validate()
    assert scores.category is not None
    assert 0 <= scores.category <= 1
    assert f"nearest 25 {scores.category:.1%}" in scores.summary()


def test_the_natural_loss_asks_for_the_class_the_thing_and_its_layout(folder, tmp_path, natural):
    objective = trainer_of(folder, tmp_path, 1, **natural).objective
    references, model = objective._data.natural, objective.model
    batch = references._batches.draw(0)
    references._gallery = torch.eye(len(references._gallery))  # features of a query are its cosines
    references._layouts = torch.zeros_like(references._layouts)  # all layouts are as good

    def loss(drawn, photos):
        known = 100.0 * (torch.from_numpy(drawn).unsqueeze(1) == photos)
        model.read_alone = lambda features: known
        return references.loss(model, 0, temperature=1.0, layout_temperature=1.0).item()

    # A class has sixteen photos here, each thing half of them; as for the class, a query that knows
    # its thing alone gives up the other half, each at a cost of 100.
    guessed = np.log(len(references._gallery))
    expected = (np.log(16) + np.log(16) + guessed) / 3
    assert loss(batch.classes, references._classes) == pytest.approx(expected, abs=1e-3)
    expected = (np.log(8) + np.log(8) + 100 / 2 + guessed) / 3
    assert loss(batch.instances, references._instances) == pytest.approx(expected, abs=1e-3)
