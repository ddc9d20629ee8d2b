"""Layout and events of the page, and the launch of its server."""

import os
from functools import partial

import gradio as gr
from gradio.exceptions import ServerFailedToStartError
from starlette.applications import Starlette
from starlette.types import ASGIApp

from composer.query import MAX_TEXT_LENGTH
from generation.request import Caps
from studio.errors import UsageError
from studio.kits import Kit
from studio.ui.budgets import Budget
from studio.ui.calls import PageCalls, functions_of
from studio.ui.canvas import StrokeCanvas, page_file
from studio.ui.comparison import build_comparison
from studio.ui.domain_tab import domain_inputs
from studio.ui.doors import CallMiddleware, Doors
from studio.ui.handlers import NO_PIPELINE, PageHandlers
from studio.ui.inputs import CheckedDropdown, CheckedNumber, CheckedSlider, UploadedImage
from studio.ui.layout import PRIVATE, HandOver, QuerySide, large_picture
from studio.ui.login import LoginMiddleware
from studio.ui.operation import Operation
from studio.ui.painting import part_inputs
from studio.ui.present import loras_line
from studio.ui.retrieve_tab import retrieve_tab
from studio.ui.security import Access, lifespan
from studio.ui.style_picture import build_style_picture
from studio.ui.telemetry import TelemetryMiddleware
from studio.ui.texts import ExampleStrip, FactSheet, Heading, TextLine
from studio.ui.theme import THEME_FONTS, theme
from studio.ui.turns import Turns
from studio.ui.visit_states import VisitStates
from studio.ui.word_files import build_word_files

TITLE = "Duet Studio"
PLACEHOLDER = "brown leather seat and oak wood legs"
RANDOM_SEED = "() => Math.floor(Math.random() * 1e6)"
# A tab keeps its key when the page loads again. Without permission to store, there is none.
TAB_KEY = """() => {
  try {
    let key = sessionStorage.getItem("duet-tab");
    if (!key) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      key = Array.from(bytes, byte => byte.toString(16).padStart(2, "0")).join("");
      sessionStorage.setItem("duet-tab", key);
    }
    return key;
  } catch { return ""; }
}"""
MAX_AGE_S = 6 * 3600
DRAWING = "draw"  # the slot that generation and transfer share


# Gradio and type checkers wrap constructors: our components take their arguments by keyword.
def build_page(handlers: PageHandlers) -> gr.Blocks:
    """Build the page."""
    # Files of visitors whose departure was missed are looked for every ten minutes.
    page = gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(600, MAX_AGE_S), fill_width=True
    )
    with page:
        Heading(elem_id="title")
        with gr.Row(elem_id="studio", equal_height=False):
            with gr.Column(scale=0, min_width=340, elem_id="query"):
                query = _query_side(handlers)
            with (
                gr.Column(scale=1, min_width=320, elem_id="answers"),
                gr.Tabs(selected="retrieve") as tabs,
            ):
                with gr.Tab("Retrieve", id="retrieve"):
                    hits = retrieve_tab(page, handlers, query)
                with gr.Tab("Transfer", id="transfer"):
                    source, moved = _transfer_tab(handlers, query)
                with gr.Tab("Generate", id="generate"):
                    results, made = _generate_tab(handlers, query)
        _footer(handlers)
        for hand_over in (hits, results):
            hand_over.button.click(hand_over.fn, hand_over.inputs, [source, tabs], **PRIVATE)
        tab_key = gr.Textbox(visible=False)
        page.load(
            handlers.enter, tab_key, [*moved, *made], js=TAB_KEY, show_progress="hidden", **PRIVATE
        )
        page.unload(handlers.leave)
    page.queue(max_size=handlers.context.caps.queue_size, default_concurrency_limit=2)
    return page


def _query_side(handlers: PageHandlers) -> QuerySide:
    canvas = StrokeCanvas(elem_id="canvas")
    words = gr.Textbox(
        label="Words", placeholder=PLACEHOLDER, lines=2, max_lines=2, max_length=MAX_TEXT_LENGTH,
        elem_id="words",
    )  # fmt: skip
    unknown_words = TextLine(elem_id="unknown-words")
    files = build_word_files()
    files.listen(handlers.word_files, handlers.note_upload)
    style = build_style_picture(handlers.context.engine.kit)
    if style is not None:
        style.listen(handlers.note_upload)
    balance = CheckedSlider(
        minimum=0, maximum=1, value=0.5, step=0.05, label="Balance", elem_id="balance"
    )
    examples = ExampleStrip(
        examples=[example.for_strip() for example in handlers.context.examples], elem_id="examples"
    )
    return QuerySide(
        canvas=canvas,
        words=words,
        balance=balance,
        style=[] if style is None else style.inputs,
        examples=examples,
        unknown_words=unknown_words,
        added_words=files.words,
    )


