"""ImageNet-R as Pic2Word asks it: renditions, real photos of the same classes, names."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from composer.data.imagenet_r import DOMAINS, open_imagenet_r
from composer.data.tree import DatasetError
from tests.composer.data.fake_pack import encode

GOLDFISH, SHARK = "n01443537", "n01484850"
README = f"""ImageNet-R(endition)
This file is about renditions.

{GOLDFISH} goldfish
{SHARK} great_white_shark
"""


def put(root, name, data=None):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data or encode(Image.new("RGB", (5, 4), (0, 0, 250)), "PNG"))


def write_renditions(root):
    put(root, "imagenet-r/README.txt", README.encode())
    for name in ("cartoon_0", "origami_12", "toy_1", "sculpture_3", "tattoo_2", "videogame_1"):
        put(root, f"imagenet-r/{GOLDFISH}/{name}.jpg")
    put(root, f"imagenet-r/{SHARK}/toy_0.jpg")
    return root


def write_real(root, classes=(GOLDFISH, SHARK, "n01440764")):
    for wnid in classes:
        put(root, f"val/{wnid}/ILSVRC2012_val_00000{wnid[-3:]}.JPEG")
    return root


@pytest.fixture
def folders(tmp_path):
    return write_renditions(tmp_path / "r"), write_real(tmp_path / "real")


def test_renditions_carry_class_and_domain(folders):
    renditions = open_imagenet_r(*folders).renditions
    assert [(p.class_name, p.domain, p.instance) for p in renditions.photos] == [
        (GOLDFISH, "cartoon", f"{GOLDFISH}/cartoon_0.jpg"),
        (GOLDFISH, "origami", f"{GOLDFISH}/origami_12.jpg"),
        (GOLDFISH, "sculpture", f"{GOLDFISH}/sculpture_3.jpg"),
        (GOLDFISH, "toy", f"{GOLDFISH}/toy_1.jpg"),
        (SHARK, "toy", f"{SHARK}/toy_0.jpg"),
    ]
    assert renditions.image(renditions.photos[0]).getpixel((0, 0)) == (0, 0, 250)


def test_real_photos_are_of_the_same_classes(folders):
    dataset = open_imagenet_r(*folders)
    assert [(p.class_name, p.instance, p.domain) for p in dataset.real.photos] == [
        (GOLDFISH, "ILSVRC2012_val_00000537", "photo"),
        (SHARK, "ILSVRC2012_val_00000850", "photo"),
    ]
    assert dataset.real.image(dataset.real.photos[1]).size == (5, 4)
    assert dataset.words == {GOLDFISH: "goldfish", SHARK: "great white shark"}


def test_other_domains_on_request(folders):
    dataset = open_imagenet_r(*folders, domains=("tattoo", "videogame"))
    assert [p.domain for p in dataset.renditions.photos] == ["tattoo", "videogame"]
    with pytest.raises(DatasetError, match="no pictures of painting, only of cartoon, origami, sc"):
        open_imagenet_r(*folders, domains=("painting", *DOMAINS))


def test_archives_do_as_well(folders, tmp_path):
    tar = shutil.make_archive(str(tmp_path / "imagenet-r"), "tar", folders[0])
    packed = shutil.make_archive(str(tmp_path / "val"), "zip", folders[1])
    dataset = open_imagenet_r(Path(tar), Path(packed))
    assert (len(dataset.renditions.photos), len(dataset.real.photos)) == (5, 2)
    assert dataset.renditions.image(dataset.renditions.photos[0]).size == (5, 4)


def test_the_list_of_classes_is_needed_and_must_agree(folders):
    readme = folders[0] / "imagenet-r" / "README.txt"
    readme.write_text(README.replace(f"{SHARK} ", ""))
    with pytest.raises(DatasetError, match=rf"differ in {SHARK}"):
        open_imagenet_r(*folders)
    readme.write_text(README + "n01494475 hammerhead\n")
    with pytest.raises(DatasetError, match="differ in n01494475"):
        open_imagenet_r(*folders)
    readme.unlink()
    with pytest.raises(DatasetError, match=r"must hold README\.txt.*hendrycks"):
        open_imagenet_r(*folders)


def test_a_class_without_real_photos_is_named(folders, tmp_path):
    with pytest.raises(DatasetError, match=rf"no real photos of {SHARK}"):
        open_imagenet_r(folders[0], write_real(tmp_path / "few", [GOLDFISH]))


def test_wrong_layouts_are_explained(folders, tmp_path):
    put(tmp_path, "flat/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(DatasetError, match=r"they are nowhere.*one folder for each class"):
        open_imagenet_r(folders[0], tmp_path / "flat")
    put(folders[1], f"train/{GOLDFISH}/n01443537_1.JPEG")
    with pytest.raises(DatasetError, match="they are in train, val"):
        open_imagenet_r(*folders)
    put(folders[0], f"imagenet-r/{GOLDFISH}/cartoon.jpg")
    with pytest.raises(DatasetError, match=r"<rendition>_<number>, got .*cartoon\.jpg"):
        open_imagenet_r(*folders)


def test_a_damaged_picture_is_named(folders):
    put(folders[0], f"imagenet-r/{GOLDFISH}/cartoon_0.jpg", b"broken")
    renditions = open_imagenet_r(*folders).renditions
    with pytest.raises(DatasetError, match=r"cartoon_0\.jpg of ImageNet-R cannot be used"):
        renditions.image(renditions.photos[0])
