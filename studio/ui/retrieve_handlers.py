"""Handlers of Retrieve: search, pick, feedback, explanation.

A visit has four states, each written by one handler: the hits, the id of the picked picture, the
feedback, and the filter. The large picture follows from them and is updated after every change, one
change at a time, so that the order of a search and a click does not matter.
"""

from itertools import count
from pathlib import PurePath
from typing import Any

import gradio as gr

from composer.added_words import AddedWord
from composer.query import Query
from retrieval.files import open_gallery_picture, picture_file
from retrieval.filters.tree import Filter
from retrieval.search import Refinement
from studio.errors import UsageError
from studio.ui.context import NO_SUCH_PICTURE, PageContext, checked_index, read_query
from studio.ui.explanation import PageQuery, explain_picture
from studio.ui.feedback import NO_FEEDBACK, Feedback
from studio.ui.messages import translate_errors
from studio.ui.precedence import Precedence
from studio.ui.present import (
    PagePicture,
    index_of,
    overview,
    overview_line,
    pictures_of_ranking,
    ranking_line,
    selected_picture,
)
from studio.ui.thumbnails import Thumbnails

STEERING_PICTURE_GONE = "A picture of the feedback is no longer in the gallery. Clear the feedback."
NOTHING_TO_MOVE = (
    "Draw, write a few words or choose “More like this” first; then “Less like this” works."
)


class RetrieveHandlers:
    """Handlers of one server; the state of a visitor is in `gr.State`."""

    def __init__(
        self, context: PageContext, thumbnails: Thumbnails, precedence: Precedence
    ) -> None:
        """Serve the gallery of a setting."""
        self._setting, self._thumbnails, self._precedence = context, thumbnails, precedence
        self._answer_numbers = count(1)

    @translate_errors
    def retrieve(
        self,
        strokes: object,
        words: object,
        balance: object,
        where: Filter | None = None,
        feedback: Feedback = NO_FEEDBACK,
        picked_id: str = "",
        added_words: tuple[AddedWord, ...] = (),
    ) -> tuple[Any, ...]:
        """Search with the query on the left; without one, return a spread of the gallery."""
        with self._precedence.ahead():
            engine, index = self._setting.engine.with_words(added_words), self._setting.index
            query = read_query(strokes, words) or self._query_by_liked_picture(feedback)
            gallery = engine.gallery(index)
            if query is None:
                pictures = overview(gallery, where)
                line = overview_line(pictures, len(gallery), is_filtered=where is not None)
                return self._list_outputs(pictures, picked_id, line, "")
            composed = self._setting.compose(query, balance, added_words)
            ranking = engine.search(
                composed,
                index,
                min(self._setting.caps.num_hits, len(gallery)),
                where,
                self._refinement(feedback),
            )
            line = ranking_line(ranking, engine.confidence(composed, ranking), where is not None)
            strange = " ".join(engine.notes_on_words(composed, query.text))
            return self._list_outputs(
                pictures_of_ranking(ranking, feedback), picked_id, line, strange
            )

    @translate_errors
    def pick(self, pictures: tuple[PagePicture, ...], event: gr.SelectData) -> str:
        """Return the id of the clicked picture, by the file that its tile displayed."""
        number = checked_index(event.index, len(pictures))
        name = _tile_name(event.value)
        for picture in (pictures[number], *pictures):
            # The hits may have changed between display and click.
            if not name or self._thumbnails.tile_name(picture.file) == name:
                return picture.id
        raise UsageError(NO_SUCH_PICTURE)

    @translate_errors
    def settle(
        self,
        pictures: tuple[PagePicture, ...],
        picked_id: str,
        why: object,
        strokes: object,
        words: object,
        balance: object,
        added_words: tuple[AddedWord, ...] = (),
    ) -> tuple[Any, ...]:
        """Return the picked or first picture, with marks if the visitor wants an explanation."""
        if not pictures:
            return gr.skip(), None, ""
        index = index_of(pictures, picked_id)
        picture = pictures[index]
        facts = picture.facts
        if why is True:
            query = read_query(strokes, words)
            page_query = None
            if query is not None:
                composed = self._setting.compose(query, balance, added_words)
                page_query = PageQuery(query=query, composed=composed)
            engine = self._setting.engine.with_words(added_words)
            facts = explain_picture(engine, page_query, picture)
        large = self._thumbnails.large(picture.file)
        return gr.update(selected_index=index), large, facts.as_value()

    @translate_errors
    def like(
        self, pictures: tuple[PagePicture, ...], picked_id: str, feedback: Feedback
    ) -> tuple[Feedback, str]:
        """Like the large picture."""
        changed = feedback.with_liked(selected_picture(pictures, picked_id).id)
        return changed, changed.summary()

    @translate_errors
    def unlike(
        self,
        pictures: tuple[PagePicture, ...],
        picked_id: str,
        feedback: Feedback,
        strokes: object,
        words: object,
    ) -> tuple[Feedback, str]:
        """Unlike the large picture; requires a query or a liked picture to move away from it."""
        picture = selected_picture(pictures, picked_id)
        changed = feedback.with_unliked(picture.id)
        if not changed.liked and read_query(strokes, words) is None:
            raise UsageError(NOTHING_TO_MOVE)
        return changed, changed.summary()

    @translate_errors
    def forget(self) -> tuple[Feedback, str]:
        """Clear the feedback."""
        return NO_FEEDBACK, ""

    def _query_by_liked_picture(self, feedback: Feedback) -> Query | None:
        """Return the first liked picture as the query; None without one."""
        if not feedback.liked:
            return None
        gallery = self._setting.engine.gallery(self._setting.index)
        (item,) = gallery.source.items_of(feedback.liked[:1])
        if item is None:
            raise UsageError(STEERING_PICTURE_GONE)
        return Query(image=open_gallery_picture(picture_file(gallery.root, item.path)))

    def _refinement(self, feedback: Feedback) -> Refinement:
        ids = (*feedback.liked, *feedback.unliked)
        if ids and None in self._setting.engine.gallery(self._setting.index).source.items_of(ids):
            raise UsageError(STEERING_PICTURE_GONE)
        return Refinement(liked=feedback.liked, unliked=feedback.unliked)

    def _list_outputs(
        self, pictures: tuple[PagePicture, ...], picked_id: str, line: str, strange: str
    ) -> tuple[Any, ...]:
        files = self._thumbnails.small([picture.file for picture in pictures])
        tiles = [(file, picture.label) for file, picture in zip(files, pictures, strict=True)]
        index = index_of(pictures, picked_id)
        picture = pictures[index] if pictures else None
        return (
            gr.update(value=tiles, selected_index=index),
            pictures,
            next(self._answer_numbers),
            line,
            strange,
            self._thumbnails.large(picture.file) if picture else None,
            picture.facts.as_value() if picture else "",
        )


def _tile_name(value: object) -> str:
    """Return the file name of a clicked tile; empty if the event has none."""
    match value:
        case {"image": {"path": str(path)}}:
            return PurePath(path).name
        case _:
            return ""
