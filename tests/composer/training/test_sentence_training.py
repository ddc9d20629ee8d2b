"""A run of sentence: what it trains, what it leaves alone, and that its file serves."""

from dataclasses import fields

import pytest
import torch

from composer.strategies.sentence import SentenceModel, SentenceShape
from composer.training.loop import Budget
from composer.training.pairs import PairSources
from composer.training.sentence import SentenceTraining, SentenceWeights, sentence_trainer
from composer.training.trainer import RunSettings
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("sentence")
    write_clip(root / "clip", image_px=128)
    write_pack(root / "pack")
    return root


def trainer_of(folder, tmp_path, num_steps, *, tower="medium", weights=None):
    sources = PairSources(clip=folder / "clip", pack=folder / "pack", num_classes=2, per_class=2)
    recipe = SentenceTraining(
        sources=sources, shape=SentenceShape(tower=tower, image_px=64), num_photos=8,
        num_negatives=8, num_pictures=16, weights=weights or SentenceWeights(),
    )  # fmt: skip
    settings = RunSettings(
        output=tmp_path / "sentence.safetensors", state=tmp_path / "state", device="cpu",
        budget=Budget(num_steps=num_steps), validate_every=num_steps,
    )  # fmt: skip
    return sentence_trainer(recipe, settings)


def loss_of_held_draws(objective) -> float:
    """Sum of all terms over batches that training does not draw: the same before and after."""
    with torch.no_grad():
        return sum(float(objective.losses(0, draw).total) for draw in range(1000, 1004))


def test_a_run_learns_tower_head_and_running_statistics_and_its_file_serves(folder, tmp_path):
    trainer = trainer_of(folder, tmp_path, 15)
    backbone = trainer.objective.backbone
    frozen = {n: p.clone() for n, p in backbone.model.named_parameters()}
    before = loss_of_held_draws(trainer.objective)
    start = {n: p.detach().clone() for n, p in trainer.objective.trainable_state().items()}
    trainer.run()
    assert loss_of_held_draws(trainer.objective) < 0.92 * before
    moved = {
        n for n, p in trainer.objective.trainable_state().items() if not torch.equal(p, start[n])
    }
    assert any(name.endswith("running_mean") for name in moved)
    assert {name.split(".")[0] for name in moved} == {"tower", "head", "pictures"}
    assert all(torch.equal(p, frozen[n]) for n, p in backbone.model.named_parameters())
    loaded = SentenceModel.load(tmp_path / "sentence.safetensors", backbone)
    assert loaded.shape == trainer.objective.model.shape


@pytest.mark.parametrize("name", [f.name for f in fields(SentenceWeights)])
def test_every_term_has_its_own_switch(folder, tmp_path, name):
    alone = SentenceWeights(**{f.name: float(f.name == name) for f in fields(SentenceWeights)})
    losses = trainer_of(folder, tmp_path, 1, tower="small", weights=alone).objective.losses(0, 0)
    off = set() if name == "features" else {"features"}  # too dear to be computed in vain
    assert set(losses.terms) == {f.name for f in fields(SentenceWeights)} - off
    assert losses.total.item() == pytest.approx(losses.terms[name].item(), rel=1e-5)


def test_a_resumed_run_ends_where_an_unbroken_one_does(folder, tmp_path):
    whole = trainer_of(folder, tmp_path / "whole", 4)
    for _ in range(4):
        whole.train_step()
    first = trainer_of(folder, tmp_path / "halves", 4)
    for _ in range(2):
        first.train_step()
    first.save()
    second = trainer_of(folder, tmp_path / "halves", 4)
    for _ in range(2):
        second.train_step()
    for name, expected in whole.objective.trainable_state().items():
        torch.testing.assert_close(
            second.objective.trainable_state()[name], expected, atol=1e-6, rtol=1e-5
        )
