"""Where a request comes from: its origin, and the address and names that a proxy reports."""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SAFE_METHODS = frozenset({"GET", "HEAD"})  # the others change something, or ask to
_DEFAULT_PORTS = {"http": 80, "https": 443}
_REPORTED = (b"forwarded", b"x-gradio-server", b"x-real-ip")


def parse_network(text: str) -> Network:
    """Return an address, or a range of them such as 10.0.0.0/8, as a network.

    Raises:
        ValueError: It is neither.
    """
    return ipaddress.ip_network(text, strict=False)


def as_seen_by_proxy(scope: Scope, proxies: Sequence[Network]) -> Scope:
    """Return a request without forwarded headers, after applying those of a named proxy.

    A named proxy may report the visitor's address, the host name and the scheme. From anyone else
    such headers are dropped, as they would rewrite addresses in the page.

    Args:
        scope: The request, with the address of the peer that opened the connection.
        proxies: Addresses whose reports are believed.
    """
    headers = Headers(scope=scope)
    plain = [
        (name, value)
        for name, value in scope["headers"]
        if name not in _REPORTED and not name.startswith(b"x-forwarded-")
    ]
    changed = {**scope, "headers": plain}
    if not _is_within(peer_address(scope), proxies):
        return changed
    if address := _visitor_address(headers.getlist("x-forwarded-for"), proxies):
        changed["client"] = (address, 0)
    if host := _first(headers.get("x-forwarded-host")):
        others = [(name, value) for name, value in plain if name != b"host"]
        changed["headers"] = [*others, (b"host", host.encode("latin-1"))]
    if (scheme := _first(headers.get("x-forwarded-proto"))) in _DEFAULT_PORTS:
        changed["scheme"] = scheme
    return changed


def peer_address(scope: Scope) -> str:
    """Return the address of the other end; empty if there is none."""
    client = scope.get("client")
    return client[0] if client else ""


def path_below(path: str, root_path: str) -> str:
    """Return the path of a request as the routes see it: without the path of the proxy."""
    return path.removeprefix(root_path) if root_path and path.startswith(f"{root_path}/") else path


def has_foreign_origin(scope: Scope) -> bool:
    """Tell whether a browser sent a request for a page of another origin.

    A request without an Origin header is not from a page of another origin, unless the browser
    says so in Sec-Fetch-Site.
    """
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return not _is_same(origin, scope["scheme"], headers.get("host", ""))


def without_origin(scope: Scope) -> Scope:
    """Return a request without its Origin header, for which no layer adds a grant."""
    kept = [(name, value) for name, value in scope["headers"] if name != b"origin"]
    return {**scope, "headers": kept}


def _is_same(origin: str, scheme: str, host: str) -> bool:
    """Compare an origin with the host that a request is for.

    A proxy that is not named may end TLS without a word, so an origin of https is accepted for a
    request of http; the reverse is not.
    """
    try:
        parts, mine = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS[parts.scheme]
        same_port = (parts.port or default) == (mine.port or default)
    except (ValueError, KeyError):
        return False
    is_downgrade = scheme == "https" and parts.scheme == "http"
    return parts.hostname is not None and (
        parts.hostname == mine.hostname and same_port and not is_downgrade
    )


def _visitor_address(values: Sequence[str], proxies: Sequence[Network]) -> str:
    """Return the last address of a chain that no named proxy has; empty if there is none.

    Addresses before it were written by others.
    """
    chain = [part.strip() for value in values for part in value.split(",")]
    for text in reversed(chain):
        if not _is_within(text, proxies):
            return text if _parse_address(text) is not None else ""
    return ""


def _first(value: str | None) -> str:
    return (value or "").split(",")[0].strip()


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_within(text: str, networks: Sequence[Network]) -> bool:
    address = _parse_address(text)
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
