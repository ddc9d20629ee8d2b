"""The page in a real browser: mouse, pen, finger and keyboard; drawing to hits to images."""

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from generation.provenance import read_png
from tests.browser.visit import (
    DESKTOP,
    PHONE,
    next_call,
    next_search,
    opened,
    stroke,
    wait_for_line,
)
from tests.studio.page import QUEUE_STATISTICS
from tests.studio.tiny_kit import PAYLOAD

pytestmark = [pytest.mark.browser, *QUEUE_STATISTICS]

NASTY_NAME = "<img src=x onerror=window.hacked=1>.png"


def strokes_of(data) -> list:
    return json.loads(data[0]) if data[0] else []


def test_drawing_and_words_find_pictures_and_can_be_taken_back(page):
    wait_for_line(page, "#hits-line", "A selection of the gallery: 12 pictures")
    with next_search(page) as data:
        stroke(page, (0.2, 0.2), (0.8, 0.2), (0.8, 0.7))
    (drawn,) = strokes_of(data)
    assert len(drawn) >= 6
    assert drawn[0] == pytest.approx([0.2, 0.2], abs=0.01)
    assert drawn[-1] == pytest.approx([0.8, 0.7], abs=0.01)
    assert all(len(point) == 2 for point in drawn)
    wait_for_line(page, "#hits-line", "The closest 12 of 12 pictures")
    assert page.locator("#hits button.thumbnail-item").count() == 12
    with next_search(page) as data:
        stroke(page, (0.2, 0.9), (0.5, 0.5))
    assert len(strokes_of(data)) == 2
    with next_search(page) as data:
        page.get_by_role("button", name="Undo").click()
    assert strokes_of(data) == [drawn]
    with next_search(page) as data:
        page.keyboard.press("Control+Shift+Z")
    assert len(strokes_of(data)) == 2
    with next_search(page) as data:
        page.locator("#words textarea").press_sequentially("r")
    assert data[1] == "r"
    page.locator("#words textarea").press_sequentially("ed zebra")
    wait_for_line(page, "#unknown-words", "“zebra” is unknown")
    with next_search(page) as data:
        page.get_by_role("button", name="Clear").click()
    assert data[:2] == ["", "red zebra"]


def test_words_that_were_pasted_or_deleted_are_searched_with(page):
    page.locator("#words textarea").focus()
    with next_search(page) as data:
        page.keyboard.insert_text("red")
    assert data[1] == "red"
    wait_for_line(page, "#hits-line", "The closest")
    with next_search(page) as data:
        page.keyboard.press("Backspace")
    assert data[1] == "re"


def test_the_eraser_takes_whole_strokes(page):
    stroke(page, (0.1, 0.2), (0.9, 0.2))
    with next_search(page) as data:
        stroke(page, (0.1, 0.8), (0.9, 0.8))
    assert len(strokes_of(data)) == 2
    page.get_by_role("button", name="Eraser").click()
    with next_search(page) as data:
        stroke(page, (0.5, 0.1), (0.5, 0.3))
    (left,) = strokes_of(data)
    assert left[0][1] == pytest.approx(0.8, abs=0.01)
    with next_search(page) as data:
        page.keyboard.press("Control+Z")
    assert len(strokes_of(data)) == 2
    with next_search(page) as data:
        page.keyboard.press("Delete")
    assert strokes_of(data) == []


def test_the_keyboard_alone_draws(page):
    page.locator("#canvas canvas").focus()
    page.keyboard.press("Space")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    with next_search(page) as data:
        page.keyboard.press("Space")
    (drawn,) = strokes_of(data)
    assert drawn[0] == [0.5, 0.5]
    assert drawn[-1] == pytest.approx([0.62, 0.5], abs=1e-3)


