"""The contrastive pretraining of the mini CLIP, on tables small enough for a test."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from composer.backbone import Backbone
from composer.clip_files import load_tokenizer
from composer.data.pictures import CaptionIds, PictureTable, truth_matrix
from composer.training.clip.batches import CaptionWords, ClipBatches
from composer.training.clip.model import CONTEXT, encode_pixels, encode_text
from composer.training.clip.recipe import ClipTraining, Phase, step_of
from composer.training.clip.trainer import (
    ClipPaths,
    ClipTrainer,
    contrastive_loss,
    learn_vocabulary,
    word_loss,
)
from composer.training.descent import TrainingError

PHASES = (
    Phase(num_steps=2, patch_dropout=0.5, catalogue_share=0.5, image_px=64, word_weight=1.0),
    Phase(num_steps=2, catalogue_share=0.5),
)
RECIPE = ClipTraining(
    phases=PHASES,
    vision_width=128,
    vision_layers=2,
    batch_size=6,
    num_warmup_steps=1,
    min_captions=1,
    save_every=2,
    log_every=100,
    source_weights={"natural": 1.0, "catalogue_photos": 1.0},
)


def paths(folder):
    return ClipPaths(out=folder, state=folder / "state")


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
    tokenizer = load_tokenizer(folder, CONTEXT)
    recipe = dataclasses.replace(RECIPE, batch_size=400)
    batches = ClipBatches(tables, tokenizer, recipe)
    phase = Phase(num_steps=1, catalogue_share=0.75)
    batch, again = batches.draw(7, phase), ClipBatches(tables, tokenizer, recipe).draw(7, phase)
    for field in dataclasses.fields(batch):
        assert torch.equal(getattr(batch, field.name), getattr(again, field.name)), field.name
    is_blue = batch.pixels[:, 2].mean((1, 2)) > 0
    assert 0.68 < float(is_blue.float().mean()) < 0.82
    assert batch.ids.shape == (3, CONTEXT)  # three distinct captions in all
    assert bool(batch.truth.any(0).all())
    assert bool(batch.truth.any(1).all())


def test_a_phase_can_ask_for_more_sketches(folder, tables):
    sketches = dataclasses.replace(tables[1], name="catalogue_sketches", images=tables[0].images)
    weights = {"natural": 1.0, "catalogue_photos": 1.0, "catalogue_sketches": 0.1}
    recipe = dataclasses.replace(RECIPE, batch_size=400, source_weights=weights)
    batches = ClipBatches([*tables, sketches], load_tokenizer(folder, CONTEXT), recipe)
    phase = Phase(num_steps=1, catalogue_share=1.0, sketch_share=0.6)
    is_sketch = batches.draw(3, phase).pixels[:, 0].mean((1, 2)) > 0
    assert 0.52 < float(is_sketch.float().mean()) < 0.68


def test_the_rate_falls_over_the_phases_that_say_so():
    falling = Phase(num_steps=10, catalogue_share=0.5, decays=True)
    recipe = dataclasses.replace(
        RECIPE,
        phases=(dataclasses.replace(falling, decays=False), falling, falling),
        learning_rate=1.0,
        num_warmup_steps=4,
    )
    steps = (0, 3, 9, 10, 15, 19, 20, 25, 29)
    rates = [step_of(recipe, step).rate_factor for step in steps]
    assert rates == pytest.approx([0.25, 1, 1, 1, 0.5, 0.1, 1, 0.5, 0.1])


def test_rare_words_weigh_more_and_a_pictures_captions_are_joined():
    # "a" is in every caption and says nothing; "red" is in a third of them.
    texts = [f"a chair {number}" for number in range(60)] + [f"a red vase {n}" for n in range(30)]
    words = CaptionWords(texts, min_captions=30)
    assert words.words == ["a", "chair", "red", "vase"]
    targets = words.targets(np.array([[0, -1], [60, -1], [0, 60]]))
    torch.testing.assert_close(targets.sum(1), torch.ones(3))
    torch.testing.assert_close(targets[0], torch.tensor([0, 1.0, 0, 0]))
    torch.testing.assert_close(targets[1], torch.tensor([0, 0, 0.5, 0.5]))
    both = np.array([0, math.log(3 / 2), math.log(3), math.log(3)])
    np.testing.assert_allclose(targets[2], both / both.sum(), rtol=1e-5)


def test_word_loss_is_least_at_the_shares():
    shares = torch.tensor([[0.5, 0.25, 0.25]])
    entropy = -(shares * shares.log()).sum()
    torch.testing.assert_close(word_loss(shares.log(), shares), entropy)
    assert word_loss(torch.zeros(1, 3), shares) > entropy


def test_whole_pictures_are_encoded_as_open_clip_does_and_small_ones_by_mean_places(folder, tables):
    model = ClipTrainer(RECIPE, tables, paths(folder), "cpu").model.eval()
    pixels = torch.randn(2, 3, 128, 128, generator=torch.manual_seed(0))
    with torch.no_grad():
        pooled, joint = encode_pixels(model, pixels)
        torch.testing.assert_close(joint, model.encode_image(pixels, normalize=True))
        assert pooled.shape == (2, RECIPE.vision_width)
        grid = model.visual.positional_embedding[1:].unflatten(0, (8, 8))
        flat = grid.unflatten(0, (4, 2)).unflatten(2, (4, 2)).mean((1, 3))
        small = encode_pixels(model, pixels[..., :64, :64])[1]
        grid.copy_(flat.repeat_interleave(2, 0).repeat_interleave(2, 1))
        torch.testing.assert_close(encode_pixels(model, pixels[..., :64, :64])[1], small)


def test_texts_of_mixed_lengths_are_encoded_as_open_clip_does(folder, tables):
    model = ClipTrainer(RECIPE, tables, paths(folder), "cpu").model.eval()
    tokenizer = load_tokenizer(folder, CONTEXT)
    texts = ["a chair", "a natural chair, a chair, a chair", "chair", "a red red chair", ""]
    ids = tokenizer(texts)
    with torch.no_grad():
        torch.testing.assert_close(encode_text(model, ids), model.encode_text(ids, normalize=True))


def test_a_resumed_run_ends_with_the_same_weights(tmp_path, tables):
    for name in ("whole", "resumed"):
        learn_vocabulary(tables, tmp_path / name)
    whole = ClipTrainer(RECIPE, tables, paths(tmp_path / "whole"), "cpu")
    whole.run()
    begun = ClipTrainer(RECIPE, tables, paths(tmp_path / "resumed"), "cpu")
    begun.train_step()
    begun.save()
    resumed = ClipTrainer(RECIPE, tables, paths(tmp_path / "resumed"), "cpu")
    assert resumed.step == 1
    resumed.run()
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, msg=name)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_state(folder, tables):
    trainer = ClipTrainer(RECIPE, tables, paths(folder), "cpu")
    trainer.save()
    before = (folder / "state" / "state.safetensors").read_bytes()
    with torch.no_grad():
        trainer.model.visual.proj.fill_(torch.nan)
    with pytest.raises(TrainingError, match="loss of clip is not finite at step 0"):
        trainer.run()
    assert (folder / "state" / "state.safetensors").read_bytes() == before


def test_a_state_of_another_shape_is_refused(folder, tables):
    ClipTrainer(RECIPE, tables, paths(folder), "cpu").save()
    with pytest.raises(TrainingError, match="a model of another shape"):
        ClipTrainer(dataclasses.replace(RECIPE, vision_layers=1), tables, paths(folder), "cpu")


def test_the_exported_folder_is_a_backbone_that_encodes_as_the_trainer_did(folder, tables):
    trainer = ClipTrainer(RECIPE, tables, paths(folder), "cpu")
    trainer.export()
    backbone = Backbone.load(folder)
    assert (backbone.token_width, backbone.joint_dim, backbone.context_length) == (256, 256, 40)
    assert sum(p.numel() for p in backbone.model.visual.parameters()) < 11_000_000
    with torch.no_grad():
        expected = encode_text(trainer.model, load_tokenizer(folder, 40)(["a red chair"]))
    torch.testing.assert_close(backbone.encode_text(["a red chair"]), expected, atol=2e-2, rtol=0)
