"""The page under the path of a proxy, and what visitors share."""

import re

import anyio
import httpx
import pytest

from studio.errors import UsageError
from studio.ui.security import Access, SecurityMiddleware
from studio.ui.uploads import UploadQuota, Uploads
from tests.studio.page import QUEUE_STATISTICS, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

CLOSED = (
    "gradio_api/token",
    "gradio_api/deep_link",
    "token",
    "gradio_api/vibe-edit/",
    "monitoring",
)


async def answers_yes(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


def status_of(access, path):
    """The status that the middleware gives a request, before an app that answers everything."""

    async def ask():
        transport = httpx.ASGITransport(app=SecurityMiddleware(answers_yes, access))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get(path)).status_code

    return anyio.run(ask)


@pytest.mark.parametrize("route", CLOSED)
@pytest.mark.parametrize("root", ["/studio", "/a/b.c"])
def test_closed_routes_are_closed_under_the_path_of_a_proxy(root, route):
    access = Access(root_path=root)
    assert status_of(access, f"{root}/{route}") == 404
    assert status_of(access, f"/{route}") == 404
    for spelling in (
        f"{root}{root}/{route}",
        f"{root}//{route}",
        f"{root}/{route.replace('/', '//')}",
    ):
        assert status_of(access, spelling) == 404
    assert status_of(access, f"{root}/config") == 200
    assert status_of(access, "/config") == 200


@pytest.mark.parametrize("path", ["/etc/passwd%2500", "..%2f..%2fetc", "http://x.example/a"])
def test_files_are_checked_under_the_path_of_a_proxy(path):
    assert status_of(Access(root_path="/studio"), f"/studio/gradio_api/file={path}") == 403


@pytest.mark.parametrize("root", ["studio", "/a//b", "/../etc", "http://x.example", "/a b"])
def test_a_root_path_is_a_path(root):
    with pytest.raises(UsageError, match="--root-path must be like /studio"):
        Access(root_path=root)


def test_a_root_path_may_end_with_a_slash():
    assert Access(root_path="/studio/") == Access(root_path="/studio")
    assert Access(root_path="/a/b/").root_path == "/a/b"
    assert Access(root_path="/") == Access()
    assert status_of(Access(root_path="/studio/"), "/studio/gradio_api/token") == 404


def test_the_page_works_under_the_path_of_a_proxy(tmp_path_factory):
    """Proxies pass the path on, or take it away: both reach the page and what it loads."""
    access = Access(root_path="/studio")
    with serve(shared_world(tmp_path_factory), access) as server:
        origin = re.match(r"https?://[^/]+", server.address)[0]
        with httpx.Client(base_url=origin, timeout=60) as client:
            for prefix in ("/studio", ""):
                page = client.get(f"{prefix}/")
                assert page.status_code == 200
                assert client.get(f"{prefix}/config").json()["root"] == f"{origin}/studio"
                for route in ("token", "deep_link"):
                    assert client.get(f"{prefix}/gradio_api/{route}").status_code == 404
                assert client.get(f"{prefix}/gradio_api/info").status_code == 200
            links = re.findall(r'(?:src|href)="(/[^"]+|\./[^"]+)"', page.text)
            scripts = [link for link in links if link.endswith(".js")]
            assert scripts
            for link in scripts:
                address = httpx.URL(f"{origin}/studio/").join(link)
                assert client.get(address).status_code == 200
                assert address.path.startswith("/studio/")


def test_leaving_keeps_an_upload_that_another_visitor_uses(tmp_path):
    uploads = Uploads(tmp_path, UploadQuota(total_bytes=1, address_bytes=1))
    shared, own = tmp_path / "shared.png", tmp_path / "own.png"
    for file in (shared, own):
        file.write_bytes(b"picture")
    uploads.claim("first", shared)
    uploads.claim("first", own)
    uploads.claim("second", shared)
    uploads.leave("first")
    assert (shared.exists(), own.exists()) == (True, False)
    uploads.leave("second")
    assert not shared.exists()
