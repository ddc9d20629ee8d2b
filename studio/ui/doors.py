"""The layer before gradio: which requests change something, and what they may contain."""

import re
from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.ui.budgets import Budget, Charge
from studio.ui.calls import Call, CallError, PageCalls
from studio.ui.origins import SAFE_METHODS, path_below, peer_address

_PREFIX = "/gradio_api/"
_NAMED = re.compile(r"(call|run)/([A-Za-z0-9_]+)/?")
_HARMLESS = ("cancel", "reset", "reset/")


class CallMiddleware:
    """Passes on checked calls and uploads; every other request that changes something is closed.

    Calls wait in gradio's queue whichever way they come, and count against the budget.
    """

    def __init__(self, app: ASGIApp, calls: PageCalls, budget: Budget, root_path: str = "") -> None:
        """Wrap `app`, which must get no request another way."""
        self._app, self._calls, self._budget = app, calls, budget
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        try:
            scope, receive = await self._checked(scope, receive)
        except CallError as error:
            await _answer(str(error), error.status)(scope, receive, send)
            return
        except _ExhaustedError as error:
            answer = _answer(str(error), 429, {"retry-after": str(error.wait_s)})
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> tuple[Scope, Receive]:
        """Return the request to pass on.

        Raises:
            CallError: It is refused.
            _ExhaustedError: The budget has nothing left.
        """
        path = path_below(scope["path"], self._root_path)
        route = path.removeprefix(_PREFIX) if path.startswith(_PREFIX) else ""
        if scope["method"] != "POST" or not route:
            raise CallError("This address is closed.", 404)
        if route == "upload":
            self._charge(scope, Charge.UPLOAD, "")
            return scope, receive
        if route in _HARMLESS:
            body = self._calls.read_other(await _whole_body(receive))
            return _with_body(scope, body), _receive_once(body, receive)
        read = self._reader(route)
        call = read(await _whole_body(receive))
        self._charge(scope, Charge.CALL, call.session)
        if call.function.is_drawing:
            self._charge(scope, Charge.DRAWING, call.session)
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
        refusal = self._budget.charge(what, address=peer_address(scope), visitor=visitor)
        if refusal is not None:
            raise _ExhaustedError(refusal.sentence, refusal.wait_s)


class _ExhaustedError(Exception):
    def __init__(self, sentence: str, wait_s: int) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s


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
