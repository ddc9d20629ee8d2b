"""PACS: four domains of seven classes, a quarter of each held out."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from composer.data.pacs import CLASSES, DOMAINS, open_pacs, pacs_parts
from composer.data.tree import DatasetError
from tests.composer.data.fake_pack import encode

ARCHIVE = Path(__file__).parents[3].parent / "shared" / "data" / "pacs_half.tar"


def write_pacs(root, leave_out=()):
    drawn = np.full((16, 16), 255, np.uint8)
    drawn[4:6, 3:12] = 0
    for number, domain in enumerate(DOMAINS):
        colour = Image.new("RGB", (8, 8), (60 * number, 0, 0))
        picture = Image.fromarray(drawn) if domain == "sketch" else colour
        for name in CLASSES:
            folder = root / "kfold" / domain / name
            if f"{domain}/{name}" not in leave_out:
                folder.mkdir(parents=True)
                (folder / "pic_001.png").write_bytes(encode(picture, "PNG"))
    return root


def test_domains_and_classes_come_from_the_path(tmp_path):
    dataset = open_pacs(write_pacs(tmp_path))
    assert dataset.classes == CLASSES
    assert Counter(photo.domain for photo in dataset.photos) == dict.fromkeys(DOMAINS, 7)
    horse = next(p for p in dataset.photos if (p.domain, p.class_name) == ("cartoon", "horse"))
    assert horse.instance == "cartoon/horse/pic_001.png"
    assert dataset.image(horse).getpixel((0, 0)) == (120, 0, 0)


def test_the_sketch_domain_is_drawn_and_unpaired(tmp_path):
    dataset = open_pacs(write_pacs(tmp_path))
    assert {(d.instance, d.number) for d in dataset.drawings} == {("", 0)}
    assert [d.class_name for d in dataset.drawings] == list(CLASSES)
    raster = dataset.sketch(dataset.drawings[0]).raster
    assert (raster == 0).sum() == 18


def test_missing_domains_classes_and_strange_ones_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no pictures in cartoon/dog, sketch/house\. Get PACS"):
        open_pacs(write_pacs(tmp_path / "a", leave_out=("cartoon/dog", "sketch/house")))
    root = write_pacs(tmp_path / "b", leave_out=[f"sketch/{name}" for name in CLASSES])
    with pytest.raises(DatasetError, match=r"cartoon/ and sketch/, but holds kfold"):
        open_pacs(root)
    root = write_pacs(tmp_path / "c")
    (root / "kfold" / "photo" / "dog").rename(root / "kfold" / "photo" / "dogs")
    with pytest.raises(DatasetError, match="no pictures in photo/dog"):
        open_pacs(root)
    (root / "kfold" / "photo" / "dog").mkdir()
    (root / "kfold" / "photo" / "dog" / "1.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match="some in photo/dogs"):
        open_pacs(root)


def test_a_damaged_picture_is_named(tmp_path):
    root = write_pacs(tmp_path)
    (root / "kfold" / "photo" / "dog" / "pic_001.png").write_bytes(b"broken")
    dataset = open_pacs(root)
    with pytest.raises(DatasetError, match=r"photo/dog/pic_001\.png of PACS cannot be used"):
        dataset.image(dataset.photos[0])


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the training archives are not on this machine")
def test_the_real_half():
    dataset = open_pacs(ARCHIVE)
    assert len(dataset.photos) == 4977
    assert len({(photo.domain, photo.class_name) for photo in dataset.photos}) == 28
    assert dataset.image(dataset.photos[0]).size == (192, 192)
    assert dataset.sketch(dataset.drawings[0]).raster.shape == (192, 192)
    parts = pacs_parts(dataset)
    train, held = ({p.path for p in part.photos} for part in (parts.train, parts.held_out))
    assert not train & held
    assert len(train | held) == 4977
    every, kept = (Counter(p.domain for p in d.photos) for d in (dataset, parts.held_out))
    assert [kept[domain] / every[domain] for domain in DOMAINS] == pytest.approx(
        [0.25] * 4, abs=0.05
    )
    assert {d.path for d in parts.held_out.drawings} <= held
