"""Origins of requests, and what proxies report."""

from typing import Any

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from studio.errors import UsageError
from studio.ui.origins import as_seen_by_proxy, parse_network
from studio.ui.security import Access, SecurityMiddleware
from tests.studio.page import QUEUE_STATISTICS, Server, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

NAME = "studio.example"
LOCAL = "http://127.0.0.1:7860"
FOREIGN = [
    ("http://127.0.0.1:7860", "http://127.0.0.1:9999"),
    ("http://127.0.0.1:7860", "http://localhost:7860"),
    ("http://127.0.0.1:7860", "null"),
    ("http://127.0.0.1:7860", "http://evil.example"),
    ("http://127.0.0.1:7860", "file://"),
    ("http://127.0.0.1:7860", "http://127.0.0.1:x"),
    ("http://127.0.0.1:7860", ""),
    (f"http://{NAME}", "https://evil.example"),
    (f"http://{NAME}", f"https://{NAME}.evil.example"),
    (f"http://{NAME}", f"http://{NAME}:8080"),
    (f"http://{NAME}", "null"),
    (f"https://{NAME}", f"http://{NAME}"),
]
OWN = [
    ("http://127.0.0.1:7860", "http://127.0.0.1:7860"),
    ("http://localhost:7860", "http://localhost:7860"),
    (f"http://{NAME}", f"http://{NAME}"),
    (f"http://{NAME}", f"https://{NAME}"),  # a proxy that ends TLS without a word
    (f"https://{NAME}", f"https://{NAME}"),
]


async def grants_all(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that grants every origin that it sees, and answers what it sees of the request."""
    names = dict(scope["headers"])
    seen = [scope["client"][0].encode(), scope["scheme"].encode(), names.get(b"host", b"")]
    headers = [(b"seen", b" ".join(seen)), (b"reported", b" ".join(sorted(names)))]
    if b"origin" in names:
        headers.append((b"access-control-allow-origin", names[b"origin"]))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def ask(
    method: str, url: str, headers: dict[str, str], proxies: tuple[str, ...] = ()
) -> httpx.Response:
    access = Access(allowed_hosts=(NAME,), proxies=proxies)

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(
            app=SecurityMiddleware(grants_all, access), client=("10.0.0.9", 1)
        )
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(method, url, headers=headers)

    return anyio.run(asked)


@pytest.mark.parametrize(("base", "origin"), FOREIGN)
@pytest.mark.parametrize("path", ["queue/join", "upload", "call/retrieve", "cancel"])
def test_another_site_changes_nothing(base: str, origin: str, path: str):
    for method in ("POST", "OPTIONS", "PUT"):
        answer = ask(method, f"{base}/gradio_api/{path}", {"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("base", "origin"), FOREIGN)
def test_another_site_reads_nothing(base: str, origin: str):
    answer = ask("GET", f"{base}/config", {"origin": origin})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(("base", "origin"), OWN)
def test_the_page_itself_may(base: str, origin: str):
    assert ask("POST", f"{base}/gradio_api/upload", {"origin": origin}).status_code == 200


def test_a_browser_s_word_counts_without_an_origin():
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        answer = ask("POST", f"{LOCAL}/gradio_api/upload", {"sec-fetch-site": site})
        assert answer.status_code == status


REPORTS = {
    "x-forwarded-for": "192.0.2.7, 10.0.0.8",
    "x-forwarded-host": NAME,
    "x-forwarded-proto": "https",
    "x-forwarded-prefix": "/x",
    "x-gradio-server": "http://evil.example",
    "x-real-ip": "192.0.2.8",
    "forwarded": "for=192.0.2.9",
}


def test_what_a_stranger_reports_is_dropped():
    answer = ask("GET", f"{LOCAL}/config", REPORTS, proxies=("10.0.0.1",))
    assert answer.headers["seen"] == "10.0.0.9 http 127.0.0.1:7860"
    assert not set(REPORTS) & set(answer.headers["reported"].split())


def test_what_a_named_proxy_reports_is_applied():
    answer = ask("GET", f"{LOCAL}/config", REPORTS, proxies=("10.0.0.0/24",))
    assert answer.headers["seen"] == f"192.0.2.7 https {NAME}"
    assert not set(REPORTS) & set(answer.headers["reported"].split())
    only_last = ask("GET", f"{LOCAL}/config", REPORTS, proxies=("10.0.0.9",))
    assert only_last.headers["seen"].startswith("10.0.0.8 ")


def test_a_named_proxy_reports_allowed_names_only():
    report = {"x-forwarded-host": "evil.example"}
    assert ask("GET", f"{LOCAL}/", report, proxies=("10.0.0.9",)).status_code == 400


@pytest.mark.parametrize("chain", ["", "nonsense", "10.0.0.9", "10.0.0.9, <script>", ",,"])
def test_an_odd_chain_leaves_the_proxy_s_own_address(chain: str):
    scope: dict[str, Any] = {
        "client": ("::ffff:10.0.0.9", 1),
        "headers": [(b"x-forwarded-for", chain.encode())],
        "scheme": "http",
    }
    seen = as_seen_by_proxy(scope, [parse_network("10.0.0.9")])
    assert seen["client"][0] == "::ffff:10.0.0.9"


@pytest.mark.parametrize("proxy", ["proxy.example", "*", "10.0.0.0/99", ""])
def test_a_proxy_is_named_by_its_address(proxy: str):
    with pytest.raises(UsageError, match="--proxy must be an address"):
        Access(proxies=(proxy,))


def test_the_server_believes_nobody_unnamed(tmp_path_factory: pytest.TempPathFactory):
    """The web server itself would believe every program of this machine."""
    reports = {"x-forwarded-host": "evil.example", "x-gradio-server": "http://evil.example"}
    reports |= {"x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https"}
    with serve(shared_world(tmp_path_factory)) as server:
        answer = httpx.get(f"{server.address}/config", headers=reports, timeout=60)
        assert answer.json()["root"] == server.address
        assert "evil.example" not in answer.text
        assert_grants_nothing(server)


def assert_grants_nothing(server: Server) -> None:
    for origin in ("http://evil.example", "null", "http://localhost:9", "http://127.0.0.1:9"):
        for method, path in (("GET", "config"), ("POST", "gradio_api/upload")):
            answer = httpx.request(
                method, f"{server.address}/{path}", headers={"origin": origin}, timeout=60
            )
            assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answer.status_code == (200 if method == "GET" else 403)
