"""Retrieve in a real browser: narrow, steer by hits, ask why, keep a pick."""

import threading

import pytest
import torch
from safetensors.torch import save_file

from studio.ui.explanation import NO_QUERY
from studio.ui.present import NOTHING_PASSES_FILTER
from studio.ui.retrieve_handlers import NOTHING_TO_MOVE
from tests.browser.visit import DESKTOP, PHONE, next_search, opened, stroke, wait_for_line
from tests.studio.page import QUEUE_STATISTICS
from tests.studio.tiny_kit import PAYLOAD

pytestmark = [pytest.mark.browser, *QUEUE_STATISTICS]

MARKS = "#hit-facts .duet-marks > div > div"


def say(page, words):
    page.locator("#words textarea").fill(words)
    wait_for_line(page, "#hits-line", "The closest")


def tiles(page):
    return page.locator("#hits button.thumbnail-item")


def pick(page, number):
    """Clicks a tile; returns the title of its picture once that is shown large."""
    before = page.locator("#hit-facts .duet-title").inner_text()
    tiles(page).nth(number).click()
    page.wait_for_function(
        "before => document.querySelector('#hit-facts .duet-title').textContent !== before",
        arg=before,
    )
    return page.locator("#hit-facts .duet-title").inner_text()


def open_filter(page):
    page.locator("#filter .label-wrap").click()
    page.locator("#filter-condition input, #filter-condition textarea").wait_for()


def write_condition(page, text):
    field = page.locator("#filter-condition input, #filter-condition textarea")
    field.fill(text)
    field.press("Enter")


def test_a_kind_is_chosen_and_everything_comes_back(page):
    open_filter(page)
    assert not page.locator("#filter-domains").is_visible()  # all are photos
    page.locator("#filter-kinds input").click()
    options = page.get_by_role("option")
    assert options.count() == 2
    options.filter(has_text="blob").click()
    wait_for_line(page, "#hits-line", "A selection of the filtered gallery")
    assert tiles(page).count() == 11
    assert page.locator("#filter .label-wrap").inner_text().startswith("Filter: blob")
    page.locator("#filter-kinds .token-remove").first.click()
    wait_for_line(page, "#hits-line", "A selection of the gallery: 12 pictures")
    page.locator("#filter-kinds input").click()
    options.filter(has_text="blob").click()
    say(page, "red")
    wait_for_line(page, "#hits-line", "The closest 11 of the filtered gallery")
    page.get_by_role("button", name="Clear", exact=True).last.click()
    wait_for_line(page, "#hits-line", "The closest 12 of 12 pictures")
    assert page.locator("#filter .label-wrap").inner_text().split("\n")[0].strip() == "Filter"


def test_a_kind_that_attacks_stays_a_text(page):
    open_filter(page)
    page.locator("#filter-kinds input").click()
    page.get_by_role("option").filter(has_text="<script>").click()
    wait_for_line(page, "#hits-line", "A selection of the filtered gallery")
    assert tiles(page).count() == 1
    assert "<script>" in page.locator("#filter .label-wrap").inner_text()
    assert PAYLOAD in page.locator("#filter-kinds").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0


def test_a_condition_filters_and_a_malformed_condition_changes_nothing(page):
    say(page, "red")
    open_filter(page)
    write_condition(page, "caption contains 'blob 3'")
    wait_for_line(page, "#hits-line", "The closest 1 of the filtered gallery")
    write_condition(page, "caption contains")
    wait_for_line(page, "#filter-message", "Filter, character 17: ")
    assert page.locator("#hits-line p").inner_text().startswith("The closest 1 of the filtered")
    assert tiles(page).count() == 1
    assert page.locator(".toast-body").count() == 0
    write_condition(page, "kind = 'boat'")
    wait_for_line(page, "#hits-line", NOTHING_PASSES_FILTER)
    assert tiles(page).count() == 0
    assert page.locator("#filter-message p").is_hidden()
    assert page.locator("#hit-picture img").count() == 0
    write_condition(page, "")
    wait_for_line(page, "#hits-line", "The closest 12 of 12 pictures")


def test_more_and_less_like_hits_until_they_are_forgotten(page):
    say(page, "red")
    liked = pick(page, 6)
    page.locator("#more-like").click()
    wait_for_line(page, "#feedback", "More like 1")
    page.wait_for_selector("#hits .caption-label >> text=/^\\+ /")
    assert page.locator("#hit-facts .duet-title").inner_text() == liked
    pick(page, 9)
    page.locator("#less-like").click()
    wait_for_line(page, "#feedback", "More like 1, less like 1")
    page.wait_for_selector("#hits .caption-label >> text=/^− /")
    page.locator("#words textarea").press_sequentially(" chair")
    stroke(page, (0.2, 0.2), (0.8, 0.7))
    page.wait_for_selector("#hits .caption-label >> text=/^\\+ /")
    assert page.locator("#feedback p").inner_text() == "More like 1, less like 1"
    page.get_by_role("button", name="Clear feedback").click()
    page.wait_for_selector("#hits .caption-label >> text=/^[+−] /", state="detached")
    assert page.get_by_role("button", name="Clear feedback").count() == 0
    assert page.locator("#feedback p").inner_text() == ""


