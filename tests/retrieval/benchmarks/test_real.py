"""Protocols on real drawings: right answers, and nothing but what was held out."""

from pathlib import PurePosixPath

import pytest
import torch
from PIL import Image, ImageDraw

from composer.data import heldout
from composer.data.instances import Drawing, InstanceDataset, Photo
from composer.data.tree import DatasetError, Tree
from composer.sketch import rasterise
from composer.strategies.protocol import EncodedReference
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from retrieval.benchmarks.encode_dataset import encode_gallery
from retrieval.benchmarks.real import (
    RealSet,
    chair_reranked,
    chair_row,
    class_row,
    conversion,
    open_real,
)
from retrieval.indexing.embed import EncodedImages
from tests.composer.data.shared_data import SHARED, needs_shared
from tests.composer.tiny import tiny_backbone


@pytest.fixture(scope="module")
def composer():
    return SlerpComposer(tiny_backbone(), SlerpSettings(alpha=0.0, moves_sketches=False))


@pytest.fixture
def real(tmp_path):
    """Photos that are the drawings themselves, so the bare tower finds each one first."""
    photos, drawings = [], []
    for number, (kind, domain) in enumerate(
        [("cat", "photo"), ("cat", "cartoon"), ("dog", "photo"), ("dog", "art_painting")]
    ):
        image = Image.new("RGB", (64, 64), "white")
        pen = ImageDraw.Draw(image)
        pen.ellipse((6 + 9 * number, 6, 57, 57 - 9 * number), outline="black", width=2)
        image.save(tmp_path / f"{number}.png")
        path = PurePosixPath(f"{number}.png")
        photos.append(Photo(path=path, class_name=kind, instance=str(number), domain=domain))
        drawings.append(Drawing(path=path, class_name=kind, instance=str(number), number=1))
    dataset = InstanceDataset(
        name="small", tree=Tree.open(tmp_path), photos=tuple(photos), drawings=tuple(drawings)
    )
    # Framed as a drawing is, a photo has the drawing's very feature.
    backbone = tiny_backbone()
    framed = [frame(dataset, drawing) for drawing in dataset.drawings]
    return RealSet(dataset=dataset, gallery=encode_gallery(backbone, framed))


def frame(dataset, drawing):
    return Image.fromarray(rasterise(dataset.sketch(drawing), 64)).convert("RGB")


def test_each_sketch_has_a_single_target(composer, real):
    row = chair_row(composer, real)
    assert (row["composer"], row["query"], row["split"]) == ("slerp", "sketch", "chairv2")
    assert row["num_queries"] == 4
    assert row["acc@1"] == 1.0
    swapped = part(real.gallery, [3, 2, 1, 0])
    assert chair_row(composer, RealSet(dataset=real.dataset, gallery=swapped))["acc@1"] == 0.0


def part(gallery, rows):
    return EncodedImages(features=gallery.features[rows], regions=gallery.regions[rows])


def test_layout_finds_what_the_features_cannot_tell_apart(composer, real):
    alike = EncodedImages(
        features=torch.ones_like(real.gallery.features), regions=real.gallery.regions
    )
    row = chair_reranked(composer, RealSet(dataset=real.dataset, gallery=alike))
    assert row["acc@1"] == 0.0  # without a spread of similarities the layout has no scale
    noise = torch.randn(real.gallery.features.shape, generator=torch.Generator().manual_seed(0))
    near = EncodedImages(
        features=torch.nn.functional.normalize(real.gallery.features + 0.02 * noise, dim=-1),
        regions=real.gallery.regions,
    )
    row = chair_reranked(composer, RealSet(dataset=real.dataset, gallery=near))
    assert (row["rerank"], row["num_queries"], row["acc@1"]) == (True, 4, 1.0)


def test_colours_in_words_tell_the_target(composer, real):
    """With words alone as the query's feature, the photo whose words these are comes first."""
    reader = SlerpComposer(tiny_backbone(), SlerpSettings(alpha=1.0, moves_sketches=False))
    words = ("in red", "in blue", "in green", "in black and white")
    said = torch.stack([reader.compose(EncodedReference(), text).feature for text in words])
    gallery = EncodedImages(features=said, regions=real.gallery.regions)
    coloured = RealSet(dataset=real.dataset, gallery=gallery, words=words)
    row = chair_row(reader, coloured, has_words=True)
    assert (row["query"], row["acc@1"]) == ("sketch+text", 1.0)
    assert chair_row(reader, coloured)["acc@1"] < 1.0
    row = chair_reranked(reader, coloured, has_words=True)
    assert (row["query"], row["rerank"]) == ("sketch+text", True)


def test_a_sketch_whose_photo_is_missing_is_reported(composer, real):
    dataset = real.dataset.where(lambda item: item.instance != "2" or isinstance(item, Drawing))
    with pytest.raises(DatasetError, match=r"no photo of 2\.png"):
        chair_row(composer, RealSet(dataset=dataset, gallery=part(real.gallery, [0, 1, 2])))


def test_conversion_is_asked_by_one_side_alone_too(real, monkeypatch):
    monkeypatch.setattr("retrieval.benchmarks.real.DOMAIN_WORDS", {"photo": "a photo"})
    reader = SlerpComposer(tiny_backbone(), SlerpSettings(alpha=0.5, moves_sketches=False))
    rows = {
        mode: conversion(reader, real, seed=0, mode=mode)
        for mode in ("sketch", "text", "sketch+text")
    }
    assert {mode: row["query"] for mode, row in rows.items()} == {mode: mode for mode in rows}
    assert {row["num_queries"] for row in rows.values()} == {4}
    assert len({row["mAP@10"] for row in rows.values()}) > 1


def test_photos_of_the_class_are_right(composer, real):
    row = class_row(composer, real)
    assert row["split"] == "sketchy"
    assert 0.5 <= row["mAP@all"] <= 1.0
    assert row["num_gallery"] == 4


@needs_shared
@pytest.mark.slow
def test_only_what_was_held_out_is_opened(composer):
    sets = open_real(SHARED, tiny_backbone())
    assert len(sets["chairv2"].dataset.photos) == 60
    assert all(heldout.chairv2_is_held_out(p.instance) for p in sets["chairv2"].dataset.photos)
    assert set(sets["sketchy"].dataset.classes) == heldout.SKETCHY_CLASSES
    assert all(heldout.pacs_is_held_out(str(p.path)) for p in sets["pacs"].dataset.photos)
    for held_out in sets.values():
        assert len(held_out.gallery.features) == len(held_out.dataset.photos)
    row = conversion(composer, sets["pacs"], seed=0)
    assert row["num_queries"] == 300
    assert 0 <= row["R@10"] <= row["R@50"] <= 1


def test_a_drawing_is_read_once_for_all_composers(composer, real, tmp_path):
    before = chair_row(composer, real)
    for file in tmp_path.glob("*.png"):
        file.unlink()
    assert chair_row(composer, real) == before
