"""Ablations of finished composers on a small gallery."""

import numpy as np
import pytest
import torch

from composer.images import open_image
from composer.strategies.duet import DuetComposer, DuetModel
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from retrieval.benchmarks import ablations, catalogue
from retrieval.errors import GalleryError
from retrieval.search import Gallery
from tests.composer.tiny import tiny_backbone
from tests.retrieval.queries import features_of
from tests.retrieval.tiny_world import write_world


@pytest.fixture
def world(tmp_path):
    backbone = tiny_backbone()
    folder = write_world(tmp_path, backbone)
    gallery = Gallery.open(folder / "index", backbone.gallery_hash)
    return folder, gallery, catalogue.read_protocol(gallery, folder)


def accuracies(rows, **fields):
    return [
        [row[f"acc@{k}"] for k in catalogue.KS]
        for row in rows
        if all(row[name] == value for name, value in fields.items())
    ]


def test_the_ends_of_the_balance_are_a_single_side(world):
    _, gallery, protocol = world
    composer = SlerpComposer(tiny_backbone(), SlerpSettings(alpha=0.5))
    rows = list(ablations.balance_rows("slerp", composer, protocol, gallery))
    assert {row["variant"] for row in rows} == {"0", "0.25", "0.4", "0.5", "0.6", "0.75", "1"}
    assert {row["ablation"] for row in rows} == {"balance"}
    for end, mode in (("0", "sketch"), ("1", "text"), ("0.5", "sketch+text")):
        features = features_of(catalogue.composed_queries(protocol, composer, mode))
        ranks = catalogue.ranks(protocol, gallery.matrix, features)
        alone = [row.as_json() for row in catalogue.table("slerp", mode, protocol, ranks)]
        assert accuracies(rows, variant=end) == accuracies(alone)


def test_each_skill_has_other_sketches(world):
    folder, gallery, protocol = world
    easy = catalogue.read_protocol(gallery, folder, skill=0)
    assert set(easy.sketches) == set(protocol.sketches)
    assert catalogue.read_skills(folder) == [0, 1]
    with pytest.raises(GalleryError, match="has no sketch of skill 7 of the design a"):
        catalogue.read_protocol(gallery, folder, skill=7)
    composer = SlerpComposer(tiny_backbone())
    rows = list(ablations.skill_rows("slerp", composer, {0: easy, 1: protocol}, gallery))
    assert {(row["variant"], row["query"]) for row in rows} == {
        (skill, mode) for skill in ("0", "1") for mode in ("sketch", "sketch+text")
    }


def test_the_tuned_tower_sees_the_gallery_itself(world):
    _, gallery, protocol = world
    torch.manual_seed(0)
    model = DuetModel(tiny_backbone())
    composer = DuetComposer(model)
    frozen = gallery.matrix.similarities(torch.eye(tiny_backbone().joint_dim)).T
    same = ablations.tuned_vectors(composer, gallery)
    torch.testing.assert_close(same, frozen, atol=1e-3, rtol=0)  # norms not tuned yet
    with torch.no_grad():
        for norm in (m for m in model.tower.modules() if isinstance(m, torch.nn.LayerNorm)):
            norm.weight.mul_(torch.rand_like(norm.weight) + 0.5)
    tuned = ablations.tuned_vectors(composer, gallery)
    assert float((tuned * frozen).sum(dim=1).max()) < 0.999
    last = open_image(gallery.root / gallery.items[-1].path)
    expected = model.encode_image(tiny_backbone().preprocess([last])).features[0]
    torch.testing.assert_close(tuned[-1], expected, atol=1e-5, rtol=0)
    rows = list(ablations.tower_rows("duet", composer, protocol, gallery))
    assert {row["variant"] for row in rows} == {"frozen", "tuned"}
    assert not list(
        ablations.tower_rows("slerp", SlerpComposer(tiny_backbone()), protocol, gallery)
    )


def test_the_shift_is_taken_on_and_off(world):
    _, gallery, protocol = world
    rows = list(ablations.shift_rows(tiny_backbone(), protocol, gallery, num_tokens=1))
    assert {(row["composer"], row["variant"]) for row in rows} == {
        (name, shift) for name in ("slerp", "inversion") for shift in ("on", "off")
    }
    off = SlerpComposer(tiny_backbone(), SlerpSettings(alpha=0.5, moves_sketches=False))
    features = features_of(catalogue.composed_queries(protocol, off, "sketch"))
    ranks = catalogue.ranks(protocol, gallery.matrix, features)
    assert np.all(ranks >= 1)
    expected = [row.as_json() for row in catalogue.table("slerp", "sketch", protocol, ranks)]
    unshifted = accuracies(rows, composer="slerp", variant="off", query="sketch")
    assert unshifted == accuracies(expected)
