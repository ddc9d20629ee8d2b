"""The handlers of Retrieve: search, pick, steer by hits, say why.

What a visit knows travels in four states that one handler each writes: the hits (by a search), the
id of the picked picture, what was liked and not, the condition. What is shown large follows from
them and is settled after every change, one at a time, so that it does not matter which of a search
and a click comes first.
"""

from itertools import count
from pathlib import PurePath
from typing import Any

import gradio as gr

from composer.images import open_image
from composer.query import Query
from retrieval.filters.tree import Filter
from retrieval.search import Refinement
from studio.errors import UsageError
from studio.ui.feedback import NO_FEEDBACK, Feedback
from studio.ui.messages import told
from studio.ui.present import (
    Shown,
    found_line,
    large_one,
    of_ranking,
    overview,
    overview_line,
    place_of,
    unknown_words_line,
)
from studio.ui.setting import GONE, Setting, position, query_of
from studio.ui.thumbnails import Thumbnails
from studio.ui.why import Asked, explained
from studio.vocabulary import unknown_words

LEFT = "A picture that steers the search has left the gallery. Forget, and choose another."
NOTHING_TO_MOVE = "Draw, say a word or ask for more like a picture first; less like comes after."


class Finder:
    """The handlers of one server. All state of a visitor travels through `gr.State`."""

    def __init__(self, setting: Setting, thumbnails: Thumbnails) -> None:
        """Serve the gallery of a setting."""
        self._setting, self._thumbnails = setting, thumbnails
        self._answers = count(1)

    @told
    def retrieve(
        self,
        strokes: object,
        words: object,
        balance: object,
        where: Filter | None = None,
        feedback: Feedback = NO_FEEDBACK,
        picked: str = "",
    ) -> tuple[Any, ...]:
        """Search with the query on the left; a look into the gallery where there is none."""
        engine, index = self._setting.engine, self._setting.index
        query = query_of(strokes, words) or self._like_a_picture(feedback)
        gallery = engine.gallery(index)
        if query is None:
            some = overview(gallery, where)
            line = overview_line(some, len(gallery), is_narrowed=where is not None)
            return self._listed(some, picked, line, "")
        composed = self._setting.compose(query, balance)
        ranking = engine.search(
            composed,
            index,
            min(self._setting.caps.num_hits, len(gallery)),
            where,
            self._refinement(feedback),
        )
        line = found_line(ranking, engine.confidence(composed, ranking), where is not None)
        strange = unknown_words_line(unknown_words(engine.backbone, query.text))
        return self._listed(of_ranking(ranking, feedback), picked, line, strange)

    @told
    def pick(self, shown: tuple[Shown, ...], event: gr.SelectData) -> str:
        """Remember which picture was clicked, by the file that the visitor saw."""
        number = position(event.index, len(shown))
        name = _tile_name(event.value)
        for one in (shown[number], *shown):
            # A newer search may have been answered between the look and the click.
            if not name or self._thumbnails.tile_name(one.file) == name:
                return one.id
        raise UsageError(GONE)

    @told
    def settle(
        self,
        shown: tuple[Shown, ...],
        picked: str,
        why: object,
        strokes: object,
        words: object,
        balance: object,
    ) -> tuple[Any, ...]:
        """Show the picked picture large, or the first; with the marks, where they are asked for."""
        if not shown:
            return gr.skip(), None, ""
        place = place_of(shown, picked)
        one = shown[place]
        facts = one.facts
        if why is True:
            query = query_of(strokes, words)
            asked = None
            if query is not None:
                asked = Asked(query=query, composed=self._setting.compose(query, balance))
            facts = explained(self._setting.engine, asked, one)
        large = self._thumbnails.large(one.file)
        return gr.update(selected_index=place), large, facts.as_value()

    @told
    def like(
        self, shown: tuple[Shown, ...], picked: str, feedback: Feedback
    ) -> tuple[Feedback, str]:
        """Want more like the picture that is shown large."""
        wanted = feedback.liking(large_one(shown, picked).id)
        return wanted, wanted.line()

    @told
    def unlike(
        self,
        shown: tuple[Shown, ...],
        picked: str,
        feedback: Feedback,
        strokes: object,
        words: object,
    ) -> tuple[Feedback, str]:
        """Want less like the picture that is shown large; there must be something to move."""
        one = large_one(shown, picked)
        wanted = feedback.unliking(one.id)
        if not wanted.liked and query_of(strokes, words) is None:
            raise UsageError(NOTHING_TO_MOVE)
        return wanted, wanted.line()

    @told
    def forget(self) -> tuple[Feedback, str]:
        """Search as if nothing had been said of hits."""
        return NO_FEEDBACK, ""

    def _like_a_picture(self, feedback: Feedback) -> Query | None:
        """Without a drawing and words, the first liked picture is the query."""
        if not feedback.liked:
            return None
        gallery = self._setting.engine.gallery(self._setting.index)
        (item,) = gallery.source.items_of(feedback.liked[:1])
        if item is None:
            raise UsageError(LEFT)
        return Query(image=open_image(gallery.root / item.path))

    def _refinement(self, feedback: Feedback) -> Refinement:
        ids = (*feedback.liked, *feedback.unliked)
        if ids and None in self._setting.engine.gallery(self._setting.index).source.items_of(ids):
            raise UsageError(LEFT)
        return Refinement(liked=feedback.liked, unliked=feedback.unliked)

    def _listed(
        self, shown: tuple[Shown, ...], picked: str, line: str, strange: str
    ) -> tuple[Any, ...]:
        files = self._thumbnails.small([one.file for one in shown])
        tiles = [(file, one.label) for file, one in zip(files, shown, strict=True)]
        place = place_of(shown, picked)
        one = shown[place] if shown else None
        return (
            gr.update(value=tiles, selected_index=place),
            shown,
            next(self._answers),
            line,
            strange,
            self._thumbnails.large(one.file) if one else None,
            one.facts.as_value() if one else "",
        )


def _tile_name(value: object) -> str:
    """Read from a click on a tile which file it showed; empty where it does not say."""
    match value:
        case {"image": {"path": str(path)}}:
            return PurePath(path).name
        case _:
            return ""
