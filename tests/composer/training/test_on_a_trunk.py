"""Every training on a kit with a convolutional trunk, which tells drawings from photos."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from composer import names
from composer.backbone import Backbone
from composer.data.catalogue import PHOTO, CataloguePack
from composer.data.duet_batches import (
    Mixture,
    encode_gallery,
    encode_references,
    validation_queries,
)
from composer.data.feature_store import FeatureStore
from composer.data.world import NaturalParts, PairTable
from composer.kit_parts import ComposerFiles
from composer.medium import Medium
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies import load_composer
from composer.strategies.converter import TextConverter
from composer.strategies.duet import DuetModel
from composer.strategies.slerp import SlerpComposer, modality_shift, needs_shift
from composer.training import duet, pairs
from composer.training.duet import DuetTraining, duet_trainer
from composer.training.duet_objective import DuetWeights, encode_batch
from composer.training.loop import Budget
from composer.training.run import TRAININGS, Sources
from composer.training.slerp import encode_drawn
from composer.training.trainer import RunSettings
from composer.vision import norm_state
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import IMAGE_PX, tiny_backbone, tiny_trunk_backbone, write_trunk_clip
from tests.composer.training.duet.runs import queries_of

SKETCH = Query(sketch=Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]], [[0.2, 0.5], [0.7, 0.5]]]))
DUET = DuetTraining(
    clip="", data=Path(), batch_size=8, num_natural=8, num_cached_steps=2, cached_batch_size=8,
    num_drawings=1,
)  # fmt: skip


def table(name, classes):
    ids = [(c, i) for c in classes for i in range(2)]
    levels = np.random.default_rng(len(name)).integers(0, 255, (len(ids), IMAGE_PX, IMAGE_PX, 3))
    kinds = tuple(c for c, _ in ids)
    things = tuple(f"{name}/{c}/{i}" for c, i in ids)
    photos = levels.astype(np.uint8)
    return PairTable(
        name=name, photos=np.concatenate([photos] * 8), photo_classes=kinds * 8,
        photo_instances=things * 8, drawings=tuple(Sketch(raster=p[..., 0]) for p in photos),
        drawing_classes=kinds, drawing_instances=things,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("trunk")
    write_trunk_clip(root / "clip")
    write_pack(root / "pack")
    return root


@pytest.fixture
def natural(monkeypatch):
    parts = NaturalParts(
        train=(table("sketchy", ("cow", "duck")), table("chairv2", ("chair",))),
        validation=(table("sketchy", ("pear", "fan")),),
    )
    for module in (duet, pairs):
        monkeypatch.setattr(module, "natural_tables", lambda folder, size_px: parts)
    monkeypatch.setattr(duet, "read_natural_queries", queries_of)
    return Path("archives")


def settings_of(tmp_path, num_steps):
    return RunSettings(
        output=tmp_path / "trained.safetensors", state=tmp_path / "state", device="cpu",
        budget=Budget(num_steps=num_steps), validate_every=num_steps,
    )  # fmt: skip


def statistics(module):
    return {n: b.clone() for n, b in module.named_buffers() if n.endswith(("_mean", "_var"))}


# The other towers of the sentence know nothing of the kit's.
PAIRED = (
    names.MODALITY, names.PROMPTED, names.PROMPTED_CATEGORY, names.SENTENCE,
    names.SENTENCE_SYMMETRIC,
)  # fmt: skip


@pytest.mark.parametrize("name", PAIRED)
def test_a_run_moves_what_it_trains_and_its_file_serves(name, folder, natural, tmp_path):
    sources = Sources(clip=folder / "clip", pack=folder / "pack", natural=natural, num_samples=8)
    trainer = TRAININGS[name](sources, settings_of(tmp_path, 2))
    backbone = trainer.objective.backbone
    kept = {n: t.clone() for n, t in backbone.model.state_dict().items()}
    start = {n: p.detach().clone() for n, p in trainer.objective.trainable_state().items()}
    scores = trainer.run()
    assert np.isfinite(scores.score)
    assert scores.category is not None
    still = [n for n, p in trainer.objective.trainable_state().items() if torch.equal(p, start[n])]
    running = [n for n in still if n.endswith(("running_mean", "running_var"))]
    assert still == running
    assert all(torch.equal(t, kept[n]) for n, t in backbone.model.state_dict().items())
    composer = load_composer(
        name, backbone, ComposerFiles(weights=tmp_path / "trained.safetensors")
    )
    assert composer.compose(composer.encode(SKETCH), "red").feature.isfinite().all()


@pytest.mark.parametrize("name", [names.MODALITY, names.PROMPTED, names.PROMPTED_CATEGORY])
def test_tuned_towers_have_norms_alone_and_statistics_that_stay(name, folder, natural, tmp_path):
    sources = Sources(clip=folder / "clip", pack=folder / "pack", natural=natural, num_samples=8)
    trainer = TRAININGS[name](sources, settings_of(tmp_path, 2))
    tower = trainer.objective.model.tower
    before = statistics(tower)
    trainer.run()
    assert before
    assert all(torch.equal(b, before[n]) for n, b in statistics(tower).items())
    state = trainer.objective.trainable_state()
    trained = {n for n in state if n.startswith("layer_norms.")}
    assert trained == set(norm_state(trainer.objective.backbone.model.visual))


def test_the_sentence_of_a_trunk_keeps_running_statistics(folder, natural, tmp_path):
    sources = Sources(clip=folder / "clip", pack=folder / "pack", num_samples=8)
    trainer = TRAININGS[names.SENTENCE](sources, settings_of(tmp_path, 2))
    tower = trainer.objective.model.tower
    before = statistics(tower)
    trainer.run()
    assert before
    assert all(torch.equal(b, before[n]) for n, b in statistics(tower).items())
    whole = trainer.objective.backbone.model.visual.trunk
    assert sum(p.numel() for p in tower.parameters()) < sum(p.numel() for p in whole.parameters())


def duet_of(folder, tmp_path, num_steps, **changes):
    recipe = replace(DUET, clip=folder / "clip", data=folder / "pack", **changes)
    return duet_trainer(recipe, settings_of(tmp_path, num_steps))


def test_duet_has_all_its_losses_in_both_parts_of_its_schedule(folder, natural, tmp_path):
    weights = DuetWeights(reconstruction=0.25)
    trainer = duet_of(folder, tmp_path, 4, natural=natural, weights=weights)
    tower = trainer.objective.model.tower
    before = statistics(tower)
    norms = {n: p.detach().clone() for n, p in norm_state(tower).items()}
    every = {f.name for f in fields(DuetWeights)}
    assert set(trainer.train_step()) == every - {"layout"}
    trainer.train_step()
    assert all(torch.equal(p, norms[n]) for n, p in norm_state(tower).items())
    assert set(trainer.train_step()) == every
    assert not any(torch.equal(p, norms[n]) for n, p in norm_state(tower).items())
    scores = trainer.run()
    assert scores.category is not None
    assert all(torch.equal(b, before[n]) for n, b in statistics(tower).items())
    DuetModel.load(tmp_path / "trained.safetensors", trainer.objective.backbone)


def test_duet_learns_through_the_drawings_own_norms(folder, tmp_path):
    trainer = duet_of(folder, tmp_path, 24, num_cached_steps=0)
    first = [trainer.train_step() for _ in range(4)]
    trainer.run()
    last = [trainer.train_step() for _ in range(4)]
    # Random trunks make all photos alike, so that only their layouts can be told apart.
    before, after = (sum(terms["layout"] for terms in part) for part in (first, last))
    assert after < 0.95 * before


@torch.no_grad()
def test_photos_among_the_references_are_seen_as_photos(folder, tmp_path):
    changes = {"num_cached_steps": 0, "mixture": Mixture(photo_references=0.5)}
    objective = duet_of(folder, tmp_path, 1, **changes).objective
    model, data = objective.model, objective._data
    batch = data.batches.draw(0, 8)
    assert 0 < batch.is_photo.sum() < 8
    encoded = encode_batch(model, batch, data.gallery, data.banks, np.random.default_rng(0))
    for row, is_photo in enumerate(batch.is_photo.tolist()):
        pixels = model.backbone.normalise_pixels(batch.references[row : row + 1])
        alone = model.encode_image(pixels, Medium.PHOTO if is_photo else Medium.DRAWING)
        close = {"atol": 1e-5, "rtol": 1e-4}
        torch.testing.assert_close(encoded.layouts[row], model.backbone.layouts(alone)[0], **close)
        torch.testing.assert_close(encoded.q[row], model.read_alone(alone.features)[0], **close)


def test_photos_encoded_in_advance_are_those_of_the_gallery(folder):
    backbone, pack = Backbone.load(folder / "clip"), CataloguePack.open(folder / "pack")
    gallery = encode_gallery(pack, pack.rows(split="train"), FeatureStore(backbone))
    designs = sorted({sketch.design for sketch in pack.sketches if sketch.split == "train"})
    encoded = encode_references(pack, designs[:2], gallery.rows, FeatureStore(backbone), count=1)
    assert encoded.photos
    for row, feature in encoded.photos.items():
        torch.testing.assert_close(feature, gallery.features[row], atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_goals_of_a_sentence_are_drawings_seen_as_drawings(folder, tmp_path):
    sources = Sources(clip=folder / "clip", pack=folder / "pack", num_samples=8)
    objective = TRAININGS[names.SENTENCE](sources, settings_of(tmp_path, 1)).objective
    pictures, backbone = objective._pictures, objective.backbone
    num_photos, drawings = len(pictures._pixels[0]), pictures._pixels[1]
    found = pictures._features[0][num_photos:]
    drawn, photographed = (
        backbone.encode_image(backbone.normalise_pixels(drawings), medium).features
        for medium in (Medium.DRAWING, Medium.PHOTO)
    )
    # Encoded in half precision where the machine is faster with it.
    torch.testing.assert_close(found, drawn, atol=1e-2, rtol=0)
    assert (found - photographed).abs().max() > 0.1


def test_the_converter_reads_such_a_kits_photos(folder, tmp_path):
    sources = Sources(clip=folder / "clip", pack=folder / "pack")
    trainer = TRAININGS[names.CONVERTER](sources, settings_of(tmp_path, 3))
    trainer.run()
    backbone, pack = trainer.objective.backbone, CataloguePack.open(folder / "pack")
    photos = encode_gallery(
        pack, pack.rows(split="train", domain=PHOTO), FeatureStore(backbone)
    ).features
    model = TextConverter.load(tmp_path / "trained.safetensors", backbone)
    torch.testing.assert_close(model.image_mean, photos.mean(dim=0), atol=5e-3, rtol=0)


def test_sketches_are_moved_only_where_the_kit_has_no_head_for_them():
    kit, bare, vit = (
        tiny_trunk_backbone(), tiny_trunk_backbone(with_media=False), tiny_backbone()
    )  # fmt: skip
    assert [needs_shift(b, None) for b in (kit, bare, vit)] == [False, True, True]
    assert [needs_shift(b, setting) for b in (kit, vit) for setting in (True, False)] == [
        True, False, True, False
    ]  # fmt: skip
    with torch.no_grad():
        moved, still = (
            SlerpComposer(b).encode(SKETCH).image_feature for b in (bare, kit)
        )  # fmt: skip
        composer = SlerpComposer(kit)
        assert composer._shift is None
        assert not torch.allclose(moved, still)
        assert modality_shift(kit).abs().sum() > 0


@torch.no_grad()
def test_slerp_is_chosen_with_drawings_seen_as_drawings(folder):
    backbone, pack = Backbone.load(folder / "clip"), CataloguePack.open(folder / "pack")
    queries = validation_queries(pack, pack.validation_photos(), backbone.image_size_px)
    pixels = backbone.normalise_pixels(queries.sketches)
    expected = backbone.encode_image(pixels, Medium.DRAWING).features
    for model in (None, DuetModel(backbone)):
        drawn = encode_drawn(backbone, model, queries)
        torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=0)


def test_what_one_composer_has_encoded_no_other_encodes_again(
    folder, natural, tmp_path, monkeypatch
):
    num_encoded = []
    look = FeatureStore._look

    def count(store, pictures, medium):
        num_encoded.append(len(pictures))
        return look(store, pictures, medium)

    monkeypatch.setattr(FeatureStore, "_look", count)
    sources = Sources(
        clip=folder / "clip", pack=folder / "pack", natural=natural, num_samples=8,
        features=tmp_path / "features",
    )  # fmt: skip

    def encoded_by(name, sources=sources):
        num_encoded.clear()
        trainer = TRAININGS[name](sources, settings_of(tmp_path / name, 1))
        trainer.objective.losses(0, 0)
        return sum(num_encoded)

    first = encoded_by(names.DUET)
    assert first > 0
    assert encoded_by(names.DUET) == 0
    # Photos are the same; their drawings, as they are, are sentence's alone.
    assert encoded_by(names.PROMPTED) == 0
    assert encoded_by(names.MODALITY) == 0
    assert encoded_by(names.CONVERTER, replace(sources, natural=None)) == 0
    assert 0 < encoded_by(names.SENTENCE) < first
