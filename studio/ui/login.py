"""Login of a page: names and hashed passwords from a file, asked for by the browser."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.errors import UsageError
from studio.ui.budgets import LOGIN_PLAN, Budget, Charge, Refusal
from studio.ui.origins import path_below, peer_address

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_LINE = re.compile(r"scrypt\$(\d+)\$(\d+)\$(\d+)\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")
_COST, _BLOCK, _LANES, _NUM_BYTES = 1 << 15, 8, 1, 32
_MAX_MEMORY = 256 << 20
MIN_PASSWORD = 8
MAX_PASSWORD = 1024
# The server asks itself at its start; the answer says nothing.
_OPEN = ("/gradio_api/startup-events",)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Hash:
    cost: int
    block: int
    lanes: int
    salt: bytes
    digest: bytes

    def matches(self, password: str) -> bool:
        """Compare in a time that does not depend on the password."""
        return hmac.compare_digest(_scrypt(password, self), self.digest)


def make_line(name: str, password: str) -> str:
    """Return the line of a visitor for the file of logins.

    Raises:
        UsageError: The name has other characters, or the password is too short or too long.
    """
    if not _NAME.fullmatch(name):
        raise UsageError("A name has 1 to 64 letters, digits, dots, dashes, underscores or @.")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UsageError(f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
    salt = secrets.token_bytes(16)
    made = _Hash(cost=_COST, block=_BLOCK, lanes=_LANES, salt=salt, digest=b"")
    parts = [base64.b64encode(part).decode() for part in (salt, _scrypt(password, made))]
    return f"{name}:scrypt${_COST}${_BLOCK}${_LANES}${parts[0]}${parts[1]}"


def read_logins(file: Path) -> "Logins":
    """Read a file of lines that `duet password` wrote; # begins a comment.

    Raises:
        UsageError: It cannot be read, has no line, or a line is none.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--auth {file} cannot be read.") from error
    hashes: dict[str, _Hash] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.strip().partition(":")
        if not _NAME.fullmatch(name) or name in hashes or (found := _parse(value)) is None:
            raise UsageError(
                f"Line {number} of {file} is none of a login, or names somebody twice. Make one "
                "with: duet password NAME"
            )
        hashes[name] = found
    if not hashes:
        raise UsageError(f"{file} has no login. Make one with: duet password NAME")
    return Logins(hashes)


class Logins:
    """Names and hashes; a password that was right is not hashed again."""

    def __init__(self, hashes: Mapping[str, _Hash]) -> None:
        """Accept the logins of a file."""
        self._hashes = hashes
        first = next(iter(hashes.values()))
        # An unknown name costs what a known one costs.
        self._nobody = _Hash(
            cost=first.cost, block=first.block, lanes=first.lanes, salt=secrets.token_bytes(16),
            digest=secrets.token_bytes(_NUM_BYTES),
        )  # fmt: skip
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()

    def is_known(self, header: str) -> bool:
        """Tell whether a header has been right before."""
        digest = self._digest(header)
        return any([hmac.compare_digest(digest, right) for right in self._right])

    def check(self, header: str) -> bool:
        """Tell whether a header is right; takes the time and memory of one hash."""
        name, password = _parse_header(header)
        known = self._hashes.get(name)
        is_right = (known or self._nobody).matches(password) and known is not None
        if is_right:
            self._right.add(self._digest(header))
        return is_right

    def _digest(self, header: str) -> bytes:
        return hmac.digest(self._key, header.encode("utf-8", "surrogateescape"), "sha256")


class LoginMiddleware:
    """Passes on requests of those who have logged in; a wrong password costs an allowance."""

    def __init__(
        self,
        app: ASGIApp,
        logins: Logins,
        root_path: str = "",
        budget: Callable[[], Budget] = lambda: Budget(LOGIN_PLAN),
    ) -> None:
        """Wrap `app`."""
        self._app, self._logins, self._root_path = app, logins, root_path
        self._budget, self._lock = budget(), asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for a login or pass a request on."""
        if scope["type"] != "http" or path_below(scope["path"], self._root_path) in _OPEN:
            await self._app(scope, receive, send)
            return
        header = Headers(scope=scope).get("authorization", "")
        refusal = await self._refusal(header, peer_address(scope))
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    async def _refusal(self, header: str, address: str) -> JSONResponse | None:
        if not header:
            return _ask()
        if self._logins.is_known(header):
            return None
        async with self._lock:  # one hash at a time: each takes 32 MiB
            if self._logins.is_known(header):
                return None
            refused = self._budget.charge(Charge.LOGIN, address=address, visitor="")
            if refused is not None:
                return _wait(refused)
            is_right = await run_in_threadpool(self._logins.check, header)
        return None if is_right else _ask()


def _ask() -> JSONResponse:
    return JSONResponse(
        {"detail": "Log in to use this page."},
        status_code=401,
        headers={"www-authenticate": 'Basic realm="Duet Studio", charset="UTF-8"'},
    )


def _wait(refusal: Refusal) -> JSONResponse:
    headers = {"retry-after": str(refusal.wait_s)}
    return JSONResponse({"detail": refusal.sentence}, status_code=429, headers=headers)


def _parse_header(header: str) -> tuple[str, str]:
    """Return name and password; empty ones for what is none, which match nobody."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return "", ""
    name, _, password = text.partition(":")
    return name, password[: MAX_PASSWORD + 1]


def _parse(value: str) -> _Hash | None:
    match = _LINE.fullmatch(value)
    if match is None:
        return None
    try:
        cost, block, lanes = (int(part) for part in match.groups()[:3])
        salt, digest = (base64.b64decode(part, validate=True) for part in match.groups()[3:])
        found = _Hash(cost=cost, block=block, lanes=lanes, salt=salt, digest=digest)
        _scrypt("", found)
    except (ValueError, OverflowError, MemoryError):
        return None
    return found if len(digest) == _NUM_BYTES and len(salt) >= 8 and cost >= 1 << 14 else None


def _scrypt(password: str, made: _Hash) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=made.salt, n=made.cost, r=made.block, p=made.lanes,
        maxmem=_MAX_MEMORY, dklen=_NUM_BYTES,
    )  # fmt: skip
