"""Several data sets as one world, and P x K batches of it."""

from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from composer.data import heldout
from composer.data.augment import turn_raster
from composer.data.catalogue import CataloguePack
from composer.data.encoder_sets import Part, chair_part
from composer.data.instances import Drawing, InstanceDataset, Photo
from composer.data.tree import Tree
from composer.data.world import (
    PairBatches,
    PairTable,
    World,
    catalogue_table,
    dataset_table,
    natural_tables,
    validation_classes,
    words_of_class,
)
from composer.sketch import Sketch
from tests.composer.data.fake_pack import KINDS, write_pack
from tests.composer.data.shared_data import SHARED, needs_shared


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return CataloguePack.open(write_pack(tmp_path_factory.mktemp("pack")))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two classes; the second car is drawn but not photographed."""
    root = tmp_path_factory.mktemp("set")
    drawing = Image.new("L", (60, 60), 255)
    drawing.paste(0, (20, 20, 40, 40))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (50, 40), (200, 30, 30)).save(root / name)
        drawing.save(root / f"drawn-{name}")
    return InstanceDataset(
        name="small",
        tree=Tree.open(root),
        photos=(
            Photo(path=PurePosixPath("a.png"), class_name="car_(sedan)", instance="1"),
            Photo(path=PurePosixPath("b.png"), class_name="chair", instance="1"),
        ),
        drawings=(
            Drawing(
                path=PurePosixPath("drawn-a.png"), class_name="car_(sedan)", instance="1", number=1
            ),
            Drawing(
                path=PurePosixPath("drawn-b.png"), class_name="car_(sedan)", instance="2", number=1
            ),
        ),
    )


@pytest.fixture(scope="module")
def world(pack, dataset):
    return World([catalogue_table(pack, "train", 128), dataset_table("sketchy", dataset, 128)])


def test_tables_hold_a_split_and_what_belongs_together(pack):
    table = catalogue_table(pack, "validation", 128)
    held = [sketch for sketch in pack.sketches if sketch.split == "validation"]
    assert len(table.drawings) == len(held)
    assert set(table.drawing_instances) == set(table.photo_instances)
    assert set(table.photo_classes) == set(KINDS)
    assert not set(table.photo_instances) & set(catalogue_table(pack, "train", 128).photo_instances)


def test_classes_and_instances_have_common_numbers(world):
    assert world.classes == ("bowl", "car", "chair")
    table = np.array(world.tables)
    sketchy_rows = np.flatnonzero(table == "sketchy")
    assert [world.classes[c] for c in world.drawing_classes[sketchy_rows]] == ["car", "car"]
    first, second = world.drawing_instances[sketchy_rows]
    assert (world.photo_instances == first).sum() == 1
    assert second == -1
    # The chair of the second table is another thing than any chair of the first, of one class.
    chair = world.classes.index("chair")
    assert (world.photo_classes == chair).sum() == 4 * 4 + 1
    assert words_of_class("hot-air_balloon") == "hot-air balloon"


def test_a_batch_holds_p_classes_and_k_drawings_of_each(world):
    batches = PairBatches(
        world, num_classes=4, per_class=3, shares={"catalogue": 0.5, "sketchy": 0.5}
    )
    batch = batches.draw(5)
    assert batch.drawings.shape == (12, 128, 128, 3)
    for at in range(0, 12, 3):
        assert len(set(batch.classes[at : at + 3])) == 1
    for instance, row, kind in zip(batch.instances, batch.positives, batch.classes, strict=True):
        assert world.photo_classes[row] == kind
        assert instance in (-1, world.photo_instances[row])
    assert (batch.is_paired == (batch.instances >= 0)).all()
    again = PairBatches(
        world, num_classes=4, per_class=3, shares={"catalogue": 0.5, "sketchy": 0.5}
    )
    np.testing.assert_array_equal(again.draw(5).drawings, batch.drawings)
    assert not np.array_equal(again.draw(6).drawings, batch.drawings)


def test_a_turned_raster_stays_a_drawing_and_the_plain_one_is_itself(world):
    row = world.tables.index("sketchy")
    plain = world.ink(row, None)
    turned = world.ink(row, np.random.default_rng(0))
    assert plain.shape == turned.shape == (128, 128)
    assert not np.array_equal(plain, turned)
    assert abs(float((turned < 128).sum()) / float((plain < 128).sum()) - 1) < 0.25
    blank = np.full((32, 32), 255, dtype=np.uint8)
    np.testing.assert_array_equal(turn_raster(blank, np.random.default_rng(1)), blank)


def test_a_drawn_class_needs_a_photo(pack):
    table = catalogue_table(pack, "train", 128)
    strange = PairTable(
        name="x",
        photos=table.photos[:1],
        photo_classes=("chair",),
        photo_instances=("x",),
        drawings=(Sketch.from_strokes([[[0, 0], [1, 1]]]),),
        drawing_classes=("unicorn",),
        drawing_instances=("",),
    )
    with pytest.raises(ValueError, match="no photo of a class that is drawn: unicorn"):
        World([table, strange])


@needs_shared
@pytest.mark.slow
def test_nothing_held_out_is_trained_on_or_chooses():
    parts = natural_tables(SHARED, 32)
    held = {words_of_class(name) for name in heldout.SKETCHY_CLASSES}
    for table in (*parts.train, *parts.validation):
        assert not held & {*table.photo_classes, *table.drawing_classes}
    learnt, chairs = parts.train
    (chosen,) = parts.validation
    assert len(set(chosen.photo_classes)) == 8
    assert len(set(learnt.photo_classes)) == 104 - 20 - 8
    assert not set(learnt.photo_classes) & set(chosen.photo_classes)
    # Chairs are looked for among all, but those that choose are not trained on.
    among = {name.rsplit("/", 1)[1] for name in parts.chairs.photo_instances}
    assert len(among) == 240
    assert not any(heldout.chairv2_is_held_out(stem) for stem in among)
    assert set(chairs.drawing_instances) <= set(chairs.photo_instances)
    choosing = set(parts.chairs.drawing_instances)
    assert len(set(chairs.photo_instances)) == 240 - len(choosing)
    assert not choosing & set(chairs.photo_instances)
    assert {chair_part(name.rsplit("/", 1)[1]) for name in choosing} == {Part.VALIDATION}


def test_validation_classes_do_not_depend_on_the_order():
    names = [f"class{i}" for i in range(30)]
    assert validation_classes(names) == validation_classes(names[::-1])
    assert len(validation_classes(names)) == 8
