"""Prompted: its losses by hand, its visual prompts, and runs at both levels."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from composer.medium import Medium
from composer.strategies.prompted import FRAME_SHARE, NUM_PROMPTS, PromptedModel
from composer.training.loop import Budget
from composer.training.pairs import PairSources
from composer.training.prompted import (
    Level,
    PromptedTraining,
    PromptedWeights,
    prompted_trainer,
    relative_spread,
    shuffle_patches,
    two_orders,
)
from composer.training.trainer import RunSettings
from composer.vision import encode_with_tower
from composer.weights import read_metadata
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import IMAGE_PX, tiny_backbone, tiny_trunk_backbone, write_clip


def test_no_prompts_are_the_plain_tower_and_prompts_change_what_is_seen():
    backbone = tiny_backbone()
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = backbone.encode_image(pixels)
    torch.testing.assert_close(backbone.model.encode_image(pixels, normalize=True), plain.features)
    prompts = torch.zeros(0, backbone.vision_width)
    same = encode_with_tower(backbone.model.visual, pixels, prompts)
    torch.testing.assert_close(same.features, plain.features)
    torch.testing.assert_close(same.patch_features, plain.patch_features)
    model = PromptedModel(backbone)
    with torch.no_grad():
        model.prompts.normal_()
    encoding = model.encode_image(pixels)
    assert not torch.allclose(encoding.features, plain.features, atol=1e-3)
    assert encoding.patch_features.shape == plain.patch_features.shape
    assert len(model.prompts) == NUM_PROMPTS == 3


@torch.no_grad()
def test_a_trunk_has_a_frame_of_pixels_around_its_drawings():
    backbone = tiny_trunk_backbone()
    model = PromptedModel(backbone)
    state = model.prompt_state()
    assert set(state) == {"frame.rows", "frame.columns"}
    width = round(FRAME_SHARE * IMAGE_PX)
    inside = slice(width, -width)
    num_border = 3 * (IMAGE_PX**2 - (IMAGE_PX - 2 * width) ** 2)
    assert sum(p.numel() for p in state.values()) == num_border
    pixels = torch.randn(2, 3, IMAGE_PX, IMAGE_PX, generator=torch.Generator().manual_seed(0))
    plain = backbone.encode_image(pixels, Medium.DRAWING).features
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(model.encode_image(pixels).features, plain, **close)
    for parameter in state.values():
        parameter.add_(1.0 + torch.arange(parameter.numel()).view_as(parameter))
    assert model.frame is not None
    framed = model.frame(pixels)
    assert torch.equal(framed[:, :, inside, inside], pixels[:, :, inside, inside])
    added = framed - pixels
    assert (added != 0).sum() == 2 * num_border
    assert len(added[0].unique()) > 0.4 * num_border  # rows and columns hold the same numbers
    seen = model.encode_image(pixels)
    expected = backbone.encode_image(framed, Medium.DRAWING)
    torch.testing.assert_close(seen.features, expected.features, **close)
    assert not torch.allclose(seen.features, plain, atol=1e-3)
    photo = model.encode_image(pixels, Medium.PHOTO).features
    torch.testing.assert_close(photo, backbone.encode_image(pixels).features, **close)


def test_a_file_tells_what_its_prompts_are(tmp_path):
    for backbone, kind in ((tiny_backbone(), "tokens"), (tiny_trunk_backbone(), "a frame of 6 px")):
        PromptedModel(backbone).save(tmp_path / "p.safetensors", notes={"level": "instance"})
        metadata = read_metadata(tmp_path / "p.safetensors")
        assert (metadata["prompts"], metadata["level"]) == (kind, "instance")


def test_spread_is_the_mean_divergence_over_ordered_pairs():
    assert relative_spread(torch.tensor([[0.1, 0.3], [0.1, 0.3]])).item() == pytest.approx(0)
    assert relative_spread(torch.tensor([[0.1, 0.3]])).item() == 0
    spread = relative_spread(torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])).item()
    p, q = (0.25, 0.75), (0.5, 0.5)
    forth = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    back = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert spread == pytest.approx((forth + back) / 2, rel=1e-5)


def test_shuffling_moves_whole_quarters():
    pixels = torch.arange(16.0).view(1, 1, 4, 4)
    shuffled = shuffle_patches(pixels, [3, 1, 2, 0])
    expected = [[10, 11, 2, 3], [14, 15, 6, 7], [8, 9, 0, 1], [12, 13, 4, 5]]
    assert shuffled[0, 0].tolist() == expected
    assert torch.equal(shuffle_patches(pixels, [0, 1, 2, 3]), pixels)
    for seed in range(20):
        order, other = two_orders(np.random.default_rng(seed))
        assert order != other
        assert [0, 1, 2, 3] not in (order, other)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("prompted")
    write_clip(root / "clip", image_px=128)
    write_pack(root / "pack")
    return root


def trainer_of(folder, tmp_path, num_steps, level, weights=None):
    sources = PairSources(clip=folder / "clip", pack=folder / "pack", num_classes=2, per_class=3)
    recipe = PromptedTraining(sources=sources, level=level, weights=weights or PromptedWeights())
    settings = RunSettings(
        output=tmp_path / "prompted.safetensors", state=tmp_path / "state", device="cpu",
        budget=Budget(num_steps=num_steps), validate_every=num_steps,
    )  # fmt: skip
    return prompted_trainer(recipe, settings)


@pytest.mark.parametrize("level", Level)
def test_a_run_learns_prompts_and_norms_and_its_file_serves(folder, tmp_path, level):
    trainer = trainer_of(folder, tmp_path, 25, level)
    start = {n: p.detach().clone() for n, p in trainer.objective.trainable_state().items()}
    first = [trainer.train_step() for _ in range(5)]
    scores = trainer.run()
    last = [trainer.train_step() for _ in range(5)]
    before, after = (sum(terms["classification"] for terms in part) for part in (first, last))
    assert after < before
    still = [n for n, p in trainer.objective.trainable_state().items() if torch.equal(p, start[n])]
    assert not still
    loaded = PromptedModel.load(tmp_path / "prompted.safetensors", trainer.objective.backbone)
    assert loaded.alpha == scores.share


def test_each_level_has_its_terms_and_every_term_its_switch(folder, tmp_path):
    names = {f.name for f in fields(PromptedWeights)}
    instance = trainer_of(folder, tmp_path, 1, Level.INSTANCE).objective.losses(0, 0)
    assert set(instance.terms) == names
    category = trainer_of(folder, tmp_path, 1, Level.CATEGORY).objective.losses(0, 0)
    assert set(category.terms) == {"triplet", "classification"}
    for name in names:
        alone = PromptedWeights(**{other: float(other == name) for other in names})
        losses = trainer_of(folder, tmp_path, 1, Level.INSTANCE, alone).objective.losses(0, 0)
        assert losses.total.item() == pytest.approx(losses.terms[name].item(), rel=1e-5)
    off = PromptedWeights(shuffle=0.0)
    cheap = trainer_of(folder, tmp_path, 1, Level.INSTANCE, off).objective.losses(0, 0)
    assert "shuffle" not in cheap.terms


def test_wrong_instances_are_kin_and_never_the_thing_itself(folder, tmp_path):
    objective = trainer_of(folder, tmp_path, 1, Level.INSTANCE).objective
    data = objective._data
    batch = data.batches.draw(0)
    wrong = objective._wrong_instances(batch, torch.from_numpy(batch.classes)).numpy()
    world = data.world
    for row, kind, thing in zip(wrong, batch.classes, batch.instances, strict=True):
        expected = (world.photo_classes == kind) & (world.photo_instances != thing)
        np.testing.assert_array_equal(row, expected)
        assert expected.any()
