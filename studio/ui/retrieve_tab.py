"""The tab that searches: what stands where, what happens when."""

from typing import Any

import gradio as gr

from studio.ui.feedback import NO_FEEDBACK
from studio.ui.handlers import Desk
from studio.ui.layout import PRIVATE, HandOver, QuerySide, large_picture
from studio.ui.narrow import Sieve, narrow_row
from studio.ui.texts import FactSheet, Line, Taste

SILENT: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
ONE_BY_ONE: dict[str, Any] = {"concurrency_limit": 1, "trigger_mode": "multiple"}


def retrieve_tab(page: gr.Blocks, desk: Desk, query: QuerySide) -> HandOver:
    """Lay the tab out and connect it."""
    finder = desk.finder
    shown, picked, feedback, answer = gr.State(()), gr.State(""), gr.State(NO_FEEDBACK), gr.State(0)
    with gr.Row(elem_id="over-hits"):
        line = Line(elem_id="found")
        taste = Taste(elem_id="taste")
    sieve = Sieve(desk.setting.engine.gallery(desk.setting.index))
    narrow = narrow_row(sieve)
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
    narrow.listen(sieve, SILENT)
    # One listener, so that of a visitor's searches none overtakes another.
    # The `input` of words hears keys that print alone: no paste, no Backspace, few of phones.
    asked, searched = gr.State(0), [hits, shown, answer, line, query.strange, large, facts]
    gr.on(
        [
            page.load, query.canvas.input, query.words.change, query.balance.input, asked.change,
            narrow.where.change, feedback.change,
        ],
        finder.retrieve, [*query.inputs, narrow.where, feedback, picked], searched,
        api_name="retrieve", show_progress="hidden", concurrency_id="search",
        concurrency_limit=2, trigger_mode="always_last",
    )  # fmt: skip
    query.examples.select(
        desk.take_example, None, [query.canvas, query.words, query.balance, asked], **SILENT
    )
    hits.select(finder.pick, shown, picked, **SILENT, **ONE_BY_ONE)
    gr.on(
        [answer.change, picked.change, why.input],
        finder.settle, [shown, picked, why, *query.inputs], [hits, large, facts],
        **PRIVATE, show_progress="minimal", show_progress_on=[facts], trigger_mode="always_last",
    )  # fmt: skip
    said: dict[str, Any] = {**SILENT, **ONE_BY_ONE, "concurrency_id": "feedback"}
    more.click(finder.like, [shown, picked, feedback], [feedback, taste], **said)
    less.click(
        finder.unlike, [shown, picked, feedback, *query.inputs[:2]], [feedback, taste], **said
    )
    taste.select(finder.forget, None, [feedback, taste], **said)
    return HandOver(button=button, fn=desk.hand_over, inputs=[shown, picked])
