"""What a tower has seen once is read again, and nothing else is."""

import numpy as np
import pytest
import torch

from composer.data import feature_store
from composer.data.feature_store import FeatureStore, average_regions
from composer.medium import Medium
from composer.strategies.duet import DuetModel
from tests.composer.tiny import FAMILIES, IMAGE_PX


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


@pytest.fixture
def backbone(family):
    return family()


@pytest.fixture
def pictures():
    levels = np.random.default_rng(0).integers(0, 256, (6, IMAGE_PX, IMAGE_PX, 3))
    return levels.astype(np.uint8)


class Counter:
    """Encodes as a backbone and counts the pictures; gives up after some, if asked to."""

    def __init__(self, backbone, most=10_000):
        self.backbone, self.num_seen, self.most = backbone, 0, most

    def __call__(self, pixels, medium):
        self.num_seen += len(pixels)
        if self.num_seen > self.most:
            raise KeyboardInterrupt
        return self.backbone.encode_image(pixels, medium)


def test_pictures_are_seen_as_the_backbone_sees_them(backbone, pictures):
    for medium in Medium:
        seen = FeatureStore(backbone).see(pictures, medium)
        with torch.no_grad():
            expected = backbone.encode_image(backbone.normalise_pixels(pictures), medium)
        torch.testing.assert_close(seen.features, expected.features, atol=1e-5, rtol=0)
        layouts = backbone.layouts(expected)
        torch.testing.assert_close(seen.layouts.float(), layouts, atol=1e-3, rtol=0)
        if medium is Medium.PHOTO:
            regions = average_regions(expected.patch_features, backbone.grid, 4)
            torch.testing.assert_close(seen.regions.float(), regions, atol=1e-3, rtol=0)
        else:
            assert seen.regions is None


def test_a_second_run_reads_what_the_first_has_written(backbone, pictures, tmp_path):
    first = FeatureStore(backbone, tmp_path)
    seen = first.see(pictures[:4])
    first.flush()
    counter = Counter(backbone)
    second = FeatureStore(backbone, tmp_path, encode=counter)
    again = second.see(pictures[[3, 5, 1, 3]])
    assert counter.num_seen == 1
    for name in ("features", "layouts", "regions"):
        expected = getattr(seen, name)[[3, 1, 3]]
        assert torch.equal(getattr(again, name)[[0, 2, 3]], expected), name


def test_a_picture_is_seen_once_however_often_it_comes(backbone, pictures):
    counter = Counter(backbone)
    store = FeatureStore(backbone, encode=counter)
    seen = store.see(pictures[[0, 1, 0, 0]])
    assert counter.num_seen == 2
    assert torch.equal(seen.features[0], seen.features[3])
    store.see(pictures[:3])
    assert counter.num_seen == 3


def test_a_kill_loses_one_shard_at_most(backbone, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "_SHARD", 2)
    monkeypatch.setattr(feature_store, "_ENCODE_BATCH", 1)
    with pytest.raises(KeyboardInterrupt):
        FeatureStore(backbone, tmp_path, encode=Counter(backbone, most=5)).see(pictures)
    counter = Counter(backbone)
    FeatureStore(backbone, tmp_path, encode=counter).see(pictures)
    assert counter.num_seen == 6 - 4


def test_drawings_and_photos_are_kept_apart(backbone, pictures, tmp_path):
    store = FeatureStore(backbone, tmp_path)
    store.see(pictures, Medium.PHOTO)
    store.flush()
    counter = Counter(backbone)
    FeatureStore(backbone, tmp_path, encode=counter).see(pictures, Medium.DRAWING)
    assert counter.num_seen == 6


def test_half_precision_is_no_substitute_for_full(backbone, pictures, tmp_path):
    store = FeatureStore(backbone, tmp_path)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = store.features(pictures)
    store.flush()
    counter = Counter(backbone)
    exact = FeatureStore(backbone, tmp_path, encode=counter).features(pictures)
    assert counter.num_seen == 6
    assert not torch.equal(rounded, exact)


def test_each_tower_has_its_own(family, pictures, tmp_path):
    backbone = family()
    store = FeatureStore(backbone, tmp_path)
    store.see(pictures, Medium.DRAWING)
    store.flush()
    model = DuetModel(backbone)

    def num_seen_by(kit, tower=None):
        counter = Counter(kit)
        FeatureStore(kit, tmp_path, tower=tower, encode=counter).see(pictures, Medium.DRAWING)
        return counter.num_seen

    assert num_seen_by(backbone, model.tower) == 0  # a copy that has learnt nothing
    with torch.no_grad():
        for name, tensor in model.trainable_state().items():
            if name.startswith("layer_norms."):
                tensor.add_(0.1)
    assert num_seen_by(backbone, model.tower) == 6
    assert num_seen_by(family(seed=1)) == 6
    assert num_seen_by(backbone) == 0
