"""What clients may send to the page: no addresses, no foreign files, one way into the queue."""

import io
import itertools
import json
import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from studio.ui.calls import CallError, PageCalls, PageFunction
from tests.studio.page import HOUSE, QUEUE_STATISTICS, Server, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

JOIN = "/gradio_api/queue/join"
MANY = "[" * 100_000
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with serve(shared_world(tmp_path_factory)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server):
    with httpx.Client(base_url=server.address, timeout=60) as opened:
        yield opened


@pytest.fixture
def listener():
    """A service of this machine that nobody may reach through the page."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        opened.setblocking(False)
        yield opened


def file_data(path: str, **more: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def hostile_values(address: str) -> list[Any]:
    return [
        file_data(f"{address}/x.png"),
        [file_data(f"{address}/x.png")],
        {"value": {"image": file_data(f"{address}/x.png")}},
        file_data("x.png", url=f"{address}/x.png"),
        file_data("http://192.0.2.1/x.png"),
        file_data("/etc/passwd"),
        file_data("file:///etc/passwd"),
        {"url": f"{address}/x.png", "path": None},
    ]


def is_refused(client: httpx.Client, path: str, body: dict[str, Any]) -> bool:
    """Whether a call is refused; one that is taken is given the time to reach something."""
    answer = client.post(path, json=body)
    if answer.status_code == 200 and "session_hash" in body:
        with client.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": body["session_hash"]}
        ) as events:
            for line in events.iter_lines():
                if "process_completed" in line or "unexpected_error" in line:
                    break
    return answer.status_code in (400, 404) and "Traceback" not in answer.text


def has_visitors(listener: socket.socket) -> bool:
    try:
        listener.accept()
    except BlockingIOError:
        return False
    return True


def routes_of(router: Any) -> list[Any]:
    """All routes of an app, also those of routers that it includes."""
    routes: list[Any] = []
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        routes += [route] if inner is None else routes_of(inner)
    return routes


def test_no_input_of_any_function_makes_the_server_fetch(
    client: httpx.Client, listener: socket.socket
):
    """Every input of every function, one at a time; `conftest` fails what leaves the machine."""
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    taken: list[object] = []
    num_inputs = 0
    for function in client.get("/config").json()["dependencies"]:
        for position in range(len(function["inputs"])):
            num_inputs += 1
            for number, value in enumerate(hostile_values(address)):
                data: list[Any] = [None] * len(function["inputs"])
                data[position] = value
                body = {
                    "data": data,
                    "fn_index": function["id"],
                    "session_hash": f"visit{next(NUMBERS)}",
                }
                ways = [JOIN, f"/gradio_api/run/{function['api_name'] or 'predict'}"]
                if function["api_name"]:
                    ways.append(f"/gradio_api/call/{function['api_name']}")
                taken += [
                    (way, function["id"], position, number)
                    for way in ways
                    if not is_refused(client, way, body)
                ]
    assert num_inputs > 30
    assert not has_visitors(listener)
    assert taken == []


def test_no_event_makes_the_server_fetch(client: httpx.Client, listener: socket.socket):
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    functions = client.get("/config").json()["dependencies"]
    for function, value in itertools.product(functions, hostile_values(address)):
        body = {
            "data": [None] * len(function["inputs"]),
            "fn_index": function["id"],
            "session_hash": f"visit{next(NUMBERS)}",
            "event_data": {"index": 0, "value": value},
        }
        assert is_refused(client, JOIN, body)
    assert not has_visitors(listener)


def test_no_route_fetches_an_address(client: httpx.Client, server: Server, listener: socket.socket):
    """Every route of gradio that has a part to fill in, with addresses in it.

    `conftest` fails what leaves the machine, were it only to look a name up.
    """
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
    filled = 0
    for route in routes_of(server.page.app):
        path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or ()
        if "{" not in path or "GET" not in methods:
            continue
        filled += 1
        for value in (address, quote(address, safe=""), "https://example.com/x.png"):
            parts = path.replace("{", "\0{").split("\0")
            url = "".join(value + part.split("}", 1)[1] if "{" in part else part for part in parts)
            with client.stream("GET", url) as answer:
                assert answer.status_code in (200, 307, 400, 403, 404, 405, 422, 500), url
    assert filled >= 12
    assert not has_visitors(listener)


def test_every_route_that_changes_something_is_known(client: httpx.Client, server: Server):
    """A route that another version of gradio adds is closed until somebody opens it."""
    closed: set[str] = set()
    for route in routes_of(server.page.app):
        path = getattr(route, "path", "")
        for method in (getattr(route, "methods", None) or set()) - {"GET", "HEAD"}:
            answer = client.request(method, path.replace("{", "").replace("}", ""), json={})
            if answer.text == '{"detail":"This address is closed."}' or answer.status_code == 404:
                closed.add(path)
            else:
                assert path.rstrip("/") in {
                    "/gradio_api/upload",
                    "/gradio_api/cancel",
                    "/gradio_api/reset",
                    "/gradio_api/queue/join",
                    "/gradio_api/call/{api_name}",
                }, path
    assert {"/gradio_api/api/{api_name}", "/gradio_api/call/v2/{api_name}"} <= closed
    assert "/gradio_api/component_server" in closed


@pytest.mark.parametrize("name", ["retrieve", "generate", "transfer"])
def test_no_way_round_the_queue(client: httpx.Client, name: str):
    body = {"data": [HOUSE, "red", 0.5]}
    for way in ("run", "api", "call/v2"):
        for end in ("", "/"):
            answer = client.post(f"/gradio_api/{way}/{name}{end}", json=body)
            assert answer.status_code == 404, way
    index = next(
        function["id"]
        for function in client.get("/config").json()["dependencies"]
        if function["api_name"] == name
    )
    answer = client.post("/gradio_api/run/predict", json={**body, "fn_index": index})
    assert answer.status_code == 404
    assert "past the queue" in answer.json()["detail"]


def test_stop_needs_no_place_in_the_queue(client: httpx.Client):
    direct = [
        function
        for function in client.get("/config").json()["dependencies"]
        if function["queue"] is False and function["backend_fn"]
    ]
    assert direct
    for function in direct:
        body = {"data": [], "fn_index": function["id"], "session_hash": "visit"}
        assert client.post("/gradio_api/run/predict", json=body).status_code == 200


def test_an_upload_is_taken_where_a_picture_is_expected(client: httpx.Client, server: Server):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, "PNG")
    answer = client.post("/gradio_api/upload", files={"files": ("x.png", buffer.getvalue())})
    (path,) = answer.json()
    data = [file_data(path), "night", "", 0.6, 0, False, "", "", False, False, "", 1]
    assert client.post("/gradio_api/call/transfer", json={"data": data}).status_code == 200
    data = ["", file_data(path), 0.5]
    assert client.post("/gradio_api/call/retrieve", json={"data": data}).status_code == 400
    outside = file_data(f"{server.folder}/gradio/../work/x.png")
    body = {"data": [outside, "night", "", 0.6, 0, False, "", "", False, False, "", 1]}
    assert client.post("/gradio_api/call/transfer", json=body).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"data": 1}', b'{"data": []}', b'{"data": ["", "", 0.5, 1]}',
        MANY.encode(), b'{"data": ' + MANY.encode(), b"\xff", b'{"data": ' + b"9" * 5000,
        b'{"data": ["", "", 0.5], "session_hash": 3}',
        b'{"data": ["", "", 0.5], "session_hash": "../x"}',
    ],
)  # fmt: skip
def test_a_malformed_call_is_refused_without_a_word_in_the_log(
    client: httpx.Client, capfd: pytest.CaptureFixture[str], body: bytes
):
    answer = client.post("/gradio_api/call/retrieve", content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].endswith(".")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "about",
    [
        {}, {"event_id": 3}, {"event_id": "../x"}, {"event_id": "a", "session_hash": []},
        {"event_id": "a", "fn_index": "x" * 9999}, {"data": "x" * 9999},
    ],
)  # fmt: skip
def test_a_request_about_no_call_is_refused_without_an_echo(
    client: httpx.Client, about: dict[str, Any]
):
    for route in ("cancel", "reset"):
        answer = client.post(f"/gradio_api/{route}", json=about)
        assert answer.status_code == 400
        assert answer.json()["detail"] == "The request must name a call that was made."
    sound = {"event_id": "a" * 32, "session_hash": "visit", "fn_index": 0}
    assert client.post("/gradio_api/cancel", json=sound).status_code == 200


def test_what_is_passed_on_is_what_was_checked(tmp_path):
    """Of keys that come twice one is read, and keys that gradio alone would read are dropped."""
    function = PageFunction(
        index=3, name="look", pictures=(True, False), public=(0, 1), is_queued=True,
        is_drawing=False,
    )  # fmt: skip
    calls = PageCalls({3: function}, tmp_path)
    own = json.dumps(file_data(str(tmp_path / "x.png")))
    body = f'{{"data": [1], "data": [{own}, "word"], "fn_index": 3, "batched": true, "url": "x"}}'
    assert json.loads(calls.read_joined(body.encode()).body) == {
        "data": [json.loads(own), "word"],
        "fn_index": 3,
    }
    for index in ("true", "3.0", '"3"', "4", "null"):
        with pytest.raises(CallError, match="no such function"):
            calls.read_joined(f'{{"data": [null, ""], "fn_index": {index}}}'.encode())
    link = tmp_path / "link.png"
    link.symlink_to("/etc/passwd")
    for path in (str(link), "x.png", f"{tmp_path}/../x.png", "\0", f"{tmp_path}/\0"):
        body = json.dumps({"data": [file_data(path), ""], "fn_index": 3})
        with pytest.raises(CallError, match="as an upload"):
            calls.read_joined(body.encode())
