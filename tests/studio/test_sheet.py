"""Contact sheets."""

import pytest
from PIL import Image

from studio.sheet import PAPER, Tile, contact_sheet


def tile(colour):
    return Tile(image=Image.new("RGB", (30, 60), colour), title="1  0.512", subtitle="x" * 200)


def test_the_query_stands_left_of_the_hits_and_pictures_keep_their_aspect():
    sheet = contact_sheet([tile("red")] * 7, query=tile("blue"), num_columns=5, tile_px=100)
    assert sheet.size == (114 + 14 + 5 * 114 + 14, 2 * 154 + 14)
    assert sheet.getpixel((14 + 50, 14 + 50)) == (0, 0, 255)
    assert sheet.getpixel((14 + 5, 14 + 50)) == PAPER
    assert sheet.getpixel((128 + 14 + 50, 14 + 50)) == (255, 0, 0)


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([])
