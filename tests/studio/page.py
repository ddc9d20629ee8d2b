"""The page for tests: a desk over the tiny kit, and its server on a free loopback port."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import pytest

from studio.engine import Engine
from studio.kits import load_kit
from studio.ui.app import build_page, launch
from studio.ui.context import PageContext
from studio.ui.examples import load_examples
from studio.ui.handlers import PageHandlers
from studio.ui.operation import Operation
from studio.ui.quiet import logs_without_content
from studio.ui.security import Access
from studio.ui.workspace import private_workspace
from tests.studio.tiny_kit import write_gallery, write_kit

HOUSE = "[[[0.2,0.5],[0.8,0.5],[0.8,0.9],[0.2,0.9],[0.2,0.5]],[[0.2,0.5],[0.5,0.1],[0.8,0.5]]]"


@dataclass(frozen=True, kw_only=True)
class World:
    kit: Path
    index: Path


# 2026-11: gradio's statistics of its queue use what pandas 3 deprecates.
QUEUE_STATISTICS = (
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
)
WORLDS: dict[Path, World] = {}


def shared_world(folders: pytest.TempPathFactory) -> World:
    """One world for all tests of a session: nobody writes to it."""
    session = folders.getbasetemp()
    if session not in WORLDS:
        WORLDS[session] = make_world(folders.mktemp("world"))
    return WORLDS[session]


def make_world(folder: Path) -> World:
    kit = write_kit(folder / "kit")
    return World(kit=kit, index=write_gallery(folder / "gallery", kit))


def make_handlers(world: World, folder: Path, access: Access | None = None) -> PageHandlers:
    engine = Engine(load_kit(str(world.kit)))
    context = PageContext(
        engine=engine,
        index=world.index,
        composer=engine.default_composer,
        caps=(access or Access()).caps,
        folder=folder.resolve(),
        examples=load_examples(),
    )
    return PageHandlers(context)


def visitor(name: str = "one") -> gr.Request:
    return gr.Request(session_hash=name)


def chosen(index: object) -> gr.SelectData:
    return gr.SelectData(None, {"index": index, "value": ""})


@dataclass(frozen=True, kw_only=True)
class Server:
    address: str
    folder: Path
    handlers: PageHandlers
    page: gr.Blocks


@contextmanager
def serve(
    world: World, access: Access | None = None, operation: Operation | None = None
) -> Generator[Server, None, None]:
    access = access or Access()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with private_workspace() as folder, logs_without_content():
        handlers = make_handlers(world, folder / "gradio", access)
        page = build_page(handlers)
        address = launch(page, handlers, access, port, operation).rstrip("/")
        try:
            yield Server(address=address, folder=folder, handlers=handlers, page=page)
        finally:
            page.close(verbose=False)
