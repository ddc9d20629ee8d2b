import numpy as np
import pyarrow.parquet as pq
import pytest

from composer.data.augment import StrokeAugmentation, draw_augmented
from composer.data.catalogue import CataloguePack, PackError, picture_tables
from composer.data.pictures import resize_squares
from composer.data.wording import (
    Wording,
    attribute_wording,
    item_facts,
    sample_domain_wording,
    sample_wording,
)
from composer.sketch import Sketch, rasterise
from tests.composer.data.fake_pack import COLOURS, write_pack


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def pack(folder):
    return CataloguePack.open(folder)


def test_all_shards_are_read(pack):
    assert len(pack.items) == 2 * (4 * 8 + 2 * 4)
    assert len(pack.sketches) == 2 * 6 * 3
    assert len(pack.rows(split="train", domain="photo")) == 32
    assert len(pack.rows(split="train")) == 64
    assert len(pack.rows(split="validation")) == 16


def test_pictures_are_decoded_where_asked_and_once(pack):
    rows = pack.rows(split="validation")[:3]
    pixels = pack.pixels(rows)
    assert pixels.shape == (3, 128, 128, 3)
    for picture, row in zip(pixels, rows, strict=True):
        expected = COLOURS[pack.items[row].part_colours[0]]
        np.testing.assert_allclose(picture[64, 64], expected, atol=30)
    assert pack._is_decoded.sum() == 3
    np.testing.assert_array_equal(pack.pixels(rows[::-1]), pixels[::-1])


@pytest.mark.parametrize("size_px", [64, 224])
def test_pictures_come_at_the_size_that_a_backbone_needs(pack, size_px):
    rows = pack.rows(split="validation")[:2]
    plain, resized = pack.pixels(rows), pack.pixels(rows, size_px)
    assert resized.shape == (2, size_px, size_px, 3)
    assert resized.dtype == np.uint8
    middle = size_px // 2
    np.testing.assert_allclose(resized[:, middle, middle], plain[:, 64, 64], atol=8)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return CataloguePack.open(write_pack(tmp_path_factory.mktemp("large"), image_px=256))


def test_packs_of_any_size_give_the_size_that_is_asked_for(pack, large):
    rows = pack.rows(split="train")[:6]
    assert (pack.image_px, large.image_px) == (128, 256)
    for size_px in (64, 128, 224, 256):
        small, fine = pack.pixels(rows, size_px), large.pixels(rows, size_px)
        assert small.shape == fine.shape == (6, size_px, size_px, 3)
        assert np.abs(small.astype(int) - fine).mean() < 6
    for size_px in (128, 256):
        assert large.parts(0, size_px).shape == (size_px, size_px)
    assert (large.parts(0) != pack.parts(0)).mean() < 0.02
    assert set(np.unique(large.parts(0))) == {0, 1}


def test_large_pictures_keep_their_detail_where_it_is_asked_for(large):
    row = large.rows(split="train")[:1]
    fine = large.pixels(row, 256).astype(int)
    blurred = resize_squares(large.pixels(row), 256).astype(int)
    stored = large._decode("image", int(row[0]), "RGB")
    np.testing.assert_array_equal(fine[0], stored)
    assert np.abs(np.diff(fine, axis=2)).max() > np.abs(np.diff(blurred, axis=2)).max()


def test_part_maps_and_strokes(pack):
    assert set(np.unique(pack.parts(0))) == {0, 1}
    strokes = pack.sketches[0].sketch.strokes
    assert strokes is not None
    assert strokes[0].max() <= 1


def test_tables_for_contrastive_training(pack):
    photos, domains, sketches = picture_tables(pack)
    assert [t.name for t in (photos, domains, sketches)] == [
        "catalogue_photos", "catalogue_domains", "catalogue_sketches",
    ]  # fmt: skip
    assert (len(photos), len(domains), len(sketches)) == (32, 32, 24)
    assert photos.captions[0][0] == "a photo of a chair, with a red oak body"
    assert "a freehand drawing of a chair with corners" in sketches.captions[0]
    assert not any("red" in caption for caption in sketches.captions[0])


def test_missing_and_foreign_packs_are_refused(folder, tmp_path):
    with pytest.raises(PackError, match="has no images"):
        CataloguePack.open(tmp_path)
    table = pq.read_table(folder / "images-000.parquet")
    pq.write_table(table.drop_columns(["caption"]), tmp_path / "images-000.parquet")
    with pytest.raises(PackError, match="another version"):
        CataloguePack.open(tmp_path)


def test_damaged_pictures_name_the_row(folder, tmp_path):
    rows = pq.read_table(folder / "images-000.parquet").to_pylist()
    rows[0]["image"] = b"broken"
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "images-000.parquet")
    pq.write_table(pq.read_table(folder / "sketches-000.parquet"), tmp_path / "sketches-0.parquet")
    with pytest.raises(PackError, match="image of chair-train-0-photo-0 cannot be decoded"):
        CataloguePack.open(tmp_path).pixels(np.array([0]))


def test_words_are_true_of_what_they_are_said_of_and_of_no_other_colourway(pack):
    rows = pack.rows(split="train", domain="photo")[:4]
    items = [pack.items[row] for row in rows]
    facts = [item_facts(item) for item in items]

    def true_rows(wording):
        return [row for row in range(4) if wording.facts <= facts[row]]

    assert [true_rows(attribute_wording(item)) for item in items] == [[0], [1], [2], [3]]
    assert true_rows(Wording(text="", facts=frozenset())) == [0, 1, 2, 3]
    rng = np.random.default_rng(0)
    for _ in range(200):
        wording = sample_wording(items[1], rng)
        result = true_rows(wording)
        assert 1 in result
        says_colour = "blue" in wording.text
        assert result == ([1] if says_colour else [0, 1, 2, 3]), wording


def test_words_for_media_name_them(pack):
    row = pack.rows(split="train", domain="watercolour")[0]
    rng = np.random.default_rng(0)
    texts = [sample_domain_wording(pack.items[row], rng) for _ in range(30)]
    assert all("watercolour" in wording.text for wording in texts)
    assert {bool(wording.facts) for wording in texts} == {True, False}
    with pytest.raises(ValueError, match="no words for the domain 'photo'"):
        sample_domain_wording(pack.items[0], rng)


def test_augmentation_varies_but_keeps_the_drawing(pack):
    sketch = pack.sketches[0].sketch
    plain = rasterise(sketch, 64).astype(float)
    drawn = [draw_augmented(sketch, 64, np.random.default_rng(i)) for i in range(6)]
    assert len({d.tobytes() for d in drawn}) == 6
    assert all(np.corrcoef(d.ravel(), plain.ravel())[0, 1] > 0.2 for d in drawn)
    again = draw_augmented(sketch, 64, np.random.default_rng(0))
    np.testing.assert_array_equal(again, drawn[0])


def test_augmentation_switched_off_is_the_plain_drawing(pack):
    nothing = StrokeAugmentation(
        rotation_deg=0.0, stretch=0.0, shear=0.0, jitter=0.0, drop=0.0, line_fraction=(0.018, 0.018)
    )
    sketch = pack.sketches[0].sketch
    drawn = draw_augmented(sketch, 64, np.random.default_rng(0), nothing)
    assert (np.abs(drawn.astype(int) - rasterise(sketch, 64)) > 64).mean() < 0.01
    with pytest.raises(ValueError, match="Only sketches with strokes"):
        draw_augmented(Sketch(raster=np.zeros((4, 4), np.uint8)), 64, np.random.default_rng(0))
