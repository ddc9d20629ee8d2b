"""The part of a picture that is painted over it, in a real browser."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from composer.images import open_image
from generation.provenance import read_png
from tests.browser.visit import PHONE, opened, stroke, wait_for_line
from tests.pictures import noise
from tests.studio.page import QUEUE_STATISTICS

pytestmark = [pytest.mark.browser, *QUEUE_STATISTICS]

PAINT = "#painting canvas"
ORIENTATION = 0x0112
# Opacity of the overlay at places in the unit square.
OPAQUE = """(canvas, places) => places.map(([x, y]) => canvas.getContext("2d").getImageData(
  Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data[3] > 127)"""


@pytest.fixture
def photo(tmp_path) -> Path:
    """A picture that is wider than high, and lies on its side in its file."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = tmp_path / "photo.jpg"
    noise((80, 160), 80).convert("RGB").save(file, exif=exif, quality=95)
    return file


def choose(page, file, *, opens=True):
    page.get_by_role("tab", name="Transfer").click()
    page.locator("#source input[type=file]").set_input_files(file)
    page.wait_for_selector("#source img")
    if opens:
        page.get_by_role("button", name="Or paint the part").click()
        wait_for_paper(page)


def wait_for_paper(page):
    page.wait_for_function(
        "document.querySelector('#painting .duet-canvas')?.dataset.state === 'ready'"
    )


def painted(page, *places) -> list[bool]:
    return page.locator(PAINT).evaluate(OPAQUE, list(places))


def sent(page) -> dict:
    """What a transfer sends of the painting."""
    with page.expect_request(lambda request: "queue/join" in request.url) as caught:
        page.locator("button#transfer").click()
    (value,) = (
        one for one in json.loads(caught.value.post_data)["data"] if '"strokes"' in str(one)
    )
    return json.loads(value)


def test_what_is_painted_is_moved_and_the_rest_keeps_its_bytes(page, photo, tmp_path):
    choose(page, photo)
    wait_for_line(page, "#painting", "Paint over what is to be drawn anew.")
    box = page.query_selector(PAINT).bounding_box()
    upright = open_image(photo)
    assert box["width"] / box["height"] == pytest.approx(upright.width / upright.height, rel=0.02)
    stroke(page, (0.2, 0.3), (0.5, 0.3), on=PAINT)
    assert painted(page, (0.35, 0.3), (0.35, 0.7), (0.8, 0.3)) == [True, False, False]
    value = sent(page)
    assert value["size"] == [upright.width, upright.height]
    (line,) = value["strokes"]
    assert line[0] == pytest.approx([0.2, 0.3, 0.75], abs=0.02)
    wait_for_line(page, "#transferred", "watercolour: strength")
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download PNG").first.click()
    caught.value.save_as(tmp_path / "made.png")
    old, new = np.asarray(upright), np.asarray(open_image(tmp_path / "made.png"))
    assert "mask" in read_png(tmp_path / "made.png").fields
    height, width = old.shape[:2]
    middle = (slice(int(0.28 * height), int(0.32 * height)), slice(width // 4, width // 2))
    assert new.shape == old.shape
    assert (new[middle] != old[middle]).mean() > 0.5
    assert (new[height // 2 :] == old[height // 2 :]).all()
    assert (new[:, 3 * width // 4 :] == old[:, 3 * width // 4 :]).all()


def test_paint_can_be_taken_back_erased_cleared_and_inverted(page, photo):
    choose(page, photo)
    here, there = (0.3, 0.3), (0.7, 0.7)
    for place in (here, there):
        stroke(page, place, (place[0] + 0.1, place[1]), on=PAINT)
    assert painted(page, here, there, (0.5, 0.05)) == [True, True, False]
    tools = page.locator("#painting .duet-tools")
    tools.get_by_role("button", name="Undo").click()
    assert painted(page, here, there) == [True, False]
    page.keyboard.press("Control+Shift+Z")
    assert painted(page, here, there) == [True, True]
    page.locator("#all-but-part input").check()
    wait_for_line(page, "#painting", "Paint over what is to stay.")
    assert painted(page, here, there, (0.5, 0.05)) == [False, False, True]
    page.locator("#all-but-part input").uncheck()
    wait_for_line(page, "#painting", "Paint over what is to be drawn anew.")
    tools.get_by_role("button", name="Eraser").click()
    stroke(page, (0.35, 0.34), (0.36, 0.34), on=PAINT)
    assert painted(page, here, there) == [False, True]
    tools.get_by_role("button", name="Clear").click()
    assert painted(page, here, there) == [False, False]
    page.keyboard.press("Control+Z")
    assert painted(page, here, there) == [False, True]
    assert len(sent(page)["strokes"]) == 1


def test_another_picture_clears_the_paint(page, photo, tmp_path):
    other = tmp_path / "other.png"
    noise((90, 90), 80).convert("RGB").save(other)
    choose(page, photo)
    stroke(page, (0.3, 0.3), (0.5, 0.3), on=PAINT)
    first = page.locator("#painting img").get_attribute("src")
    page.get_by_role("tab", name="Retrieve").click()
    page.locator("#hand-over").click()  # takes the place of the photo at once
    page.wait_for_function(
        "first => document.querySelector('#painting img').src !== first"
        " && document.querySelector('#painting .duet-canvas').dataset.state === 'ready'",
        arg=page.evaluate("src => new URL(src, document.baseURI).href", first),
    )
    assert painted(page, (0.3, 0.3), (0.4, 0.3)) == [False, False]
    stroke(page, (0.3, 0.3), (0.5, 0.3), on=PAINT)
    assert painted(page, (0.3, 0.3), (0.4, 0.3)) == [True, True]
    page.locator("#source").get_by_role("button", name="Remove Image").click()
    wait_for_line(page, "#painting", "Choose a picture first")
    assert not page.locator(PAINT).is_visible()
    choose(page, other, opens=False)
    wait_for_paper(page)
    assert page.locator("#painting img").get_attribute("src") != first
    assert painted(page, (0.3, 0.3), (0.4, 0.3)) == [False, False]
    page.locator(PAINT).focus()
    page.keyboard.press("Control+Z")
    assert painted(page, (0.3, 0.3), (0.4, 0.3)) == [False, False]
    value = sent(page)
    assert value["strokes"] == []
    assert value["picture"].endswith("other.png")


def test_a_hit_is_painted_over_by_keyboard_and_pen(page):
    page.locator("#hits button.thumbnail-item").nth(4).click()
    page.wait_for_function("document.querySelector('#hit-facts .duet-title').textContent")
    page.locator("#hand-over").click()
    page.wait_for_selector("#source img")
    page.get_by_role("button", name="Or paint the part").click()
    wait_for_paper(page)
    page.get_by_label("Breadth of the brush").fill("0.25")
    page.locator(PAINT).focus()
    for key in ("Space", "ArrowRight", "ArrowRight", "Space"):
        page.keyboard.press(key)
    script = """canvas => {
      const box = canvas.getBoundingClientRect();
      const at = (name, x, pressure) => canvas.dispatchEvent(new PointerEvent(name, {
        clientX: box.left + x * box.width, clientY: box.top + 0.2 * box.height, pressure,
        pointerType: "pen", isPrimary: true, pointerId: 7, bubbles: true, button: 0 }));
      at("pointerdown", 0.2, 0.5); at("pointermove", 0.5, 1); at("pointerup", 0.5, 0);
    }"""
    page.locator(PAINT).evaluate(script)
    keys, pen = sent(page)["strokes"]
    assert keys[0] == [0.5, 0.5, 0.25]
    assert keys[-1] == pytest.approx([0.54, 0.5, 0.25], abs=1e-3)
    assert [point[2] for point in pen] == [0.25, 0.75]


def test_a_picture_that_the_browser_cannot_show_is_named_in_words(browser, server, tmp_path):
    with opened(browser, server, loads_again=True) as page:
        file = tmp_path / "broken.png"
        file.write_bytes(b"not a picture")
        page.get_by_role("tab", name="Transfer").click()
        page.get_by_role("button", name="Or paint the part").click()
        wait_for_line(page, "#painting", "Choose a picture first")
        page.locator("#source input[type=file]").set_input_files(file)
        wait_for_line(page, "#painting", "This browser cannot show the picture")


def test_a_finger_paints_on_a_phone(browser, server, photo):
    with opened(browser, server, viewport=PHONE, has_touch=True) as page:
        choose(page, photo)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.locator(PAINT).scroll_into_view_if_needed()
        box = page.query_selector(PAINT).bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        ((point,),) = sent(page)["strokes"]
        assert point == pytest.approx([0.5, 0.5, 0.75], abs=0.02)
