"""The page's server on loopback: hosts, headers, files, routes, bodies, its workplace."""

import json
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from generation.request import DEFAULT_CAPS, Caps
from studio.errors import UsageError
from studio.ui.messages import INTERNAL_ERROR
from studio.ui.security import (
    LOCAL_CAPS,
    LOCAL_NAMES,
    PUBLIC_CAPS,
    Access,
    is_loopback,
)
from studio.ui.workspace import private_workspace
from tests.studio.page import HOUSE, QUEUE_STATISTICS, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

PREFLIGHT = "access-control-request-method"
EXPECTED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return shared_world(tmp_path_factory)


@pytest.fixture(scope="module")
def server(world):
    with serve(world) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.address, timeout=60) as opened:
        yield opened


def call(client, name, data):
    """Calls an endpoint as a script would; returns the kind of the last event and its data."""
    asked = client.post(f"/gradio_api/call/{name}", json={"data": data})
    if asked.status_code != 200:
        return str(asked.status_code), asked.text
    answer = client.get(f"/gradio_api/call/{name}/{asked.json()['event_id']}").text
    lines = [line for line in answer.splitlines() if line]
    return lines[-2].removeprefix("event: "), lines[-1].removeprefix("data: ")


def test_the_page_comes_with_its_headers(client):
    answer = client.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'self'" in policy
    assert "default-src 'self'" in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/config", {}),
        ("GET", "/nothing/here", {}),
        ("GET", "/", {"host": "evil.example"}),
        ("GET", "/gradio_api/file=/etc/passwd", {}),
        ("POST", "/gradio_api/queue/join", {"content-type": "application/json"}),
        ("OPTIONS", "/config", {"origin": "http://x.example", PREFLIGHT: "GET"}),
    ],
)
def test_every_answer_has_the_headers(client, method, path, headers):
    answer = client.request(method, path, headers=headers)
    for name, value in EXPECTED.items():
        assert answer.headers[name] == value
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_a_foreign_host_is_refused(client, host):
    for path in ("/", "/config", "/gradio_api/info"):
        assert client.get(path, headers={"host": host}).status_code == 400


def test_a_foreign_origin_gets_no_grant(client):
    for origin in ("http://evil.example", "null"):
        answer = client.get("/config", headers={"origin": origin})
        assert "access-control-allow-origin" not in answer.headers
        asked = {"origin": origin, "access-control-request-method": "POST"}
        preflight = client.options("/gradio_api/queue/join", headers=asked)
        assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../etc/passwd",
        "..%2f..%2fetc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "%252e%252e/etc/passwd",
        "//evil/share",
        "\\\\evil\\share",
        "/etc/passwd%00.png",
        "http://127.0.0.1/x.png",
        "https://example.com/x.png",
        "file:///etc/passwd",
        "CWD/secret.txt",
    ],
)
def test_no_other_file_is_served(client, server, path):
    (server.folder / "work" / "secret.txt").write_text("secret")
    plain = path.replace("CWD", str(server.folder / "work"))
    for route in ("/gradio_api/file=", "/gradio_api/file/"):
        answer = client.get(f"{route}{plain}")
        assert answer.status_code in (403, 404)
        assert "root:" not in answer.text
        assert answer.text != "secret"
    (server.folder / "work" / "secret.txt").unlink()


def test_a_link_out_of_the_cache_is_not_followed(client, server):
    link = server.folder / "gradio" / "link.txt"
    link.symlink_to("/etc/passwd")
    assert client.get(f"/gradio_api/file={link}").status_code == 403
    link.unlink()


def test_thumbnails_come_from_our_cache(client, server):
    kind, data = call(client, "retrieve", [HOUSE, "red", 0.5])
    assert kind == "complete"
    path = json.loads(data)[0]["value"][0]["image"]["path"]
    assert Path(path).is_relative_to(server.folder / "gradio")
    answer = client.get(f"/gradio_api/file={quote(path)}")
    assert answer.status_code == 200
    assert answer.content[8:12] == b"WEBP"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=https://example.com/",
        "/monitoring",
        "/gradio_api/vibe-code",
        "/gradio_api/dev/reload",
        "/gradio_api/runs",
        "/gradio_api/run-history/records",
        "/docs",
    ],
)
def test_gradio_s_extras_are_closed(client, path):
    with client.stream("GET", path) as answer:  # one that is open may send events without end
        assert answer.status_code == 404
    assert client.post(path).status_code in (404, 405)


