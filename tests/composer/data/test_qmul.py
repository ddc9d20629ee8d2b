"""ShoeV2 and ChairV2: both layouts, strokes and rasters, pairing, our held-out part."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from composer.data import heldout
from composer.data.instances import sketch_from_pen_json
from composer.data.qmul import chairv2_parts, open_chairv2, open_shoev2
from composer.data.tree import DatasetError
from composer.sketch import rasterise
from tests.composer.data.fake_pack import encode

DATA = Path(__file__).parents[3].parent / "shared" / "data"
PEN = {
    "size": 256,
    "points_xy_penup": [[64, 64, 0], [128, 64, 0], [128, 192, 1], [32, 32, 0], [0, 256, 1]],
}
NO_ARCHIVES = "the training archives are not on this machine"


def put(root, name, data):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def photo_bytes():
    return encode(Image.new("RGB", (6, 6), (10, 200, 10)), "PNG")


def raster_bytes():
    paper = Image.new("L", (20, 20), 255)
    ImageDraw.Draw(paper).line((4, 10, 15, 10), fill=0)
    return encode(paper, "PNG")


def write_strokes(root):
    for stem in ("0014_v1", "0015"):
        put(root, f"chairv2/photo/{stem}.jpg", photo_bytes())
    for file in ("train/0014_v1_1", "train/0014_v1_12", "test/0015_1"):
        put(root, f"chairv2/sketch/{file}.json", json.dumps(PEN).encode())
    return root


def write_pairs(root):
    for part, stem in (("train", "11_a"), ("test", "12"), ("test", "13")):
        put(root, f"ShoeV2/{part}B/{stem}.png", photo_bytes())
    for file in ("trainA/11_a_1", "trainA/11_a_2", "testA/12_1"):
        put(root, f"ShoeV2/{file}.png", raster_bytes())
    return root


def test_sketches_belong_to_the_photo_they_are_named_after(tmp_path):
    dataset = open_chairv2(write_strokes(tmp_path))
    assert [(p.instance, p.class_name) for p in dataset.photos] == [
        ("0014_v1", "chair"), ("0015", "chair"),
    ]  # fmt: skip
    pairs = {(d.instance, d.number) for d in dataset.drawings}
    assert pairs == {("0014_v1", 1), ("0014_v1", 12), ("0015", 1)}
    assert dataset.image(dataset.photos[0]).getpixel((0, 0)) == (10, 200, 10)


def test_strokes_end_where_the_pen_is_lifted(tmp_path):
    dataset = open_chairv2(write_strokes(tmp_path))
    strokes = dataset.sketch(dataset.drawings[0]).strokes
    assert len(strokes) == 2
    np.testing.assert_allclose(strokes[0], [[0.25, 0.25], [0.5, 0.25], [0.5, 0.75]])
    np.testing.assert_allclose(strokes[1], [[0.125, 0.125], [0.0, 1.0]])


def test_a_last_stroke_without_a_lift_counts():
    open_end = {"points_xy_penup": [[0, 0, 1], [64, 0, 0], [64, 64, 0]]}
    strokes = sketch_from_pen_json(json.dumps(open_end).encode()).strokes
    assert strokes is not None
    assert [stroke.tolist() for stroke in strokes] == [[[0, 0]], [[0.25, 0], [0.25, 0.25]]]


def test_splits_of_the_first_layout(tmp_path):
    root = write_strokes(tmp_path)
    train, test = open_chairv2(root, split="train"), open_chairv2(root, split="test")
    assert [p.instance for p in train.photos] == ["0014_v1"]
    assert [p.instance for p in test.photos] == ["0015"]
    assert (len(train.drawings), len(test.drawings)) == (2, 1)
    with pytest.raises(DatasetError, match=r"no sketches of split 'val'; .* are test, train.*Sket"):
        open_chairv2(root, split="val")


def test_splits_of_the_second_layout(tmp_path):
    root = write_pairs(tmp_path)
    train, test = open_shoev2(root, split="train"), open_shoev2(root, split="test")
    assert [p.instance for p in train.photos] == ["11_a"]
    assert [(d.instance, d.number) for d in train.drawings] == [("11_a", 1), ("11_a", 2)]
    # A photo nobody drew is still searched.
    assert [p.instance for p in test.photos] == ["12", "13"]
    assert len(test.drawings) == 1
    assert len(open_shoev2(root).photos) == 3
    raster = train.sketch(train.drawings[0]).raster
    assert (raster[10, 4:16] == 0).all()
    assert (raster == 0).sum() == 12


def test_strokes_are_preferred_to_their_raster(tmp_path):
    root = write_strokes(tmp_path)
    put(root, "chairv2/sketch/train/0014_v1_1.png", raster_bytes())
    put(root, "chairv2/sketch/train/0014_v1_3.png", raster_bytes())
    drawings = open_chairv2(root, split="train").drawings
    assert [d.path.name for d in drawings] == [
        "0014_v1_1.json", "0014_v1_12.json", "0014_v1_3.png",
    ]  # fmt: skip
    put(root, "chairv2/sketch/0015_1.png", raster_bytes())
    assert [d.path.name for d in open_chairv2(root).drawings if d.instance == "0015"] == [
        "0015_1.json"
    ]


def test_rasters_beside_photos_without_a_split(tmp_path):
    put(tmp_path, "photo/7_b.png", photo_bytes())
    put(tmp_path, "sketch/7_b_1.png", raster_bytes())
    dataset = open_shoev2(tmp_path)
    assert (dataset.drawings[0].instance, dataset.drawings[0].number) == ("7_b", 1)
    with pytest.raises(DatasetError, match="its folders name no split"):
        open_shoev2(tmp_path, split="train")


def test_wrong_layouts_are_explained(tmp_path):
    put(tmp_path, "images/1.png", photo_bytes())
    with pytest.raises(DatasetError, match=r"must hold photo/, but holds images.*SketchX"):
        open_shoev2(tmp_path)
    put(tmp_path, "trainB/1.png", photo_bytes())
    with pytest.raises(DatasetError, match="must hold trainA/ and trainB/"):
        open_shoev2(tmp_path)


def test_sketches_without_photo_or_number_are_named(tmp_path):
    root = write_strokes(tmp_path)
    put(root, "chairv2/sketch/train/0099_1.json", b"{}")
    with pytest.raises(DatasetError, match="sketches of photos that are missing: 0099"):
        open_chairv2(root)
    put(root, "chairv2/sketch/train/0099_x.json", b"{}")
    with pytest.raises(DatasetError, match=r"<photo>_<number>, got sketch/train/0099_x\.json"):
        open_chairv2(root)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "must be JSON"),
        (b"[1]", "must be JSON"),
        (b'{"strokes": []}', "must be JSON"),
        (b'{"points_xy_penup": [[1, 2]]}', "rows of x, y and pen_up"),
        (b'{"points_xy_penup": []}', "rows of x, y and pen_up"),
        (b'{"points_xy_penup": [[1, 2, 0], [3]]}', "must be JSON"),
        (b'{"size": 0, "points_xy_penup": [[1, 2, 0]]}', "box of a size"),
        (b'{"points_xy_penup": [[1, 300, 0]]}', "inside the canvas"),
    ],
)
def test_damaged_strokes_name_the_file(tmp_path, data, why):
    root = write_strokes(tmp_path)
    put(root, "chairv2/sketch/test/0015_1.json", data)
    dataset = open_chairv2(root, split="test")
    with pytest.raises(DatasetError, match=rf"test/0015_1\.json of ChairV2 cannot be used.*{why}"):
        dataset.sketch(dataset.drawings[0])


@pytest.mark.skipif(not DATA.exists(), reason=NO_ARCHIVES)
def test_the_real_chairs():
    dataset = open_chairv2(DATA / "chairv2_train.tar", split="train")
    assert (len(dataset.photos), len(dataset.drawings)) == (300, 952)
    assert dataset.image(dataset.photos[0]).mode == "RGB"
    sketch = dataset.sketch(dataset.drawings[0])
    assert 0.01 < np.mean(rasterise(sketch, 64) < 128) < 0.5
    parts = chairv2_parts(dataset)
    assert (len(parts.train.photos), len(parts.held_out.photos)) == (240, 60)
    assert len(parts.train.drawings) + len(parts.held_out.drawings) == 952
    for items in ("photos", "drawings"):
        train, held = (
            {item.instance for item in getattr(part, items)}
            for part in (parts.train, parts.held_out)
        )
        assert not train & held
        assert all(map(heldout.chairv2_is_held_out, held))


@pytest.mark.skipif(not DATA.exists(), reason=NO_ARCHIVES)
def test_the_real_shoes_have_no_sketches():
    dataset = open_shoev2(DATA / "shoev2_photos.tar")
    assert (len(dataset.photos), dataset.drawings) == (2000, ())
    assert dataset.image(dataset.photos[0]).size == (192, 192)