def _transfer_tab(
    handlers: PageHandlers, query: QuerySide
) -> tuple[UploadedImage, list[gr.Component]]:
    """Lay out the tab; return its source, and what a transfer fills."""
    if not handlers.draws:
        TextLine(value=NO_PIPELINE, elem_classes="notice")
    with gr.Row(equal_height=False, elem_id="move"):
        with gr.Column(scale=4, min_width=240):
            source = UploadedImage(
                label="Picture", type="filepath", sources=["upload", "clipboard"], height=200,
                buttons=[], elem_id="source",
            )  # fmt: skip
            source.upload(handlers.note_upload, source, None, **PRIVATE)
            into = domain_inputs(handlers.context)
            into.listen(
                handlers.examples, handlers.add_example, handlers.note_upload, query.added_words
            )
            uses_words = gr.Checkbox(
                label="With the words on the left", value=False, elem_id="uses-words"
            )
            part = part_inputs()
            part.follow(source)
            strength = CheckedSlider(
                minimum=0.1,
                maximum=1,
                value=handlers.context.engine.kit.drawing.strength,
                step=0.05,
                label="Strength",
            )
            with gr.Row():
                seed = CheckedNumber(value=0, label="Seed", precision=0, min_width=80)
                best_of = CheckedNumber(
                    value=1, minimum=1, maximum=handlers.context.caps.drawing.num_images,
                    label="Best of", precision=0, min_width=80, elem_id="best-of",
                )  # fmt: skip
            keeps_colours = gr.Checkbox(
                label="Keep the colours", value=False, elem_id="keep-colours"
            )
            start, stop = _start_and_stop("Transfer", handlers)
        with gr.Column(scale=7, min_width=280):
            result = gr.ImageSlider(
                type="filepath", show_label=False, interactive=False, buttons=[], height=440,
                elem_id="before-after",
            )  # fmt: skip
            line = TextLine(elem_id="transferred")
            download = gr.DownloadButton("Download PNG", interactive=False, size="md")
    filled: list[gr.Component] = [result, line, download]
    start.click(
        handlers.transfer,
        [
            source, into.domain, into.own_words, strength, seed, uses_words, query.words,
            query.added_words, part.words, part.is_inverted, keeps_colours, part.painting, best_of,
            *query.style,
        ],
        filled, api_name="transfer", concurrency_id=DRAWING,
        concurrency_limit=1, trigger_mode="once", show_progress_on=[result],
    )  # fmt: skip
    stop.click(handlers.stop, None, None, queue=False, **PRIVATE)
    return source, filled


def _generate_tab(handlers: PageHandlers, query: QuerySide) -> tuple[HandOver, list[gr.Component]]:
    """Lay out the tab; return how it hands a result over, and what a drawing fills."""
    if not handlers.draws:
        TextLine(value=NO_PIPELINE, elem_classes="notice")
    kept, number = gr.State(()), gr.State(0)
    with gr.Row(elem_id="dials"):
        context = handlers.context
        sliders = _generate_sliders(context.caps.drawing, context.engine.kit)
    with gr.Row(elem_id="go"):
        start, stop = _start_and_stop("Generate", handlers)
        best_first = gr.Checkbox(
            value=False, label="Best first", min_width=110, scale=0, elem_id="best-first"
        )
        renew = gr.Button("New seed", min_width=110, scale=0, elem_id="new-seed")
    known = TextLine(elem_id="known-match")
    line = TextLine(elem_id="generated")
    with gr.Row(equal_height=False):
        results = gr.Gallery(
            columns=3, object_fit="cover", allow_preview=False, interactive=False, buttons=[],
            show_label=False, container=False, elem_id="results", min_width=280, scale=7,
        )  # fmt: skip
        with gr.Column(scale=4, min_width=240):
            large = large_picture("result-picture")
            facts = FactSheet(elem_id="result-facts")
            download = gr.DownloadButton("Download PNG", interactive=False, size="md")
            button = gr.Button("Transfer this one", interactive=handlers.draws, size="md")
    build_comparison().listen(handlers.comparison, kept, number)
    chosen: list[gr.Component] = [number, large, facts, download]
    filled: list[gr.Component] = [results, kept, line, *chosen]
    start.click(
        handlers.known_match, [*query.inputs, query.added_words], known, **PRIVATE,
        show_progress="hidden", concurrency_id="search", trigger_mode="once",
    )  # fmt: skip
    start.click(
        handlers.generate,
        [*query.inputs, *sliders, best_first, kept, query.added_words, *query.style],
        filled, api_name="generate", concurrency_id=DRAWING,
        concurrency_limit=1, trigger_mode="once", show_progress_on=[results],
    )  # fmt: skip
    stop.click(handlers.stop, None, None, queue=False, **PRIVATE)
    renew.click(None, None, sliders[0], js=RANDOM_SEED, **PRIVATE)
    results.select(handlers.pick_result, kept, chosen, show_progress="hidden", **PRIVATE)
    hand_over = HandOver(button=button, fn=handlers.hand_over_result, inputs=[kept, number])
    return hand_over, filled


