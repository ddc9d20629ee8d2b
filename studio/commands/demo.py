"""`duet demo`."""

import errno
import os
import socket
import sys
import threading
import webbrowser
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from retrieval.store.address import IndexLocation, absolute_location
from studio.arenas import bound_arenas
from studio.commands.adapters import parse_loras
from studio.commands.options import DemoOptions
from studio.commands.shared import index_folder, open_engine, print_line
from studio.content_check import ContentCheck, load_check
from studio.engine import Engine
from studio.errors import UsageError
from studio.kit_contents import KIT_FILE
from studio.kit_file import embedded_kits
from studio.ui.operation import Operation, operated
from studio.ui.security import Access
from studio.ui.stopping import STOP_S, stops_on_signals
from studio.ui.workspace import private_workspace

if TYPE_CHECKING:
    from studio.ui.context import PageContext

NUM_PORTS = 20


def run(options: DemoOptions) -> int:
    """Serve the page until Ctrl-C."""
    access = Access(
        host=options.host,
        allowed_hosts=options.allowed_hosts,
        is_public=options.is_public,
        frame_ancestors=options.frame_ancestors,
        root_path=options.root_path,
        proxies=options.proxies,
    )
    options = _with_absolute_paths(options)
    bound_arenas()
    engine = open_engine(options.kit, parse_loras(options.loras), compiles=True)
    may_show = None
    if options.content_check is not None:
        may_show = load_check(options.content_check, lambda: engine.search_backbone)
    port = free_port(access.host, options.port)
    # Gradio reads these once, when it is imported; it would request its version from the network.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    with (
        operated(options.auth, options.access_log, options.metrics_port) as operation,
        stops_on_signals(),
    ):
        with ThreadPoolExecutor(1) as pool, private_workspace() as folder:
            loaded = pool.submit(load_for_search, engine, options.index)
            server = Server(
                access=access, port=port, folder=folder, operation=operation, may_show=may_show
            )
            is_idle = serve(engine, loaded, server, options)
        if not is_idle:
            _abandon_threads()
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The address, the private folder, operation and content check of the page's server."""

    access: Access
    port: int
    folder: Path
    operation: Operation
    may_show: ContentCheck | None = None


def serve(engine: Engine, loaded: "Future[str]", server: Server, options: DemoOptions) -> bool:
    """Build the page while the kit loads, serve it until a signal; tell whether all work ended."""
    from studio.ui.app import build_page, launch
    from studio.ui.handlers import PageHandlers
    from studio.ui.quiet import logs_without_content

    handlers = PageHandlers(context_of(engine, loaded.result(), server, options))
    page = build_page(handlers)
    loading = threading.Thread(target=_load_pipeline, args=(engine,), daemon=True)
    with logs_without_content():
        address = launch(page, handlers, server.access, server.port, server.operation)
        _announce(address, server, options)
        if handlers.draws:
            loading.start()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            with suppress(OSError):  # the terminal may be gone
                print_line("Closing.")
        finally:
            is_idle = handlers.sessions.close(STOP_S)
            page.close(verbose=False)
    return is_idle and not loading.is_alive()


def context_of(
    engine: Engine, composer: str, server: Server, options: DemoOptions
) -> "PageContext":
    """Return what the page's handlers need."""
    from studio.ui.context import PageContext
    from studio.ui.examples import load_examples

    return PageContext(
        engine=engine,
        index=options.index,
        composer=composer,
        caps=server.access.caps,
        folder=server.folder / "gradio",
        examples=load_examples(),
        may_show=server.may_show,
        offers_saved=options.offers_saved or not server.access.is_public,
    )


def _abandon_threads() -> NoReturn:
    """End the process although threads compute, which Python's own end would abort."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def load_for_search(engine: Engine, index: IndexLocation | None) -> str:
    """Load the composer and the gallery of the first search; return the composer's name."""
    engine.composer(engine.default_composer)
    engine.gallery(index)
    return engine.default_composer


def free_port(host: str, first: int) -> int:
    """Return the first free port from `first` on; print a line if it is another.

    Raises:
        UsageError: The host is no address of this machine, or the port is none or not free.
    """
    if not 1 <= first <= 65_535:
        raise UsageError(f"--port must be from 1 to 65535, got {first}.")
    last = min(first + NUM_PORTS, 65_536) - 1
    for port in range(first, last + 1):
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except PermissionError as error:
            raise UsageError(
                f"Port {port} needs administrator rights; choose one above 1023."
            ) from error
        except socket.gaierror as error:
            raise UsageError(f"--host {host!r} is no address of this machine.") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UsageError(f"--host {host!r} is no address of this machine.") from error
            continue
        if port != first:
            print_line(f"Port {first} is taken; using {port}.")
        return port
    raise UsageError(f"Ports {first} to {last} are taken; choose another with --port.")


def _with_absolute_paths(options: DemoOptions) -> DemoOptions:
    """Make paths absolute, as the server changes its current folder."""
    index, kit = options.index, options.kit.kit
    if isinstance(index, Path):
        index = index_folder(index)
    if index is not None:
        index = absolute_location(index)
    if kit not in embedded_kits() and Path(kit, KIT_FILE).is_file():
        kit = str(Path(kit).resolve())
    return replace(options, index=index, kit=replace(options.kit, kit=kit))


def _announce(address: str, server: Server, options: DemoOptions) -> None:
    print_line(f"Duet Studio is open at {address}  (press Ctrl-C to stop)")
    if server.access.is_public and not server.access.allowed_hosts:
        print_line("To let others reach it by a host name, allow the name: --allow-host NAME.")
    if options.opens_browser:
        webbrowser.open(address)


def _load_pipeline(engine: Engine) -> None:
    # The first drawing raises the same error, where it can be shown.
    with suppress(Exception):
        _ = engine.pipeline