def test_a_pen_brings_its_pressure(page):
    script = """canvas => {
      const box = canvas.getBoundingClientRect();
      const at = (name, x, pressure) => canvas.dispatchEvent(new PointerEvent(name, {
        clientX: box.left + x * box.width, clientY: box.top + 0.5 * box.height, pressure,
        pointerType: "pen", isPrimary: true, pointerId: 7, bubbles: true, button: 0 }));
      at("pointerdown", 0.2, 0.3); at("pointermove", 0.5, 0.9); at("pointerup", 0.5, 0);
    }"""
    with next_search(page) as data:
        page.locator("#canvas canvas").evaluate(script)
    (drawn,) = strokes_of(data)
    assert [point[2] for point in drawn] == [0.3, 0.9]


def test_an_example_fills_the_canvas_and_the_words(page):
    page.locator("#examples button").nth(1).click()
    wait_for_line(page, "#hits-line", "The closest")
    assert "teal fabric" in page.locator("#words textarea").input_value()
    ink = """canvas => new Uint32Array(canvas.getContext("2d")
      .getImageData(0, 0, canvas.width, canvas.height).data.buffer).filter(Boolean).length"""
    assert page.locator("#canvas canvas").evaluate(ink) > 2_000
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#canvas canvas").evaluate(ink) == 0


def test_from_a_hit_to_its_transfer(page, tmp_path):
    page.locator("#hits button.thumbnail-item").nth(4).click()
    page.wait_for_function(
        "document.querySelector('#hit-facts .duet-title').textContent.includes('blob')"
    )
    page.locator("#hand-over").click()
    page.wait_for_selector("#source img")
    page.get_by_text("night", exact=True).click()
    page.locator("button#transfer").click()
    wait_for_line(page, "#transferred", "night: strength 0.8")
    assert page.locator("#before-after img").count() == 2
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download PNG").first.click()
    file = tmp_path / "got.png"
    caught.value.save_as(file)
    assert read_png(file).fields["kind"] == "transfer"


def test_from_words_to_new_images(page):
    page.locator("#words textarea").press_sequentially("red")
    page.get_by_role("tab", name="Generate").click()
    page.locator("button#generate").click()
    wait_for_line(page, "#generated", "2 drawn in")
    page.wait_for_selector("#results img")
    assert page.locator("#results .caption-label").all_text_contents() == ["seed 0", "seed 1"]
    page.locator("#results button.thumbnail-item").nth(1).click()
    page.wait_for_function("document.querySelector('#result-facts dd').textContent === '1'")
    page.get_by_role("button", name="Compare two results").click()
    page.locator("#put-second").click()
    page.locator("#results button.thumbnail-item").nth(0).click()
    page.wait_for_function("document.querySelector('#result-facts dd').textContent === '0'")
    page.locator("#put-first").click()
    page.wait_for_function("document.querySelector('#compare-facts dd')?.textContent === '0 | 1'")
    assert page.locator("#compare-first img, #compare-second img").count() == 2
    page.locator("#best-first input").check()
    page.locator("button#generate").click()
    page.wait_for_function(
        "document.querySelector('#results .caption-label').textContent.startsWith('1  seed')"
    )
    page.locator("#new-seed").click()
    page.wait_for_function(
        "Number(document.querySelector('[aria-label=Seed]:not(#move *)').value) > 0"
    )


def test_a_quick_click_after_the_last_stroke_draws_with_it(page):
    page.get_by_role("tab", name="Generate").click()
    button = page.locator("button#generate").bounding_box()
    middle = (button["x"] + button["width"] / 2, button["y"] + button["height"] / 2)
    with next_search(page):
        stroke(page, (0.2, 0.2), (0.8, 0.2))
    with next_call(page, "generate") as data:
        stroke(page, (0.2, 0.8), (0.8, 0.8))
        page.mouse.click(*middle)  # long before the pause after which a drawing is searched with
    assert len(strokes_of(data)) == 2
    wait_for_line(page, "#generated", "2 drawn in")


