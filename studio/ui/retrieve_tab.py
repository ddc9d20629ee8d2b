"""Layout and events of the Retrieve tab."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.ui.feedback import NO_FEEDBACK
from studio.ui.filter_row import FilterHandlers, FilterRow, build_filter_row
from studio.ui.handlers import PageHandlers
from studio.ui.layout import PRIVATE, HandOver, QuerySide, large_picture
from studio.ui.retrieve_handlers import RetrieveHandlers
from studio.ui.texts import FactSheet, FeedbackLine, TextLine

SILENT: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
ONE_BY_ONE: dict[str, Any] = {"concurrency_limit": 1, "trigger_mode": "multiple"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrieveTab:
    """Components and states of the tab."""

    line: TextLine
    feedback_line: FeedbackLine
    filter_row: FilterRow
    hits: gr.Gallery
    large: gr.Image
    facts: FactSheet
    more: gr.Button
    less: gr.Button
    why: gr.Checkbox
    transfer: gr.Button
    pictures: gr.State
    picked: gr.State
    feedback: gr.State
    num_answers: gr.State

    def connect_search(
        self, page: gr.Blocks, retrieval: RetrieveHandlers, query: QuerySide, examples: gr.State
    ) -> None:
        """Search after every change of the query, filter, feedback or count of examples."""
        # One listener, so that no search of a visitor overtakes an earlier one.
        # `input` of the words misses pasted and deleted text and most phone keyboards.
        gr.on(
            [
                page.load, query.canvas.input, query.words.change, query.balance.input,
                examples.change, self.filter_row.where.change, self.feedback.change,
                query.added_words.change,
            ],
            retrieval.retrieve,
            [
                *query.inputs, self.filter_row.where, self.feedback, self.picked, query.added_words,
            ],
            [
                self.hits, self.pictures, self.num_answers, self.line, query.unknown_words,
                self.large, self.facts,
            ],
            api_name="retrieve", show_progress="hidden", concurrency_id="search",
            concurrency_limit=2, trigger_mode="always_last",
        )  # fmt: skip

    def connect_pick(self, retrieval: RetrieveHandlers, query: QuerySide) -> None:
        """Display the picked hit after every change of the hits, the pick or the explanation."""
        self.hits.select(retrieval.pick, self.pictures, self.picked, **SILENT, **ONE_BY_ONE)
        gr.on(
            [self.num_answers.change, self.picked.change, self.why.input],
            retrieval.settle,
            [self.pictures, self.picked, self.why, *query.inputs, query.added_words],
            [self.hits, self.large, self.facts], **PRIVATE, show_progress="minimal",
            show_progress_on=[self.facts], trigger_mode="always_last",
        )  # fmt: skip

    def connect_feedback(self, retrieval: RetrieveHandlers, query: QuerySide) -> None:
        """Like and unlike the large picture, and clear the feedback."""
        inputs = [self.pictures, self.picked, self.feedback]
        outputs = [self.feedback, self.feedback_line]
        events: dict[str, Any] = {**SILENT, **ONE_BY_ONE, "concurrency_id": "feedback"}
        self.more.click(retrieval.like, inputs, outputs, **events)
        self.less.click(retrieval.unlike, [*inputs, *query.inputs[:2]], outputs, **events)
        self.feedback_line.select(retrieval.forget, None, outputs, **events)


def retrieve_tab(page: gr.Blocks, handlers: PageHandlers, query: QuerySide) -> HandOver:
    """Lay out the tab and connect its events."""
    filter_handlers = FilterHandlers(handlers.context.engine.gallery(handlers.context.index))
    tab = _lay_out(filter_handlers)
    num_examples = gr.State(0)
    query.examples.select(
        handlers.take_example,
        None,
        [query.canvas, query.words, query.balance, num_examples],
        **SILENT,
    )
    tab.filter_row.listen(filter_handlers, SILENT)
    tab.connect_search(page, handlers.retrieval, query, num_examples)
    tab.connect_pick(handlers.retrieval, query)
    tab.connect_feedback(handlers.retrieval, query)
    return HandOver(button=tab.transfer, fn=handlers.hand_over, inputs=[tab.pictures, tab.picked])


def _lay_out(filter_handlers: FilterHandlers) -> RetrieveTab:
    with gr.Row(elem_id="over-hits"):
        line = TextLine(elem_id="hits-line")
        feedback_line = FeedbackLine(elem_id="feedback")
    filter_row = build_filter_row(filter_handlers)
    with gr.Row(elem_id="find", equal_height=False):
        hits = gr.Gallery(
            columns=4, object_fit="cover", allow_preview=False, interactive=False, buttons=[],
            show_label=False, container=False, elem_id="hits", min_width=280, scale=7,
        )  # fmt: skip
        with gr.Column(scale=4, min_width=240, elem_id="hit"):
            large = large_picture("hit-picture")
            with gr.Row(elem_id="hit-actions"):
                more = gr.Button("More like this", size="md", min_width=90, elem_id="more-like")
                less = gr.Button("Less like this", size="md", min_width=90, elem_id="less-like")
                why = gr.Checkbox(value=False, label="Why this one?", min_width=90, elem_id="why")
                transfer = gr.Button(
                    "Transfer this one", size="md", min_width=90, elem_id="hand-over"
                )
            facts = FactSheet(elem_id="hit-facts")
    return RetrieveTab(
        line=line, feedback_line=feedback_line, filter_row=filter_row, hits=hits, large=large,
        facts=facts, more=more, less=less, why=why, transfer=transfer, pictures=gr.State(()),
        picked=gr.State(""), feedback=gr.State(NO_FEEDBACK), num_answers=gr.State(0),
    )  # fmt: skip
