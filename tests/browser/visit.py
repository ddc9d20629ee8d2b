"""A visit to the page in a real browser: what its tests share."""

import json
import re
from contextlib import contextmanager

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
BROKEN_OFF = re.compile("net::ERR_|Failed to fetch|[Nn]etwork error|[Aa]borted")
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PATIENCE_MS = 90_000  # the machine may be busy


@contextmanager
def opened(browser, server, *, loads_again=False, **context):
    """A page that is ready; at its end, nothing was fetched elsewhere and nothing failed.

    A page that loads again breaks off what it was fetching, of which the browser may speak.
    """
    visit = browser.new_context(**({"viewport": DESKTOP} | context))
    visit.set_default_timeout(PATIENCE_MS)
    page = visit.new_page()
    foreign, failures = [], []
    page.on(
        "request",
        lambda request: (
            request.url.startswith((server.address, "data:", "blob:"))
            or foreign.append(request.url)
        ),
    )
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda said: said.type == "error" and failures.append(said.text))
    page.goto(server.address)
    page.wait_for_selector("#hits img")
    yield page
    visit.close()
    if loads_again:
        failures = [failure for failure in failures if not BROKEN_OFF.search(failure)]
    assert foreign == [], foreign
    assert failures == [], failures


@contextmanager
def next_call(page, name):
    """The data of the next call of a function, in the yielded list after the block."""
    data: list = []
    function = page.evaluate(
        "name => window.gradio_config.dependencies.find(event => event.api_name === name).id", name
    )

    def is_call(request):
        return "queue/join" in request.url and json.loads(request.post_data)["fn_index"] == function

    with page.expect_request(is_call) as caught:
        yield data
    data.extend(json.loads(caught.value.post_data)["data"])


def next_search(page):
    """The data of the next search, in the yielded list after the block."""
    return next_call(page, "retrieve")


def stroke(page, *points, on="#canvas canvas"):
    """Draws through points in the unit square with the mouse."""
    page.locator(on).scroll_into_view_if_needed()
    box = page.query_selector(on).bounding_box()
    corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()


def wait_for_line(page, selector, start):
    page.wait_for_function(
        "([selector, start]) => document.querySelector(selector)?.textContent.startsWith(start)",
        arg=[f"{selector} p", start],
    )
