import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.catalogue import record, words
from assets.catalogue.lighting import STUDIO_NUMBERS
from composer.data.catalogue import CataloguePack, PackError
from composer.data.views import NUM_STUDIO, STUDIO_AZIMUTHS, VIEW_COLUMNS, mirrored_words
from tests.composer.data.fake_pack import write_pack


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack"), num_train=1, num_held=1, has_views=True)


@pytest.fixture(scope="module")
def pack(folder):
    return CataloguePack.open(folder)


def test_views_are_read(pack):
    view = pack.view(5)
    assert pack.has_views
    assert (view.azimuth, view.elevation, view.margin) == pytest.approx((-30, 20, 0.2))
    assert len(view.studio) == NUM_STUDIO
    assert view.studio[3] == 40
    assert view.phrase == "from the left"
    assert view.framing == "with space around it"
    assert view.captions[0].startswith(pack.items[5].caption)
    assert view.drawing.skill == 2
    assert len(view.drawing.strokes) == 2


def test_packs_without_views_say_so(tmp_path):
    pack = CataloguePack.open(write_pack(tmp_path, num_train=1, num_held=1))
    assert not pack.has_views
    with pytest.raises(PackError, match="does not tell how its pictures were taken"):
        pack.view(0)


def test_a_drawing_lies_where_the_picture_shows_it(pack):
    lines = pack.view(0).drawing.lines(256, 3.0)
    rows, columns = np.nonzero(lines > 127)
    assert (columns.min(), columns.max()) == pytest.approx((9, 62), abs=2)
    assert (rows.min(), rows.max()) == pytest.approx((18, 91), abs=2)
    halved = pack.view(0).drawing.lines(128, 1.5)
    assert np.abs(halved.astype(float) - lines.reshape(128, 2, 128, 2).mean((1, 3))).mean() < 1


def test_a_mirrored_view_swaps_sides_in_lines_numbers_and_words(pack):
    view = pack.view(0)
    mirrored = view.mirrored()
    difference = mirrored.drawing.lines(64, 2.0).astype(int) - view.drawing.lines(64, 2.0)[:, ::-1]
    assert np.abs(difference).mean() < 2  # lines end within a pixel
    assert mirrored.azimuth == -view.azimuth
    assert mirrored.phrase == "from the right"
    assert mirrored.captions[1] == "seen from the right, with space around it: a chair"
    changed = [i for i in range(NUM_STUDIO) if mirrored.studio[i] != view.studio[i]]
    assert changed == [3, 5]
    assert mirrored.mirrored().captions == view.captions


def test_only_whole_words_are_swapped():
    assert mirrored_words("a bright left side, upright, right arm") == (
        "a bright right side, upright, left arm"
    )


@pytest.mark.parametrize("azimuth", [-80.0, -30.0, -5.0, 5.0, 30.0, 80.0])
def test_a_mirrored_phrase_is_the_one_of_the_mirrored_camera(azimuth):
    assert mirrored_words(words.view_phrase(azimuth, 25.0)) == words.view_phrase(-azimuth, 25.0)


def test_the_columns_are_those_that_the_catalogue_writes():
    assert set(VIEW_COLUMNS) <= set(record.IMAGES.names)
    assert len(STUDIO_NUMBERS) == NUM_STUDIO
    azimuths = [i for i, name in enumerate(STUDIO_NUMBERS) if name.endswith("azimuth")]
    assert tuple(azimuths) == STUDIO_AZIMUTHS


@pytest.mark.parametrize(
    "damage", [{"drawing": "[[[1, 2, 3]]]"}, {"studio": [0.1]}, {"azimuth": None}]
)
def test_damaged_views_name_the_row(folder, tmp_path, damage):
    rows = pq.read_table(folder / "images-000.parquet").to_pylist()
    rows[0] |= damage
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "images-000.parquet")
    pq.write_table(pq.read_table(folder / "sketches-000.parquet"), tmp_path / "sketches-0.parquet")
    with pytest.raises(PackError, match=f"view of {rows[0]['id']} in the pack is damaged"):
        CataloguePack.open(tmp_path).view(0)
