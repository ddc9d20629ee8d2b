"""Two results of the page side by side, with what differs in their settings."""

import json

import gradio as gr
import pytest

from studio.ui.comparison import NO_SIDES, SAME
from tests.studio.page import make_handlers, shared_world
from tests.studio.test_ui_handlers import draw


@pytest.fixture(scope="module")
def handlers(tmp_path_factory):
    return make_handlers(shared_world(tmp_path_factory), tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def kept(handlers):
    first = draw(handlers, "", "red", num_images=1)[1]
    return draw(handlers, "", "oak", num_images=1, seed=9, guidance=2.0, kept=first)[1]


def test_the_settings_that_differ_are_listed(handlers, kept):
    sides, first, second, facts = handlers.comparison.put_first(kept, 1, NO_SIDES)
    assert (first, second) == (kept[1].file, None)
    assert "Choose the other result" in json.loads(facts)["note"]
    sides, first, second, facts = handlers.comparison.put_second(kept, 0, sides)
    assert (first, second) == (kept[1].file, kept[0].file)
    shown = json.loads(facts)
    assert shown["title"] == "A: seed 7 | B: seed 9"
    assert dict(shown["rows"]) == {
        "Words": "red | oak", "Seed": "7 | 9", "Guidance": "3 | 2",
    }  # fmt: skip
    _, first, second, facts = handlers.comparison.put_first(kept, 0, sides)
    assert first == second == kept[0].file
    assert (json.loads(facts)["rows"], json.loads(facts)["note"]) == ([], SAME)


@pytest.mark.parametrize("number", [2, -1, True])
def test_a_result_that_is_not_there_is_refused(handlers, kept, number):
    with pytest.raises(gr.Error, match="no such picture"):
        handlers.comparison.put_first(kept, number, NO_SIDES)
    with pytest.raises(gr.Error, match="no such picture"):
        handlers.comparison.put_second((), 0, NO_SIDES)
