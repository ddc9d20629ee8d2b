"""`duet demo`."""

import errno
import os
import signal
import socket
import threading
import webbrowser
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from studio.commands.options import DemoOptions
from studio.commands.search import index_folder
from studio.commands.shared import open_engine, print_line
from studio.engine import Engine
from studio.errors import UsageError
from studio.kits import KIT_FILE, embedded_kits
from studio.ui.security import Access, workplace

NUM_PORTS = 20


def run(options: DemoOptions) -> int:
    """Serve the page until Ctrl-C."""
    access = Access(
        host=options.host,
        allowed_hosts=options.allowed_hosts,
        is_public=options.is_public,
        frame_ancestors=options.frame_ancestors,
    )
    # A service manager ends us as a person would: the private folder is removed either way.
    signal.signal(signal.SIGTERM, _interrupt)
    port = free_port(access.host, options.port)
    options = _with_absolute_paths(options)
    engine = open_engine(options.kit)
    # Set before gradio is imported: it reads them once, and would ask the network for its version.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    with ThreadPoolExecutor(1) as pool, workplace() as folder:
        loaded = pool.submit(load_for_search, engine, options.index)
        serve(engine, loaded, Server(access=access, port=port, folder=folder), options)
    return 0


class Server:
    """Where the page is served from."""

    def __init__(self, *, access: Access, port: int, folder: Path) -> None:
        """Remember it."""
        self.access, self.port, self.folder = access, port, folder


def serve(engine: Engine, loaded: "Future[str]", server: Server, options: DemoOptions) -> None:
    """Build the page while the kit loads, serve it, wait."""
    from studio.ui.app import build_page, launch
    from studio.ui.examples import load_examples
    from studio.ui.handlers import Desk
    from studio.ui.setting import Setting

    examples = load_examples()
    setting = Setting(
        engine=engine,
        index=options.index,
        composer=loaded.result(),
        caps=server.access.caps,
        folder=server.folder / "gradio",
        examples=examples,
    )
    page = build_page(Desk(setting))
    address = launch(page, server.access, server.port)
    _greet(address, server, options)
    if engine.kit.pipeline is not None:
        threading.Thread(target=_load_pipeline, args=(engine,), daemon=True).start()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print_line("Closed.")
    finally:
        page.close(verbose=False)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def load_for_search(engine: Engine, index: Path | str | None) -> str:
    """Load what the first search needs; returns the composer's name.

    A kit without a trained composer searches with the training-free one, and the page says so.
    """
    engine.composer(engine.default_composer)
    engine.gallery(index)
    return engine.default_composer


def free_port(host: str, wanted: int) -> int:
    """Return the wanted port, or the next free one and say so.

    Raises:
        UsageError: The host is not this machine's, or all of the next ports are taken.
    """
    last = min(wanted + NUM_PORTS, 65_536) - 1
    for port in range(wanted, last + 1):
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except PermissionError as error:
            raise UsageError(f"Port {port} may not be used; choose one above 1023.") from error
        except socket.gaierror as error:
            raise UsageError(f"--host {host!r} is no address of this machine.") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UsageError(f"--host {host!r} is no address of this machine.") from error
            continue
        if port != wanted:
            print_line(f"Port {wanted} is taken; using {port}.")
        return port
    raise UsageError(f"Ports {wanted} to {last} are taken; choose another with --port.")


def _with_absolute_paths(options: DemoOptions) -> DemoOptions:
    """Make paths absolute, as the server changes its current folder."""
    index, kit = options.index, options.kit.kit
    if isinstance(index, str):
        if "://" not in index:  # a file that milvus-lite keeps
            index = str(Path(index).resolve())
    elif index is not None:
        index = index_folder(index).resolve()
    if kit not in embedded_kits() and Path(kit, KIT_FILE).is_file():
        kit = str(Path(kit).resolve())
    return replace(options, index=index, kit=replace(options.kit, kit=kit))


def _greet(address: str, server: Server, options: DemoOptions) -> None:
    print_line(f"Duet Studio is open at {address}  (Ctrl-C ends it)")
    if server.access.is_public and not server.access.allowed_hosts:
        print_line("Others reach it by a name that you allow: --allow-host NAME.")
    if options.opens_browser:
        webbrowser.open(address)


def _load_pipeline(engine: Engine) -> None:
    # An error here is met again, and said, by whoever draws first.
    with suppress(Exception):
        _ = engine.pipeline