def _generate_sliders(caps: Caps, kit: Kit) -> list[gr.Component]:
    """Create the inputs of seed, steps, guidance, number of images and control, in this order."""
    defaults = kit.drawing
    num_images = CheckedSlider(
        minimum=1,
        maximum=caps.num_images,
        value=min(2, caps.num_images),
        step=1,
        label="Images",
        min_width=120,
    )
    steps = CheckedSlider(
        minimum=1,
        maximum=caps.num_inference_steps,
        value=min(defaults.num_inference_steps, caps.num_inference_steps),
        step=1,
        label="Steps",
        min_width=120,
    )
    guidance = CheckedSlider(
        minimum=1,
        maximum=15,
        value=defaults.guidance_scale,
        step=0.5,
        label="Guidance",
        min_width=120,
    )
    seed = CheckedNumber(value=0, label="Seed", precision=0, min_width=90)
    controls = kit.line_controls
    control = CheckedDropdown(
        choices=list(controls),
        value=controls[0] if controls else None,
        visible=len(controls) > 1,
        label="Follow the drawing as",
        min_width=140,
        elem_id="control",
    )
    return [seed, steps, guidance, num_images, control]


def _start_and_stop(what: str, handlers: PageHandlers) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        start = gr.Button(
            what, variant="primary", interactive=handlers.draws, min_width=120, elem_id=what.lower()
        )
        stop = gr.Button("Stop", interactive=handlers.draws, min_width=80, scale=0)
    return start, stop


def _footer(handlers: PageHandlers) -> None:
    kit = handlers.context.engine.kit
    knows = kit.knows or "It does not state what it was trained on."
    with gr.Row(elem_id="footer"):
        TextLine(
            value=f"Kit “{kit.name}”, composer “{handlers.context.composer}”. {knows}",
            elem_id="knows",
        )
        if line := loras_line(handlers.context.engine.loras):
            TextLine(value=line, elem_id="loras")
        TextLine(value=f"Weights: {kit.licence or 'no licence is stated.'}", elem_id="licence")


def launch(
    page: gr.Blocks,
    handlers: PageHandlers,
    access: Access,
    port: int,
    operation: Operation | None = None,
) -> str:
    """Serve the page and return its address; the caller waits and closes it.

    Args:
        page: The page.
        handlers: Its handlers.
        access: Who may reach it.
        port: A free port.
        operation: How it is operated; None for no log and no login.

    Raises:
        OSError: The port is taken.
        UsageError: The machine is too busy to open the page.
    """
    operation = operation or Operation()
    telemetry, visits = operation.telemetry, handlers.visits
    telemetry.gauges = {
        "duet_pages_open": ("Pages that are open.", lambda: visits.num_open),
        "duet_work_running": ("Running work.", lambda: visits.sessions.num_running),
        "duet_uploads_bytes": ("Bytes of uploads.", lambda: visits.uploads.num_bytes),
    }
    doors = Doors(
        calls=PageCalls(functions_of(page, DRAWING), handlers.context.folder),
        budget=Budget(access.caps.budget),
        visits=visits,
        turns=Turns(page, access.caps.num_waiting_address),
        count_call=telemetry.count_call,
        upload_bytes=access.caps.upload_bytes,
        root_path=access.root_path,
    )

    def before_gradio(server: Starlette, app: ASGIApp) -> ASGIApp:
        states = VisitStates(handlers.visits.is_open)
        states.set_blocks(page)
        vars(server)["state_holder"] = states
        called = CallMiddleware(app, doors)
        if operation.logins is None:
            return called
        return LoginMiddleware(called, operation.logins, access.root_path)

    def outermost(app: ASGIApp) -> ASGIApp:
        proxies, sessions = access.proxy_networks, visits.sessions
        return TelemetryMiddleware(
            app, telemetry, lambda: sessions.is_closed, proxies, access.root_path
        )

    # The web server would believe forwarded headers of anyone on this machine.
    os.environ["FORWARDED_ALLOW_IPS"] = "none"
    launching = partial(
        page.launch,
        server_name=access.address_name,
        server_port=port,
        share=False,
        inbrowser=False,
        quiet=True,
        show_error=False,
        prevent_thread_lock=True,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        allowed_paths=[],
        footer_links=[],
        strict_cors=True,
        root_path=access.root_path,
        max_file_size=access.caps.upload_bytes,
        state_session_capacity=500,
        app_kwargs={
            "lifespan": lifespan(access, before_gradio, outermost, visits.sweep),
            "docs_url": None,
            "redoc_url": None,
        },
        theme=theme(),
        # Passed as `css`, gradio would prefix every rule of a media query with its containers.
        head=f"<style>{THEME_FONTS}\n{page_file('style.css')}</style>",
    )
    try:
        _, address, _ = launching()
    except (ValueError, ServerFailedToStartError) as error:
        # Gradio gives its own server a few seconds to answer itself.
        page.close(verbose=False)
        raise UsageError(
            "The page did not open within a few seconds: the machine is too busy. Try again."
        ) from error
    return address
