"""Layout and events of the Retrieve tab."""

from typing import Any

import gradio as gr

from studio.ui.feedback import NO_FEEDBACK
from studio.ui.filter_row import FilterHandlers, build_filter_row
from studio.ui.handlers import PageHandlers
from studio.ui.layout import PRIVATE, HandOver, QuerySide, large_picture
from studio.ui.texts import FactSheet, FeedbackLine, TextLine

SILENT: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
ONE_BY_ONE: dict[str, Any] = {"concurrency_limit": 1, "trigger_mode": "multiple"}


def retrieve_tab(page: gr.Blocks, handlers: PageHandlers, query: QuerySide) -> HandOver:
    """Lay out the tab and connect its events."""
    retrieval = handlers.retrieval
    pictures, picked = gr.State(()), gr.State("")
    feedback, num_answers = gr.State(NO_FEEDBACK), gr.State(0)
    with gr.Row(elem_id="over-hits"):
        line = TextLine(elem_id="hits-line")
        feedback_line = FeedbackLine(elem_id="feedback")
    filter_handlers = FilterHandlers(handlers.context.engine.gallery(handlers.context.index))
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
                button = gr.Button(
                    "Transfer this one", size="md", min_width=90, elem_id="hand-over"
                )
            facts = FactSheet(elem_id="hit-facts")
    filter_row.listen(filter_handlers, SILENT)
    # One listener, so that no search of a visitor overtakes an earlier one.
    # `input` of the words misses pasted and deleted text and most phone keyboards.
    num_examples = gr.State(0)  # counts the examples taken, so that each starts a search
    outputs = [hits, pictures, num_answers, line, query.unknown_words, large, facts]
    gr.on(
        [
            page.load, query.canvas.input, query.words.change, query.balance.input,
            num_examples.change, filter_row.where.change, feedback.change,
        ],
        retrieval.retrieve, [*query.inputs, filter_row.where, feedback, picked], outputs,
        api_name="retrieve", show_progress="hidden", concurrency_id="search",
        concurrency_limit=2, trigger_mode="always_last",
    )  # fmt: skip
    query.examples.select(
        handlers.take_example,
        None,
        [query.canvas, query.words, query.balance, num_examples],
        **SILENT,
    )
    hits.select(retrieval.pick, pictures, picked, **SILENT, **ONE_BY_ONE)
    gr.on(
        [num_answers.change, picked.change, why.input],
        retrieval.settle, [pictures, picked, why, *query.inputs], [hits, large, facts],
        **PRIVATE, show_progress="minimal", show_progress_on=[facts], trigger_mode="always_last",
    )  # fmt: skip
    feedback_events: dict[str, Any] = {**SILENT, **ONE_BY_ONE, "concurrency_id": "feedback"}
    more.click(
        retrieval.like, [pictures, picked, feedback], [feedback, feedback_line], **feedback_events
    )
    less.click(
        retrieval.unlike,
        [pictures, picked, feedback, *query.inputs[:2]],
        [feedback, feedback_line],
        **feedback_events,
    )
    feedback_line.select(retrieval.forget, None, [feedback, feedback_line], **feedback_events)
    return HandOver(button=button, fn=handlers.hand_over, inputs=[pictures, picked])
