"""A drawing pauses between two steps while somebody searches, within limits."""

import threading

import pytest

from studio.ui.precedence import Precedence
from tests.studio.page import HOUSE, make_handlers, shared_world, visitor


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_step_waits_until_the_search_has_ended():
    precedence, clock, steps = Precedence(), Clock(), list[tuple[int, int]]()
    report = precedence.giving_way(lambda done, total: steps.append((done, total)), clock)
    clock.now = 100.0  # a step that long would wait for minutes
    with precedence.ahead():
        drawing = threading.Thread(target=report, args=(1, 2))
        drawing.start()
        drawing.join(0.2)
        assert drawing.is_alive()
        assert steps == [(1, 2)]
    drawing.join(60)
    assert not drawing.is_alive()


def test_a_step_waits_for_no_more_than_a_multiple_of_its_time():
    precedence, clock, steps = Precedence(patience=2.0), Clock(), list[int]()
    report = precedence.giving_way(lambda done, _: steps.append(done), clock)
    with precedence.ahead():
        clock.now = 0.01
        drawing = threading.Thread(target=report, args=(1, 2))
        drawing.start()
        drawing.join(60)
        assert not drawing.is_alive()
    report(2, 2)
    assert steps == [1, 2]


def test_an_error_of_a_search_leaves_no_precedence():
    precedence = Precedence()
    with pytest.raises(KeyError), precedence.ahead():
        raise KeyError
    assert not precedence.is_taken


def test_searches_of_the_page_go_ahead_of_its_drawings(
    tmp_path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    handlers = make_handlers(shared_world(tmp_path_factory), tmp_path)
    precedence, seen = handlers.precedence, list[bool]()
    search = handlers.context.engine.search

    def noting(*arguments: object, **named: object) -> object:
        seen.append(precedence.is_taken)
        return search(*arguments, **named)

    monkeypatch.setattr(handlers.context.engine, "search", noting)
    handlers.retrieval.retrieve(HOUSE, "red", 0.5)
    assert seen == [True]
    assert not precedence.is_taken

    steps = list[int]()
    giving_way = precedence.giving_way

    def counted(report: object) -> object:
        inner = giving_way(report)
        return lambda done, total: (steps.append(done), inner(done, total))

    monkeypatch.setattr(precedence, "giving_way", counted)
    with precedence.ahead():  # the drawing ends although the search does not
        handlers.generate(
            HOUSE, "red", 0.5, 1, 3, 3.0, 1, None, False, (), (), visitor(),
            lambda *_, **__: None,
        )  # fmt: skip
    assert steps == [1, 2, 3]