def test_large_bodies_are_refused(client):
    answer = client.post("/gradio_api/queue/join", content=b"x" * (3 * 1024 * 1024 + 1))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "data",
    [
        ["[[[0,NaN]]]", "", 0.5],
        [{"strokes": 1}, "", 0.5],
        ["", "x" * 1001, 0.5],
        [HOUSE, "red", "much"],
        [HOUSE, "red", 1e300],
        [HOUSE, "red", None],
    ],
)
def test_abuse_of_the_interface_gives_an_error_and_no_traceback(client, data):
    kind, text = call(client, "retrieve", data)
    assert kind == "error"
    assert "Traceback" not in text
    said = json.loads(text)["error"]
    assert said.endswith(".")
    assert said != INTERNAL_ERROR


@pytest.mark.parametrize(
    "picture",
    [
        {"path": "http://127.0.0.1:1/x.png", "meta": {"_type": "gradio.FileData"}},
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "x", "url": "data:image/png;base64,AAAA", "meta": {"_type": "gradio.FileData"}},
        {"url": "https://example.com/x.png", "meta": {"_type": "gradio.FileData"}},
    ],
)
def test_no_address_and_no_foreign_path_is_taken_as_a_picture(client, picture):
    kind, text = call(
        client, "transfer", [picture, "night", "", 0.6, 0, False, "", "", False, False, "", 1]
    )
    assert kind in ("error", "422", "400")
    assert "root:" not in text


def test_fifty_clients_at_once_all_get_an_answer(server):
    def ask(number: int) -> str:
        with httpx.Client(base_url=server.address, timeout=120) as visitor:
            return call(visitor, "retrieve", [HOUSE, "red" * (number % 3), 0.5])[0]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    assert set(answers) <= {"complete", "error", "503"}
    assert answers.count("complete") >= 25


def test_the_public_interface_is_what_it_was(client):
    named = client.get("/gradio_api/info").json()["named_endpoints"]
    names = {
        name: [parameter["parameter_name"] for parameter in endpoint["parameters"]]
        for name, endpoint in named.items()
    }
    assert names == {
        "/retrieve": ["strokes", "words", "balance"],
        "/transfer": [
            "source", "domain", "own_words", "strength", "seed", "uses_words", "words", "part",
            "all_but_part", "keeps_colours", "painting", "best_of",
        ],
        "/generate": [
            "strokes", "words", "balance", "seed", "num_steps", "guidance", "num_images",
            "control", "best_first",
        ],
    }  # fmt: skip


def test_no_analytics_or_foreign_fonts(client):
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    page = client.get("/").text
    assert "fonts.googleapis" not in page


def test_the_workspace_is_private_empty_and_removed():
    before = Path.cwd()
    with private_workspace() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert Path.cwd() == folder / "work"
        assert list(Path.cwd().iterdir()) == []
        assert Path(tempfile.gettempdir()) == folder / "temp"
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder / "gradio")
    assert Path.cwd() == before
    assert not folder.exists()
    assert tempfile.gettempdir() != str(folder / "temp")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "studio.example"])
def test_another_host_needs_to_be_public(host):
    with pytest.raises(UsageError, match="add --public"):
        Access(host=host)
    access = Access(host=host, is_public=True, allowed_hosts=("studio.example",))
    assert access.caps.drawing.num_images < Access().caps.drawing.num_images
    assert {*LOCAL_NAMES, "studio.example"} <= set(access.hosts)
    assert "*" not in access.hosts
    assert not {"0.0.0.0", "::"} & set(access.hosts)


@pytest.mark.parametrize("caps", [LOCAL_CAPS, PUBLIC_CAPS])
def test_the_page_allows_no_more_than_a_request(caps):
    for name in Caps.__dataclass_fields__:
        assert getattr(caps.drawing, name) <= getattr(DEFAULT_CAPS, name)
    assert caps.drawing.num_images < DEFAULT_CAPS.num_images


def test_the_local_machine_needs_nothing():
    assert is_loopback("localhost")
    assert is_loopback("127.0.0.1")
    assert Access().hosts == ["127.0.0.1", "localhost", "127.0.0.1"]


@pytest.mark.parametrize("name", ["*", "a b", "x;script-src *", "x\r\ny"])
def test_a_name_that_would_open_everything_is_refused(name):
    with pytest.raises(UsageError, match="not the name of a host"):
        Access(allowed_hosts=(name,))
    with pytest.raises(UsageError, match="not the name of a host"):
        Access(frame_ancestors=(name,))
