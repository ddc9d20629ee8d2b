"""Security of the page: checks of every request, limits."""

import asyncio
import ipaddress
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from generation.request import Caps
from studio.errors import UsageError
from studio.ui.budgets import PUBLIC_PLAN, BudgetPlan
from studio.ui.origins import (
    SAFE_METHODS,
    Network,
    as_seen_by_proxy,
    has_foreign_origin,
    parse_network,
    path_below,
    without_origin,
)
from studio.ui.uploads import UploadQuota

MEBIBYTE = 1 << 20
MAX_BODY_BYTES = 3 * MEBIBYTE
_UPKEEP_S = 30.0
_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")
LOCAL_NAMES = ("127.0.0.1", "localhost")
LOCAL_UPLOADS = UploadQuota(total_bytes=2048 * MEBIBYTE, address_bytes=1024 * MEBIBYTE)


@dataclass(frozen=True, kw_only=True, slots=True)
class PageCaps:
    """Limits of the page, enforced on the server.

    Attributes:
        drawing: Limits of a request, at most those of `generation.request`.
        num_hits: Hits of a search.
        num_kept: Results that the page keeps.
        upload_bytes: Size of an uploaded file.
        upload_px: Pixels of an uploaded picture.
        upload_s: Processor time of decoding it.
        queue_size: Requests that wait.
        num_waiting_address: Those of one address.
        num_added_words: Token files that a visitor may add.
        token_bytes: Size of one.
        grace_s: How long results wait for a page that loads again.
        budget: How often visitors may call, draw and upload; empty for no limit.
        uploads: How much of what they upload is kept.
        num_pages_address: Pages that an address may have open.
    """

    drawing: Caps
    num_hits: int = 24
    num_kept: int = 24
    upload_bytes: int = 32 * MEBIBYTE
    upload_px: int = 64_000_000
    upload_s: float = 10.0
    queue_size: int = 64
    num_waiting_address: int = 64
    num_added_words: int = 8
    token_bytes: int = 2 * MEBIBYTE
    grace_s: float = 120.0
    budget: BudgetPlan = field(default_factory=dict)
    uploads: UploadQuota = LOCAL_UPLOADS
    num_pages_address: int = 400


LOCAL_CAPS = PageCaps(drawing=Caps(num_images=4))
PUBLIC_CAPS = PageCaps(
    drawing=Caps(num_inference_steps=20, num_images=2),
    num_kept=8,
    upload_bytes=8 * MEBIBYTE,
    upload_px=16_000_000,
    upload_s=4.0,
    queue_size=128,
    num_waiting_address=12,
    num_added_words=4,
    budget=PUBLIC_PLAN,
    uploads=UploadQuota(total_bytes=1024 * MEBIBYTE, address_bytes=96 * MEBIBYTE),
    num_pages_address=50,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who may reach the page.

    Attributes:
        host: Address to listen on.
        allowed_hosts: Names besides the local ones that a Host header may have.
        is_public: Whether other machines may reach the page.
        frame_ancestors: Sites besides the page's that may show it in a frame.
        root_path: Path under which a proxy offers the page, such as "/studio"; empty for none. A
            slash at its end is dropped.
        proxies: Addresses, or ranges of them, of proxies whose forwarded headers are believed.
    """

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    is_public: bool = False
    frame_ancestors: tuple[str, ...] = ()
    root_path: str = ""
    proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the page is not made public by accident.

        Raises:
            UsageError: The address is not a loopback address and `--public` is missing, a name is
                no host name, the path is none, or a proxy is no address.
        """
        if not is_loopback(self.host) and not self.is_public:
            raise UsageError(
                f"--host {self.host} lets others reach the page; add --public to allow it. "
                "It also lowers the limits."
            )
        for name in self.allowed_hosts:
            if not _HOST_NAME.fullmatch(name):
                raise UsageError(
                    f"{name!r} is not the name of a host: write studio.example.org, or "
                    "*.example.org for all names below one."
                )
        for name in self.frame_ancestors:
            if not re.fullmatch(r"[A-Za-z0-9.:/_*-]+", name) or name == "*":
                raise UsageError(f"{name!r} is not the name of a host.")
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
        if self.root_path and not re.fullmatch(
            r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", self.root_path
        ):
            raise UsageError(f"--root-path must be like /studio, got {self.root_path!r}.")
        _ = self.proxy_networks

    @property
    def caps(self) -> PageCaps:
        """Limits that apply."""
        return PUBLIC_CAPS if self.is_public else LOCAL_CAPS

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """Networks of the named proxies.

        Raises:
            UsageError: One is no address.
        """
        try:
            return tuple(parse_network(proxy) for proxy in self.proxies)
        except ValueError as error:
            raise UsageError(
                f"--proxy must be an address such as 127.0.0.1 or 10.0.0.0/8: {error}."
            ) from error

    @property
    def address_name(self) -> str:
        """The address as web addresses and Host headers have it: of IPv6, in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def hosts(self) -> list[str]:
        """Host names that a request may have."""
        listening = () if _is_wildcard(self.host) else (self.address_name,)
        return [*LOCAL_NAMES, *listening, *self.allowed_hosts]


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def private_name() -> str:
    """Return an unguessable name, for a folder whose files are served by their path."""
    return secrets.token_hex(12)


# Routes of gradio that this page does not use: proxies, profilers, editors, recorders.
_CLOSED = re.compile(
    r"^/(gradio_api/)?("
    r"proxy=|vibe-|undo-vibe|dev/|profiling|monitoring|process_recording|deep_link|component_server"
    r"|run-history|runs|custom_component|stream/|login(?!_check)|logout|token)"
)
_SLASHES = re.compile(r"/{2,}")
_FILE = re.compile(r"^/(gradio_api/)?file[=/](?P<path>.*)$", re.DOTALL)


class SecurityMiddleware:
    """The outermost layer: headers on every response, origins, closed routes, limits of bodies."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Wrap `app`."""
        self._app = TrustedHostMiddleware(app, allowed_hosts=access.hosts, www_redirect=False)
        self._headers, self._root_path = security_headers(access), access.root_path
        self._proxies = access.proxy_networks
        self._upload_bytes = access.caps.upload_bytes + MEBIBYTE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] == "websocket":  # the page opens none
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send_safely = _with_headers(send, self._headers)
        scope = as_seen_by_proxy(scope, self._proxies)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_safely)
            return
        # Without an origin, gradio's own layer grants no other origin anything.
        await self._app(without_origin(scope), _capped(receive, self._cap(scope)), send_safely)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        path = path_below(scope["path"], self._root_path)
        file = _FILE.match(path)
        if file and not _is_plain_path(file["path"]):
            return PlainTextResponse("This file is not served.", status_code=403)
        if self._is_closed(path):
            return PlainTextResponse("This address is closed.", status_code=404)
        if scope["method"] not in SAFE_METHODS and has_foreign_origin(scope):
            return PlainTextResponse("Another site may not do this.", status_code=403)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._cap(scope):
            return PlainTextResponse("The request is too large.", status_code=413)
        return None

    def _is_closed(self, path: str) -> bool:
        """Tell whether a path is a closed route, also with slashes or the root path repeated."""
        path = _SLASHES.sub("/", path)
        while (below := path_below(path, self._root_path)) != path:
            path = below
        return _CLOSED.match(path) is not None

    def _cap(self, scope: Scope) -> int:
        is_upload = scope["path"].rstrip("/").endswith("/upload")
        return self._upload_bytes if is_upload else MAX_BODY_BYTES


