"""Drawings of the natural world in the duet's training."""

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from composer.data.world import NaturalParts, PairTable
from composer.sketch import Sketch
from composer.training import duet
from composer.training.duet_objective import DuetWeights
from tests.composer.training.duet.runs import queries_of, trainer_of


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
        chairs=table("chairv2", ("chair",)),
    )
    monkeypatch.setattr(duet, "natural_tables", lambda folder, size_px: parts)
    monkeypatch.setattr(duet, "read_natural_queries", queries_of)
    return {"natural": Path("archives"), "num_natural": 16, "num_natural_cached": 12}


def test_drawings_of_the_natural_world_are_learnt_and_validated(folder, tmp_path, natural):
    only = DuetWeights(**{f.name: float(f.name == "natural") for f in fields(DuetWeights)})
    trainer = trainer_of(folder, tmp_path, 40, weights=only, num_cached_steps=1, **natural)
    assert "natural" in trainer.train_step()
    first = sum(trainer.train_step()["natural"] for _ in range(3))
    trainer.run()
    last = sum(trainer.train_step()["natural"] for _ in range(3))
    assert last < 0.9 * first
    scores = trainer.validate()
    assert scores.category is not None
    assert 0 <= scores.category <= 1
    assert f"nearest 25 {scores.category:.1%}" in scores.summary()
    assert 0 <= scores.named_chairs.at_1 <= scores.named_chairs.at_10 <= 1
    assert f"chairs in words {scores.named_chairs.at_1:.1%}" in scores.summary()


def test_chairs_are_asked_for_alone_and_by_their_colours(folder, tmp_path, natural, monkeypatch):
    objective = trainer_of(folder, tmp_path, 1, **natural).objective
    chairs, model = objective._data.natural.chairs, objective.model
    count, width = chairs._seen.features.shape
    layouts = torch.zeros_like(chairs._seen.layouts)
    seen = {"features": torch.eye(count, width), "layouts": layouts, "regions": None}
    chairs._seen = replace(chairs._seen, **seen)
    chairs._words = ["in red"] * len(chairs._targets)
    read = []

    def encode(embeddings, ends):
        """Read words as the right photo, and a drawing alone as another one."""
        read.append(embeddings.shape[1])
        rows = chairs._targets if len(read) == 2 else (chairs._targets + 1) % count
        return SimpleNamespace(features=torch.eye(count, width)[rows])

    monkeypatch.setattr(type(model.backbone), "encode_embeddings", lambda _, *p: encode(*p))
    asked = chairs.asked(model)
    alone, named = asked(0.0, None), asked(0.0, 0.0)
    assert (alone.at_1, named.at_1) == (0.0, 1.0)
    assert read[1] > read[0]


def test_cached_queries_of_the_natural_world_are_learnt(folder, tmp_path, natural):
    only = DuetWeights(**{f.name: float(f.name == "natural") for f in fields(DuetWeights)})
    trainer = trainer_of(folder, tmp_path, 60, weights=only, num_cached_steps=99, **natural)
    first = sum(trainer.train_step()["natural"] for _ in range(3))
    trainer.run()
    last = sum(trainer.train_step()["natural"] for _ in range(3))
    assert last < 0.9 * first


def test_the_cached_loss_asks_each_source_for_its_answers(folder, tmp_path, natural, monkeypatch):
    objective = trainer_of(folder, tmp_path, 1, num_cached_steps=9, **natural).objective
    cached, model = objective._data.cached_natural(objective.model), objective.model
    count = len(cached._gallery)
    cached._gallery = torch.eye(count)
    asked = [
        query
        for rng in [np.random.default_rng([cached._seed, 4, 2])]
        for source in cached._sources
        for query in (cached._choose(source, rng) for _ in range(6))
    ]
    assert [bool(query.words) for query in asked] == [False] * 6 + [True] * 6

    def loss(rows):
        known = 100.0 * torch.eye(count)[rows]
        encoding = SimpleNamespace(features=known)
        monkeypatch.setattr(
            type(model.backbone), "encode_embeddings", lambda *_: encoding, raising=True
        )
        return cached.loss(model, 4, temperature=1.0).item()

    assert loss([query.answers[0] for query in asked]) == pytest.approx(0.0, abs=1e-5)
    # What is ignored costs nothing more than knowing nothing.
    aside = [(query.ignored or query.answers)[0] for query in asked]
    assert loss(aside) == pytest.approx(np.log(count - 1) / 2, abs=1e-3)


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
