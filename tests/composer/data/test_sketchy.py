"""Sketchy: layout, extension, splits, and the photos and drawings themselves."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from composer.data import heldout, sketchy
from composer.data.sketchy import open_sketchy, split_100_25, split_104_21, split_heldout
from composer.data.tree import DatasetError
from tests.composer.data.fake_pack import encode

ARCHIVE = Path(__file__).parents[3].parent / "shared" / "data" / "sketchy_subset.tar"
STRETCHED = "tx_000000000000"


def photo_bytes():
    return encode(Image.new("RGB", (12, 8), (200, 30, 30)), "PNG")


def sketch_bytes():
    paper = Image.new("L", (24, 24), 255)
    ImageDraw.Draw(paper).rectangle((10, 10, 15, 12), fill=0)
    return encode(paper, "PNG")


def put(root, name, data):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def write_sketchy(root, classes=("cat", "bat"), *, photos=("n01_1", "n01_22"), numbers=(1, 2)):
    photo, sketch = photo_bytes(), sketch_bytes()
    for name in classes:
        for stem in photos:
            put(root, f"256x256/photo/{STRETCHED}/{name}/{stem}.jpg", photo)
            for number in numbers:
                put(root, f"256x256/sketch/{STRETCHED}/{name}/{stem}-{number}.png", sketch)
    return root


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A photo and a sketch of each of the 125 classes."""
    classes = (*sketchy.SEEN_104, *sketchy.UNSEEN_21)
    return write_sketchy(
        tmp_path_factory.mktemp("sketchy"), classes, photos=("n01_1",), numbers=(1,)
    )


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_photos_and_sketches_of_the_official_layout(tmp_path, kind):
    path = write_sketchy(tmp_path / "made")
    if kind != "folder":
        path = Path(shutil.make_archive(str(tmp_path / "packed"), kind, path))
    dataset = open_sketchy(path)
    assert dataset.classes == ("bat", "cat")
    assert [(p.class_name, p.instance, p.domain) for p in dataset.photos] == [
        ("bat", "n01_1", "photo"), ("bat", "n01_22", "photo"),
        ("cat", "n01_1", "photo"), ("cat", "n01_22", "photo"),
    ]  # fmt: skip
    assert [(d.class_name, d.instance, d.number) for d in dataset.drawings[4:]] == [
        ("cat", "n01_1", 1), ("cat", "n01_1", 2), ("cat", "n01_22", 1), ("cat", "n01_22", 2),
    ]  # fmt: skip
    image = dataset.image(dataset.photos[0])
    assert (image.mode, image.size, image.getpixel((3, 3))) == ("RGB", (12, 8), (200, 30, 30))
    raster = dataset.sketch(dataset.drawings[0]).raster
    assert raster.shape == (24, 24)
    assert (raster[10:13, 10:16] == 0).all()
    assert (raster == 0).sum() == 18


def test_a_part_of_classes_or_of_instances(tmp_path):
    dataset = open_sketchy(write_sketchy(tmp_path))
    cats = dataset.select(classes=["cat"])
    assert cats.classes == ("cat",)
    assert (len(cats.photos), len(cats.drawings)) == (2, 4)
    first = dataset.select(instance=lambda stem: stem == "n01_1")
    assert (len(first.photos), len(first.drawings)) == (2, 4)
    assert len(dataset.select(classes=["cat"], instance=lambda stem: stem == "n01_1").photos) == 1
    with pytest.raises(DatasetError, match="Sketchy has no class cow, dog in"):
        dataset.select(classes=["cat", "dog", "cow"])
    with pytest.raises(DatasetError, match="neither photos nor drawings"):
        dataset.select(instance=lambda stem: False)


def test_the_extension_adds_what_the_originals_lack(tmp_path):
    root = write_sketchy(tmp_path)
    for name in ("cat/ext_1", "cat/n01_1", "bat/ext_9"):
        put(root, f"EXTEND_image_sketchy/{name}.jpg", photo_bytes())
    dataset = open_sketchy(root)
    added = [photo for photo in dataset.photos if "EXTEND_image_sketchy" in photo.path.parts]
    assert [(p.class_name, p.instance) for p in added] == [("bat", "ext_9"), ("cat", "ext_1")]
    assert dataset.image(added[0]).size == (12, 8)
    assert len(open_sketchy(root, with_extension=False).photos) == 4
    put(root, "EXTEND_image_sketchy/cow/ext_1.jpg", photo_bytes())
    with pytest.raises(DatasetError, match="has classes Sketchy has not: cow"):
        open_sketchy(root)


def test_another_transform_must_be_there(tmp_path):
    root = write_sketchy(tmp_path)
    with pytest.raises(DatasetError, match=r"tx_000100000000/<class>/, but .*photo has tx_0000000"):
        open_sketchy(root, transform=sketchy.CENTRED)
    put(root, f"256x256/photo/{sketchy.CENTRED}/cat/n01_1.jpg", photo_bytes())
    put(root, f"256x256/sketch/{sketchy.CENTRED}/cat/n01_1-3.png", sketch_bytes())
    dataset = open_sketchy(root, transform=sketchy.CENTRED)
    assert (len(dataset.photos), dataset.drawings[0].number) == (1, 3)