def _with_headers(send: Send, extra: Mapping[str, str]) -> Send:
    """Return a way to send responses that have further headers."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in extra.items():
                headers[name] = value
        await send(message)

    return send_with_headers


def _is_plain_path(path: str) -> bool:
    """Tell whether a path is in the form in which the page links to files.

    It must contain no address, UNC share, parent folder, NUL or second encoding.
    """
    tricks = ("\0", "%", "://", "//", "\\\\", "\\" if os.sep == "/" else "\0")
    return not any(trick in path for trick in tricks) and ".." not in re.split(r"[/\\]", path)


def _capped(receive: Receive, max_bytes: int) -> Receive:
    """Disconnect when a body exceeds the limit, whatever its header states."""
    num_bytes = 0

    async def capped() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > max_bytes:
            return {"type": "http.disconnect"}
        return message

    return capped


def security_headers(access: Access) -> dict[str, str]:
    """Return the headers of every response.

    Gradio starts the page by inline scripts and evaluates the scripts of `gr.HTML`, so both must be
    allowed; everything is fetched from this server alone.
    """
    ancestors = " ".join(("'self'", *access.frame_ancestors))
    policy = {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": ancestors,
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
        "cross-origin-resource-policy": "same-origin",
    }


def lifespan(
    access: Access,
    inner: Callable[[Starlette, ASGIApp], ASGIApp],
    outer: Callable[[ASGIApp], ASGIApp],
    upkeep: Callable[[], None],
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that wraps the whole server, including gradio's layers and errors.

    Middleware passed to `launch` is behind gradio's CORS layer, which answers some requests by
    itself; the finished stack can be wrapped when the server starts.

    Args:
        access: Who may reach the page.
        inner: Wraps the server in the layer below this one.
        outer: Wraps it in the layer above.
        upkeep: Called every half minute.
    """

    @asynccontextmanager
    async def started(app: Starlette) -> AsyncGenerator[None, None]:
        assert app.middleware_stack is not None
        secured = SecurityMiddleware(inner(app, app.middleware_stack), access)
        app.middleware_stack = outer(secured)
        task = asyncio.create_task(_repeat(upkeep))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return started


async def _repeat(work: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(_UPKEEP_S)
        await run_in_threadpool(work)
