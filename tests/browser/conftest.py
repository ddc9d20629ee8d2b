"""A server, a browser and a page that is ready."""

import pytest

from tests.browser.visit import ARGUMENTS, opened
from tests.studio.page import serve, shared_world


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(shared_world(tmp_path_factory)) as running:
        yield running


@pytest.fixture(scope="module")
def browser(chromium_path):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, server):
    with opened(browser, server) as ready:
        yield ready