def test_texts_of_others_stay_texts(browser, server):
    with opened(browser, server) as page:
        # At once, so that there is one search.
        page.locator("#words textarea").fill(PAYLOAD.replace("\n", " "))
        wait_for_line(page, "#hits-line", "The closest")
        labels = page.locator("#hits .caption-label")
        attack = labels.filter(has_text="onerror")
        assert attack.count() == 1
        attack.first.click(force=True)
        page.wait_for_function(
            "document.querySelector('#hit-facts .duet-title').textContent.includes('<script>')"
        )
        page.get_by_role("tab", name="Generate").click()
        page.locator("button#generate").click()
        wait_for_line(page, "#generated", "2 drawn in")
        page.wait_for_function(
            "document.querySelector('#result-facts .duet-title').textContent.includes('<script>')"
        )
        page.wait_for_timeout(500)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src='x']").count() == 0


def test_the_name_of_an_upload_stays_a_text(page):
    page.get_by_role("tab", name="Transfer").click()
    data = {"name": NASTY_NAME, "mimeType": "image/png", "buffer": b"not a picture"}
    page.locator("#source input[type=file]").set_input_files(files=[data])
    page.wait_for_selector("#source img")
    page.locator("button#transfer").click()
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert "The picture is not a PNG, JPEG, WebP, AVIF or HEIC image." in toast.inner_text()
    assert page.evaluate("window.hacked") is None


def test_a_token_file_becomes_a_word_under_the_name_that_was_given(page, tmp_path):
    file = tmp_path / "fog.safetensors"
    save_file({"emb_params": torch.ones(1, 32)}, file)
    page.get_by_role("button", name="Words from files").click()
    page.locator("#word-name input").fill("mist")
    page.locator("#word-files input[type=file]").set_input_files(file)
    wait_for_line(page, "#word-files-line", "Your words: <mist>.")
    page.wait_for_function("document.querySelector('#word-name input').value === ''")


def test_an_error_is_a_sentence_on_the_page(page):
    page.get_by_role("tab", name="Generate").click()
    page.locator("button#generate").click()
    toast = page.locator(".toast-body, .toast-wrap").first
    toast.wait_for()
    assert "Draw something or write a few words first" in toast.inner_text()


def test_retrieve_fits_a_laptop_without_scrolling(page):
    assert page.evaluate("document.documentElement.scrollHeight") <= DESKTOP["height"]


def test_a_phone_shows_everything_and_draws_by_touch(browser, server):
    with opened(browser, server, viewport=PHONE, has_touch=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        box = page.query_selector("#canvas canvas").bounding_box()
        with next_search(page) as data:
            page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        ((point, *_),) = strokes_of(data)
        assert point[:2] == pytest.approx([0.5, 0.5], abs=0.02)
        for tab in ("Transfer", "Generate"):
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_page_that_loads_again_shows_its_results(browser, server):
    with opened(browser, server, loads_again=True) as page:
        page.locator("#words textarea").press_sequentially("red")
        page.get_by_role("tab", name="Generate").click()
        page.locator("button#generate").click()
        wait_for_line(page, "#generated", "2 drawn in")
        page.reload()
        page.wait_for_selector("#hits img")
        page.get_by_role("tab", name="Generate").click()
        wait_for_line(page, "#generated", "These are your last results.")
        page.wait_for_function(
            "document.querySelectorAll('#results img').length === 2"
            " && [...document.querySelectorAll('#results img')].every(img => img.naturalWidth)"
        )
    with opened(browser, server) as page:
        page.get_by_role("tab", name="Generate").click()
        page.wait_for_timeout(500)
        assert page.locator("#results img").count() == 0  # another tab has none


def test_the_visit_leaves_nothing_behind(browser, server, monkeypatch):
    monkeypatch.setattr(server.handlers.sessions, "grace_s", 1.0)
    with opened(browser, server) as page:
        page.locator("#words textarea").press_sequentially("red")
        page.get_by_role("tab", name="Generate").click()
        page.locator("button#generate").click()
        wait_for_line(page, "#generated", "2 drawn in")
        made = [Path(file) for file in server.folder.rglob("duet-*.png")]
        assert made
    end = time.monotonic() + 600
    while time.monotonic() < end and any(file.exists() for file in made):
        time.sleep(0.5)  # the server notices within its heartbeat
    assert not [file for file in made if file.exists()]
