"""What an operator may know: whether the page is well, who asks for what, and how much goes on.

Nothing that a visitor writes, draws or sends is in it: every field of a line and every label of a
counter comes from a closed list, except the address.
"""

import logging
import logging.handlers
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.errors import UsageError
from studio.ui.origins import Network, as_seen_by_proxy, path_below, peer_address

HEALTH = "/healthz"
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
_ROUTES = (
    ("page", re.compile(r"/")),
    ("health", re.compile(HEALTH)),
    ("config", re.compile(r"/config|/gradio_api/(info|app_id|startup-events)")),
    ("assets", re.compile(r"/(assets|static|svelte|theme\.css|favicon\.ico|manifest\.json).*")),
    ("upload", re.compile(r"/gradio_api/upload(_progress)?")),
    ("join", re.compile(r"/gradio_api/queue/join")),
    ("events", re.compile(r"/gradio_api/queue/data")),
    ("call", re.compile(r"/gradio_api/call/\w+(/\w+)?")),
    ("direct", re.compile(r"/gradio_api/run/\w+")),
    ("stop", re.compile(r"/gradio_api/(cancel|reset)/?")),
    ("open", re.compile(r"/gradio_api/heartbeat/[\w-]+")),
    ("file", re.compile(r"/gradio_api/file[=/].*", re.DOTALL)),
)
Gauges = Mapping[str, tuple[str, Callable[[], float]]]
"""Values that are read when they are asked for: name, what they are, and how they are read."""


class Telemetry:
    """Counters of a server, and its access log."""

    def __init__(self, log: logging.Logger | None = None) -> None:
        """Count from zero.

        Args:
            log: Where a line for every request goes; None for nowhere.
        """
        self._log, self._lock = log, threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._bytes: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self.gauges: Gauges = {}

    def count_call(self, name: str) -> None:
        """Count a call of a function of the page that was accepted."""
        with self._lock:
            self._calls[name or "other"] += 1

    def record(self, request: tuple[str, str, str], status: int, num_bytes: int, s: float) -> None:
        """Count a request, and log it.

        Args:
            request: Address, method and route.
            status: HTTP status; 0 if there was no answer.
            num_bytes: Size of the answer.
            s: How long it took.
        """
        address, method, route = request
        with self._lock:
            self._requests[method, route, status] += 1
            self._seconds[route] += s
            self._bytes[route] += num_bytes
        if self._log is not None:
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            line = f"{moment} {address or '-'} {method} {route} {status} {num_bytes} {s:.3f}"
            self._log.info(line)

    def text(self) -> str:
        """Return all values in the text format of Prometheus."""
        with self._lock:
            families = [
                _family("duet_requests_total", "Requests.", "counter", {
                    f'{{method="{method}",route="{route}",status="{status}"}}': float(number)
                    for (method, route, status), number in self._requests.items()
                }),
                _family("duet_request_seconds_total", "Time of requests.", "counter", {
                    f'{{route="{route}"}}': float(s) for route, s in self._seconds.items()
                }),
                _family("duet_response_bytes_total", "Bytes of answers.", "counter", {
                    f'{{route="{route}"}}': float(size) for route, size in self._bytes.items()
                }),
                _family("duet_calls_total", "Accepted calls of the page's functions.", "counter", {
                    f'{{function="{name}"}}': float(number) for name, number in self._calls.items()
                }),
            ]  # fmt: skip
        for name, (about, read) in self.gauges.items():
            families.append(_family(name, about, "gauge", {"": float(read())}))
        return "".join(families)


def _family(name: str, about: str, kind: str, values: Mapping[str, float]) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{labels} {value:.6g}" if value < 1e6 else f"{name}{labels} {value:.0f}"
              for labels, value in values.items()]  # fmt: skip
    return "\n".join(lines) + "\n"


def route_of(path: str) -> str:
    """Return the name of a route; "other" for all that are not known."""
    return next((name for name, pattern in _ROUTES if pattern.fullmatch(path)), "other")


class TelemetryMiddleware:
    """The outermost layer: answers whether the page is well, and records every request."""

    def __init__(
        self,
        app: ASGIApp,
        telemetry: Telemetry,
        is_stopping: Callable[[], bool],
        proxies: tuple[Network, ...] = (),
        root_path: str = "",
    ) -> None:
        """Wrap `app`."""
        self._app, self._telemetry, self._is_stopping = app, telemetry, is_stopping
        self._proxies, self._root_path = proxies, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or pass it on; record it in the end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = path_below(scope["path"], self._root_path)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        address = peer_address(as_seen_by_proxy(scope, self._proxies))
        status, num_bytes, began = 0, 0, time.monotonic()

        async def counting(message: Message) -> None:
            nonlocal status, num_bytes
            status = message.get("status", status)
            num_bytes += len(message.get("body", b""))
            await send(message)

        app = self._health if path == HEALTH and method in ("GET", "HEAD") else self._app
        try:
            await app(scope, receive, counting)
        finally:
            s = time.monotonic() - began
            self._telemetry.record((address, method, route_of(path)), status, num_bytes, s)

    async def _health(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_stopping = self._is_stopping()
        answer = JSONResponse(
            {"status": "stopping" if is_stopping else "ok"},
            status_code=503 if is_stopping else 200,
            headers={"cache-control": "no-store", "x-content-type-options": "nosniff"},
        )
        await answer(scope, receive, send)


def open_access_log(file: Path) -> logging.Logger:
    """Open a log, for its owner alone; a file that is moved away is begun again.

    Raises:
        UsageError: The file cannot be written.
    """
    log = logging.Logger("studio.access", logging.INFO)
    try:
        file.touch(mode=0o600)
        handler = logging.handlers.WatchedFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--access-log {file} cannot be written.") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    return log


def serve_metrics(telemetry: Telemetry, port: int) -> ThreadingHTTPServer:
    """Offer the counters at /metrics of a port of this machine alone; the caller closes it.

    Raises:
        UsageError: The port is taken, or none.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = telemetry.text().encode() if self.path == "/metrics" else b""
            self.send_response(200 if body else 404)
            self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--metrics-port {port} is taken or no port; choose another.") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