def test_without_a_query_more_like_a_picture_finds_its_like(page):
    page.locator("#less-like").click()
    toast = page.locator(".toast-body").first
    toast.wait_for()
    assert NOTHING_TO_MOVE in toast.inner_text()
    pick(page, 5)
    page.locator("#more-like").click()
    wait_for_line(page, "#hits-line", "The closest 12 of 12 pictures")
    wait_for_line(page, "#feedback", "More like 1")


def test_why_frames_what_answers_and_follows_the_pick(page):
    page.get_by_label("Why this one?").check(force=True)
    page.wait_for_selector(f"#hit-facts .duet-note >> text={NO_QUERY}")
    say(page, "red chair and oak legs")
    page.wait_for_function(f"document.querySelectorAll('{MARKS}').length === 2")
    legend = page.locator("#hit-facts .duet-legend li")
    assert legend.all_inner_texts() == ["1\nred chair", "2\noak legs"]
    picture = page.locator("#hit-picture img").bounding_box()
    for mark in page.locator(MARKS).all():
        box = mark.bounding_box()
        assert picture["x"] - 2 <= box["x"] <= picture["x"] + picture["width"]
        assert picture["y"] - 2 <= box["y"] <= picture["y"] + picture["height"] - box["height"] + 2
        assert box["width"] == pytest.approx(box["height"], rel=0.1)
    pick(page, 3)
    page.wait_for_function(f"document.querySelectorAll('{MARKS}').length === 2")
    stroke(page, (0.2, 0.2), (0.8, 0.7))
    page.locator("#words textarea").fill("")
    page.wait_for_function(f"document.querySelectorAll('{MARKS}').length === 1")
    assert legend.locator("svg polyline.matched").count() == 1
    page.get_by_label("Why this one?").uncheck(force=True)
    parts = f"{MARKS}, #hit-facts .duet-legend li"  # two elements, which need not change at once
    page.wait_for_function(f"document.querySelectorAll('{parts}').length === 0")


def wait_for_pick(page, title):
    """Waits until the picture of a title is the one shown large, and selected among the hits."""
    page.wait_for_function(
        "title => document.querySelector('#hit-facts .duet-title').textContent === title",
        arg=title,
    )
    label = page.locator("#hits button.thumbnail-item.selected .caption-label").inner_text()
    assert not label.startswith("1 ")


def test_a_pick_survives_a_search(page):
    say(page, "red")
    title = pick(page, 7)
    page.locator("#words textarea").fill("oak zebra")
    wait_for_line(page, "#unknown-words", "“zebra”")
    wait_for_pick(page, title)


def test_a_pick_during_a_search_survives_its_answer(page, server, monkeypatch):
    say(page, "red")
    engine = server.handlers.context.engine
    search, begun, go = engine.search, threading.Event(), threading.Event()

    def slow(*arguments):
        begun.set()
        assert go.wait(60)
        return search(*arguments)

    monkeypatch.setattr(engine, "search", slow)
    page.locator("#words textarea").fill("oak zebra")
    assert begun.wait(60)
    title = pick(page, 8)
    go.set()
    wait_for_line(page, "#unknown-words", "“zebra”")
    wait_for_pick(page, title)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_everything_open_still_fits(browser, server, viewport):
    with opened(browser, server, viewport=viewport) as page:
        say(page, "red chair and oak legs")
        page.get_by_label("Why this one?").check(force=True)
        page.wait_for_function(f"document.querySelectorAll('{MARKS}').length === 2")
        page.locator("#more-like").click()
        wait_for_line(page, "#feedback", "More like 1")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        if viewport is DESKTOP:
            assert page.evaluate("document.documentElement.scrollHeight") <= viewport["height"]
        open_filter(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_a_token_file_becomes_a_word(page, tmp_path):
    rows = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    save_file({"emb_params": rows}, tmp_path / "fog.safetensors")
    with next_search(page):
        page.locator("#words textarea").fill("red <fog>")
    wait_for_line(page, "#unknown-words", "“fog” is unknown to this kit")
    page.get_by_role("button", name="Words from files").click()
    wait_for_line(page, "#word-files-line", "A textual inversion becomes a word")
    with next_search(page):
        page.locator("input[type=file][accept*=safetensors]").set_input_files(
            tmp_path / "fog.safetensors"
        )
    wait_for_line(page, "#word-files-line", "Your words: <fog>.")
    page.wait_for_function("document.querySelector('#unknown-words p').textContent === ''")
    with next_search(page):
        page.locator("button#clear-words").click()
    wait_for_line(page, "#unknown-words", "“fog” is unknown to this kit")
