"""CIRR: captions, gallery and pictures of a split."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from composer.data.cirr import CirrQuery, open_cirr
from composer.data.tree import DatasetError
from tests.composer.data.fake_pack import encode

NAMES = [f"dev-{n}-0-img1" for n in (244, 63, 430, 1028, 7, 8, 9)]


def row(number, reference, target, **changes):
    made = {
        "pairid": number,
        "reference": reference,
        "target_hard": target,
        "target_soft": {target: 1.0},
        "caption": "show three bottles",
        "img_set": {"id": 36, "members": NAMES[:6], "reference_rank": 2, "target_rank": 3},
    }
    return {**made, **changes}


ROWS = [row(12060, NAMES[0], NAMES[3]), row(12062, NAMES[1], NAMES[2], caption="Fewer towels")]


def write_captions(root, rows, split="val"):
    (root / "cirr" / "captions").mkdir(parents=True, exist_ok=True)
    (root / "cirr" / "captions" / f"cap.rc2.{split}.json").write_text(json.dumps(rows))
    return root


def write_split(root, names=NAMES, split="val", folder="dev"):
    listed = {name: f"./{folder}/{name}.png" for name in names}
    (root / "cirr" / "image_splits").mkdir(parents=True, exist_ok=True)
    (root / "cirr" / "image_splits" / f"split.rc2.{split}.json").write_text(json.dumps(listed))
    return root


def write_images(folder, names=NAMES):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        colour = (20 * number, 0, 9)
        (folder / f"{name}.png").write_bytes(encode(Image.new("RGB", (4, 3), colour), "PNG"))


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "made"
    write_split(write_captions(made, ROWS))
    write_images(made / "cirr" / "img_raw" / "dev")
    return made


def test_queries_and_gallery_of_a_split(root):
    split = open_cirr(root)
    assert split.queries[1] == CirrQuery(
        pair_id=12062,
        reference="dev-63-0-img1",
        target="dev-430-0-img1",
        text="Fewer towels",
        members=tuple(NAMES[:6]),
    )
    assert [query.pair_id for query in split.queries] == [12060, 12062]
    assert split.gallery == tuple(NAMES)
    assert split.image(NAMES[3]).getpixel((0, 0)) == (60, 0, 9)
    with pytest.raises(DatasetError, match="split val has no picture 'dev-1'"):
        split.image("dev-1")


def test_archives_and_pictures_elsewhere(root, tmp_path):
    packed = Path(shutil.make_archive(str(tmp_path / "cirr"), "zip", root))
    assert open_cirr(packed).image(NAMES[1]).getpixel((0, 0)) == (20, 0, 9)
    write_images(tmp_path / "nlvr2" / "images" / "dev")
    shutil.rmtree(root / "cirr" / "img_raw")
    with pytest.raises(DatasetError, match=r"must hold dev/, but holds captions.*NLVR2"):
        open_cirr(root)
    apart = open_cirr(root, images=tmp_path / "nlvr2")
    assert apart.image(NAMES[1]).getpixel((0, 0)) == (20, 0, 9)
    shutil.copytree(tmp_path / "nlvr2" / "images" / "dev", root / "cirr" / "dev")
    assert open_cirr(root).image(NAMES[2]).getpixel((0, 0)) == (40, 0, 9)


def test_features_beside_the_pictures_do_not_confuse(root):
    (root / "cirr" / "img_feat_res152" / "dev").mkdir(parents=True)
    (root / "cirr" / "img_feat_res152" / "dev" / f"{NAMES[0]}.pkl").write_bytes(b"x")
    assert open_cirr(root).image(NAMES[0]).size == (4, 3)


def test_the_test_split_keeps_its_answers(root):
    hidden = [{k: v for k, v in made.items() if "target" not in k} for made in ROWS]
    write_split(write_captions(root, hidden, "test1"), split="test1")
    assert [query.target for query in open_cirr(root, "test1").queries] == ["", ""]
    write_captions(root, hidden, "val")
    with pytest.raises(
        DatasetError, match=r"Query 12060 of .*must have pairid, reference, target_h"
    ):
        open_cirr(root)


def test_missing_files_are_named(root):
    with pytest.raises(DatasetError, match=r"splits train, val, test1, got 'test'"):
        open_cirr(root, "test")
    with pytest.raises(DatasetError, match=r"hold image_splits/split\.rc2\.train\.json.*cirr_data"):
        open_cirr(root, "train")
    (root / "cirr" / "captions" / "cap.rc2.val.json").rename(root / "cirr" / "captions" / "x.json")
    with pytest.raises(DatasetError, match=r"must hold captions/cap\.rc2\.val\.json"):
        open_cirr(root)
    shutil.rmtree(root / "cirr" / "captions")
    with pytest.raises(DatasetError, match="must hold captions/ and image_splits/"):
        open_cirr(root)


def test_missing_and_damaged_pictures_are_named(root):
    (root / "cirr" / "img_raw" / "dev" / f"{NAMES[0]}.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=rf"{NAMES[0]}\.png of CIRR cannot be used"):
        open_cirr(root).image(NAMES[0])
    (root / "cirr" / "img_raw" / "dev" / f"{NAMES[6]}.png").unlink()
    with pytest.raises(DatasetError, match=rf"lacks 1 of 7 pictures: .*{NAMES[6]}\.png"):
        open_cirr(root)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "must be a list of queries"),
        ({}, "must be a list of queries"),
        ([5], r"Query \? of .* must have pairid"),
        ([row("x", NAMES[0], NAMES[1])], "Query x of .* must have pairid"),
        ([row(1, NAMES[0], NAMES[1], img_set={})], "Query 1 of .* must have pairid"),
        ([row(1, "dev-0", NAMES[1])], "Query 1 of .* does not list: dev-0"),
        ([row(1, NAMES[0], "dev-0")], "does not list: dev-0"),
        ([row(1, NAMES[0], NAMES[1], img_set={"members": ["dev-9"]})], "does not list: dev-9"),
    ],
)
def test_captions_that_do_not_fit_are_refused(root, rows, why):
    write_captions(root, rows)
    with pytest.raises(DatasetError, match=why):
        open_cirr(root)


def test_split_files_that_do_not_fit_are_refused(root):
    file = root / "cirr" / "image_splits" / "split.rc2.val.json"
    file.write_text("[1]")
    with pytest.raises(DatasetError, match="must map names of pictures"):
        open_cirr(root)
    file.write_text("{")
    with pytest.raises(DatasetError, match="is no valid JSON"):
        open_cirr(root)
    file.write_text(json.dumps({NAMES[0]: "../../x.png"}))
    with pytest.raises(DatasetError, match="must list paths below the pictures"):
        open_cirr(root)
