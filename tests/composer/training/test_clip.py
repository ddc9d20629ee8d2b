"""The contrastive pretraining of the mini CLIP, on tables small enough for a test."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from composer.backbone import Backbone, load_tokenizer
from composer.data.pictures import CaptionIds, PictureTable, truth_matrix
from composer.training import clip
from composer.training.clip import (
    Batches,
    ClipTrainer,
    ClipTraining,
    Phase,
    Places,
    contrastive_loss,
    encode_text,
    learn_vocabulary,
)

PHASES = (
    Phase(num_steps=2, patch_dropout=0.75, catalogue_share=0.5),
    Phase(num_steps=2, patch_dropout=0.0, catalogue_share=0.5),
)
RECIPE = ClipTraining(
    phases=PHASES,
    batch_size=6,
    num_warmup_steps=1,
    save_every=2,
    log_every=100,
    source_weights={"natural": 1.0, "catalogue_photos": 1.0},
)


def places(folder):
    return Places(out=folder, state=folder / "state")


def table(name, colour):
    images = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    images[..., colour] = 255
    captions = ((f"a {name} chair", "a chair"),) * 4
    return PictureTable(name=name, images=images, captions=captions, groups=tuple("abcd"))


@pytest.fixture(scope="module")
def tables():
    return [table("natural", 0), table("catalogue_photos", 2)]


@pytest.fixture
def folder(tmp_path, tables):
    learn_vocabulary(tables, tmp_path)
    return tmp_path


def test_truth_is_what_the_captions_say():
    tables = [
        PictureTable(
            name="a", images=np.zeros((2, 1, 1, 3), np.uint8), captions=(("x", "y"), ("x",))
        ),
        PictureTable(name="b", images=np.zeros((1, 1, 1, 3), np.uint8), captions=(("y", "z"),)),
    ]
    ids = CaptionIds(tables)
    assert ids.texts == ["x", "y", "z"]
    blocks = [ids.of(0, np.array([0, 1])), ids.of(1, np.array([0]))]
    truth = truth_matrix(blocks, np.array([0, 1, 2]))  # said: x, y, z
    assert truth.tolist() == [[True, True, False], [True, False, False], [False, True, True]]


def test_the_loss_is_the_cross_entropy_of_the_true_pairs():
    features = functional.normalize(torch.randn(3, 8, generator=torch.manual_seed(0)), dim=-1)
    others = functional.normalize(torch.randn(3, 8, generator=torch.manual_seed(1)), dim=-1)
    scale = torch.tensor(10.0)
    plain = contrastive_loss(features, others, torch.eye(3, dtype=torch.bool), scale)
    logits = scale * features @ others.T
    target = torch.arange(3)
    expected = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    torch.testing.assert_close(plain, expected / 2)
    everything = contrastive_loss(features, features * 0, torch.ones(3, 3, dtype=torch.bool), scale)
    assert float(everything) == pytest.approx(math.log(3))


def test_draws_depend_on_the_step_alone_and_keep_the_shares(folder, tables):
    tokenizer = load_tokenizer(folder, clip.CONTEXT)
    recipe = dataclasses.replace(RECIPE, batch_size=400)
    batches = Batches(tables, tokenizer, recipe)
    phase = Phase(num_steps=1, patch_dropout=0.0, catalogue_share=0.75)
    pixels, ids, truth = batches.draw(7, phase)
    again = Batches(tables, tokenizer, recipe).draw(7, phase)
    assert all(torch.equal(a, b) for a, b in zip((pixels, ids, truth), again, strict=True))
    is_blue = pixels[:, 2].mean((1, 2)) > 0
    assert 0.68 < float(is_blue.float().mean()) < 0.82
    assert ids.shape == (3, clip.CONTEXT)  # three distinct captions in all
    assert bool(truth.any(0).all())
    assert bool(truth.any(1).all())


def test_a_resumed_run_ends_with_the_same_weights(tmp_path, tables):
    for name in ("whole", "resumed"):
        learn_vocabulary(tables, tmp_path / name)
    whole = ClipTrainer(RECIPE, tables, places(tmp_path / "whole"), "cpu")
    whole.run()
    begun = ClipTrainer(RECIPE, tables, places(tmp_path / "resumed"), "cpu")
    begun.recipe = dataclasses.replace(RECIPE, save_every=1)
    begun._train_step()
    begun.step = 1
    begun._save()
    resumed = ClipTrainer(RECIPE, tables, places(tmp_path / "resumed"), "cpu")
    assert resumed.step == 1
    resumed.run()
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, msg=name)


def test_the_exported_folder_is_a_backbone_that_encodes_as_the_trainer_did(folder, tables):
    trainer = ClipTrainer(RECIPE, tables, places(folder), "cpu")
    trainer.export()
    backbone = Backbone.load(folder)
    assert (backbone.token_width, backbone.joint_dim, backbone.context_length) == (256, 256, 40)
    assert sum(p.numel() for p in backbone.model.visual.parameters()) < 11_000_000
    with torch.no_grad():
        expected = encode_text(trainer.model, load_tokenizer(folder, 40)(["a red chair"]))
    torch.testing.assert_close(backbone.encode_text(["a red chair"]), expected, atol=2e-2, rtol=0)
