"""A tiny world for the duet's training, made once."""

import pytest

from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from composer.data.duet_batches import encode_gallery
from composer.data.feature_store import FeatureStore
from tests.composer.data.fake_pack import write_pack
from tests.composer.tiny import write_clip


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("duet")
    write_clip(root / "kit" / "clip", image_px=128)
    write_pack(root / "pack")
    return root


@pytest.fixture(scope="package")
def backbone(folder):
    return Backbone.load(folder / "kit" / "clip")


@pytest.fixture(scope="package")
def pack(folder):
    return CataloguePack.open(folder / "pack")


@pytest.fixture(scope="package")
def gallery(pack, backbone):
    return encode_gallery(pack, pack.rows(split="train"), FeatureStore(backbone))
