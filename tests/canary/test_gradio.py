"""gradio: our own HTML component, what `launch` takes, the queue and the middleware hook."""

import inspect
import json
import urllib.error
import urllib.request

import gradio as gr
import pytest
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware


def test_the_html_component_takes_template_script_and_props():
    canvas = gr.HTML(
        value={"strokes": []},
        html_template="<canvas width='${size}'></canvas>",
        css_template="canvas { touch-action: none; }",
        js_on_load="props.value = {strokes: [[0, 0]]}; trigger('input')",
        size=512,
    )
    config = canvas.get_config()
    assert config["value"] == {"strokes": []}
    assert config["html_template"].startswith("<canvas")
    assert "trigger" in config["js_on_load"]
    assert config["props"]["size"] == 512
    names = {str(event) for event in gr.HTML.EVENTS}
    assert {"input", "change", "submit"} <= names


def test_the_html_component_hands_json_through_untouched():
    canvas = gr.HTML()
    strokes = json.dumps({"strokes": [[[0, 0, 0.5], [3, 4, 0.5]]]})
    assert canvas.preprocess(strokes) == strokes
    assert canvas.postprocess(strokes) == strokes


def test_launch_owns_the_page_and_the_safety_switches():
    parameters = set(inspect.signature(gr.Blocks.launch).parameters)
    assert parameters >= {
        "allowed_paths",
        "app_kwargs",
        "auth",
        "blocked_paths",
        "css",
        "enable_monitoring",
        "head",
        "js",
        "max_file_size",
        "prevent_thread_lock",
        "run_history",
        "server_name",
        "server_port",
        "share",
        "ssr_mode",
        "strict_cors",
        "theme",
    }
    assert "analytics_enabled" in inspect.signature(gr.Blocks.__init__).parameters
    assert "concurrency_id" in inspect.signature(gr.Button.click).parameters
    assert "max_size" in inspect.signature(gr.Blocks.queue).parameters


def test_a_foreign_host_header_is_refused_through_app_kwargs():
    with gr.Blocks(analytics_enabled=False) as page:
        gr.HTML("hello")
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    _, url, _ = page.launch(
        server_name="127.0.0.1",
        share=False,
        quiet=True,
        run_history=False,
        ssr_mode=False,
        prevent_thread_lock=True,
        app_kwargs={"middleware": [hosts]},
    )
    try:
        with urllib.request.urlopen(f"{url}config", timeout=10) as answer:
            assert answer.status == 200
        foreign = urllib.request.Request(f"{url}config", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400") as caught:
            urllib.request.urlopen(foreign, timeout=10)
        caught.value.close()
    finally:
        page.close()


def test_calls_wait_in_lists_that_are_appended_to_and_taken_from_the_front():
    page = gr.Blocks(analytics_enabled=False)
    with page:
        gr.Button().click(lambda: None, concurrency_id="one")
        gr.Button().click(lambda: None, concurrency_id="two")
    queue = page._queue
    for function in page.fns.values():
        queue.create_event_queue_for_fn(function)
    slots = queue.event_queue_per_concurrency_id
    assert {name: slot.queue for name, slot in slots.items()} == {"one": [], "two": []}
    assert "event_queue.queue.append(event)" in inspect.getsource(type(queue).push)
    assert "event_queue.queue[0]" in inspect.getsource(type(queue).get_events)
