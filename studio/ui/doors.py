"""The layer before gradio: which requests change something, and what they may contain."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.ui.budgets import Budget, Charge, Refusal
from studio.ui.calls import Call, CallError, PageCalls
from studio.ui.origins import SAFE_METHODS, path_below, peer_address
from studio.ui.turns import Turns
from studio.ui.visits import Visits

_PREFIX = "/gradio_api/"
_NAMED = re.compile(r"(call|run)/([A-Za-z0-9_]+)/?")
_HEARTBEAT = re.compile(r"heartbeat/([A-Za-z0-9_-]{1,64})")
_HARMLESS = ("cancel", "reset", "reset/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Doors:
    """What decides on a request.

    Attributes:
        calls: The functions of the page.
        budget: How often visitors may call.
        visits: The visits and what they uploaded.
        turns: The calls that wait.
        upload_bytes: Most bytes of one upload.
        count_call: Called with the name of a function that is called.
        root_path: Path under which a proxy offers the page.
    """

    calls: PageCalls
    budget: Budget
    visits: Visits
    turns: Turns
    upload_bytes: int
    count_call: Callable[[str], None] = lambda _: None
    root_path: str = ""


class CallMiddleware:
    """Passes on checked calls and uploads; every other request that changes something is closed.

    Calls wait in gradio's queue whichever way they come, and count against the budget.
    """

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        """Wrap `app`, which must get no request another way."""
        self._app, self._doors = app, doors
        self._calls = doors.calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._pass_on(scope, receive, send)
        except CallError as error:
            await _answer(str(error), error.status)(scope, receive, send)
        except _ExhaustedError as error:
            answer = _answer(str(error), 429, {"retry-after": str(error.wait_s)})
            await answer(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on.

        Raises:
            CallError: It is refused.
            _ExhaustedError: The budget, or the room, has nothing left.
        """
        route = self._route(scope)
        if scope["method"] == "GET" and (visit := _HEARTBEAT.fullmatch(route)):
            await self._stay(visit[1], scope, receive, send)
        elif scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and route == "upload":
            await self._take_upload(scope, receive, send)
        else:
            await self._app(*await self._checked(scope, receive), send)

    def _route(self, scope: Scope) -> str:
        """Return the part of a path that names one of gradio's routes; empty for no such path."""
        path = path_below(scope["path"], self._doors.root_path)
        return path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else ""

    async def _stay(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold a page open; its end is the end of the visit."""
        self._charge(scope, Charge.PAGE, "")
        address = peer_address(scope)
        _raise_if_refused(self._doors.visits.open_page(session, address))
        try:
            await self._app(scope, receive, send)
        finally:
            self._doors.visits.close_page(session, address)

    async def _take_upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on, and note its files before the visitor knows of them."""
        self._charge(scope, Charge.UPLOAD, "")
        address, uploads = peer_address(scope), self._doors.visits.uploads
        length = dict(scope["headers"]).get(b"content-length", b"")
        num_bytes = int(length) if length.isdigit() else self._doors.upload_bytes
        _raise_if_refused(uploads.reserve(address, num_bytes))
        status, parts, is_settled = 0, list[bytes](), False

        async def noting(message: Message) -> None:
            nonlocal status, is_settled
            status = message.get("status", status)
            parts.append(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                is_settled = True
                uploads.settle(address, num_bytes, _files(status, b"".join(parts)))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if not is_settled:
                uploads.settle(address, num_bytes, ())

    async def _checked(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        """Return the request to pass on.

        Raises:
            CallError: It is refused.
            _ExhaustedError: The budget has nothing left.
        """
        route = self._route(scope)
        if scope["method"] != "POST" or not route:
            raise CallError("This address is closed.", 404)
        if route in _HARMLESS:
            body = self._calls.read_other(await _whole_body(receive))
            return _with_body(scope, body), _receive_once(body, receive)
        read = self._reader(route)
        call = read(await _whole_body(receive))
        if call.function.is_queued:
            _raise_if_refused(self._doors.turns.refuse(peer_address(scope)))
        self._charge(scope, Charge.CALL, call.session)
        self._doors.visits.touch(call.session)
        if call.function.is_drawing:
            self._charge(scope, Charge.DRAWING, call.session)
        self._doors.count_call(call.function.name)
        return _with_body(scope, call.body), _receive_once(call.body, receive)

    def _reader(self, route: str) -> Callable[[bytes], Call]:
        """Return how the body of a call is read.

        Raises:
            CallError: The route is closed.
        """
        if route == "queue/join":
            return self._calls.read_joined
        named = _NAMED.fullmatch(route)
        if named is None or named[2] == "v2":
            raise CallError("This address is closed.", 404)
        name, read = (
            named[2],
            self._calls.read_named if named[1] == "call" else self._calls.read_direct,
        )
        return lambda body: read(name, body)

    def _charge(self, scope: Scope, what: Charge, visitor: str) -> None:
        address = peer_address(scope)
        _raise_if_refused(self._doors.budget.charge(what, address=address, visitor=visitor))


class _ExhaustedError(Exception):
    def __init__(self, sentence: str, wait_s: int) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


def _raise_if_refused(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise _ExhaustedError(refusal.sentence, refusal.wait_s)


def _files(status: int, body: bytes) -> tuple[Path, ...]:
    """Return the files that the response to an upload names."""
    return tuple(Path(path).resolve() for path in json.loads(body)) if status == 200 else ()


async def _whole_body(receive: Receive) -> bytes:
    """Read a body, whose size an outer layer limits.

    Raises:
        CallError: It ends before it is whole.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise CallError("The request is not whole.")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _with_body(scope: Scope, body: bytes) -> Scope:
    own = (b"content-length", b"content-type", b"content-encoding", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name not in own]
    headers += [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return {**scope, "headers": headers}


def _receive_once(body: bytes, receive: Receive) -> Receive:
    is_sent = False

    async def received() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return received


def _answer(sentence: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a refusal; `detail` is what the page displays."""
    return JSONResponse({"detail": sentence}, status_code=status, headers=headers)