def test_wrong_layouts_are_explained(tmp_path):
    put(tmp_path, "pictures/cat/1.jpg", photo_bytes())
    with pytest.raises(DatasetError, match=r"photo/ and sketch/, but holds pictures.*Georgia Tech"):
        open_sketchy(tmp_path)
    root = write_sketchy(tmp_path / "b")
    put(root, f"256x256/photo/{STRETCHED}/loose.jpg", photo_bytes())
    with pytest.raises(DatasetError, match=r"loose\.jpg of b must lie in"):
        open_sketchy(root)
    root = write_sketchy(tmp_path / "c")
    put(root, f"256x256/sketch/{STRETCHED}/cat/n01_1.png", sketch_bytes())
    with pytest.raises(DatasetError, match=r"<photo>-<number>\.png, got .*n01_1\.png"):
        open_sketchy(root)


def test_a_class_without_photos_is_named(tmp_path):
    root = write_sketchy(tmp_path)
    put(root, f"256x256/sketch/{STRETCHED}/door/n02_1-1.png", sketch_bytes())
    with pytest.raises(DatasetError, match="needs photos; door has none"):
        open_sketchy(root)


def test_damaged_pictures_are_named(tmp_path):
    root = write_sketchy(tmp_path)
    put(root, f"256x256/photo/{STRETCHED}/cat/n01_1.jpg", photo_bytes()[:40])
    put(root, f"256x256/sketch/{STRETCHED}/cat/n01_1-1.png", photo_bytes())
    dataset = open_sketchy(root).select(classes=["cat"])
    with pytest.raises(DatasetError, match=r"cat/n01_1\.jpg of Sketchy cannot be used.*damaged"):
        dataset.image(dataset.photos[0])
    with pytest.raises(DatasetError, match=r"n01_1-1\.png of Sketchy cannot be used.*blank"):
        dataset.sketch(dataset.drawings[0])
    (root / dataset.photos[1].path).unlink()
    with pytest.raises(DatasetError, match=r"has no file .*n01_22\.jpg"):
        dataset.image(dataset.photos[1])


def test_class_lists_are_those_of_the_literature(complete):
    dataset = open_sketchy(complete)
    assert len(dataset.classes) == 125
    for split, sizes in ((split_104_21, (104, 21)), (split_100_25, (100, 25))):
        train, test = split(dataset)
        assert (len(train), len(test)) == sizes
        assert sorted((*train, *test)) == list(dataset.classes)
    both = set(split_104_21(dataset).test) & set(split_100_25(dataset).test)
    assert both == {"scissors", "tree", "wheelchair", "windmill"}
    assert {"bat", "window", "songbird"} <= set(split_104_21(dataset).test)
    assert {"airplane", "wine_bottle", "teddy_bear"} <= set(split_100_25(dataset).test)


def test_our_held_out_classes_stay_among_the_seen(complete):
    train, test = split_heldout(open_sketchy(complete))
    assert (len(train), len(test)) == (84, 20)
    assert set(test) == heldout.SKETCHY_CLASSES
    assert not {*train, *test} & set(sketchy.UNSEEN_21)
    assert not set(train) & set(test)


def test_splits_name_the_classes_they_miss(complete):
    dataset = open_sketchy(complete)
    with pytest.raises(DatasetError, match=r"photos of 125 classes, but .* none of bat, window"):
        split_104_21(dataset.select(classes=set(dataset.classes) - {"bat", "window"}))
    with pytest.raises(DatasetError, match="none of owl"):
        split_heldout(dataset.select(classes=set(dataset.classes) - {"owl"}))
    undrawn = dataset.where(lambda item: item.path.parts[1] == "photo" or item.class_name != "cup")
    with pytest.raises(DatasetError, match=r"sketches of 125 classes, but .* none of cup"):
        split_100_25(undrawn)


@pytest.mark.skipif(not ARCHIVE.exists(), reason="the training archives are not on this machine")
def test_the_real_subset():
    dataset = open_sketchy(ARCHIVE)
    assert (len(dataset.photos), len(dataset.drawings)) == (104 * 25, 104 * 25)
    assert dataset.classes == tuple(sorted(sketchy.SEEN_104))
    assert dataset.image(dataset.photos[0]).size == (224, 224)
    raster = dataset.sketch(dataset.drawings[0]).raster
    assert raster is not None
    assert 0.002 < np.mean(raster < 128) < 0.3
    drawn = {(drawing.class_name, drawing.instance) for drawing in dataset.drawings}
    pictured = {(photo.class_name, photo.instance) for photo in dataset.photos}
    assert 460 <= len(drawn & pictured) <= 500
    split = split_heldout(dataset)
    train, test = (dataset.select(classes=names) for names in split)
    assert (len(train.classes), len(test.classes)) == (84, 20)
    assert (len(train.photos), len(test.photos)) == (84 * 25, 20 * 25)
    assert not {p.path for p in train.photos} & {p.path for p in test.photos}
    with pytest.raises(DatasetError, match="none of bat, cabin, cow, dolphin, door and 16 more"):
        split_104_21(dataset)
