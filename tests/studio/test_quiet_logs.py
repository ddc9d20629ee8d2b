"""Nothing that a visitor writes, draws or sends reaches a terminal or a log."""

import asyncio
import io
import itertools
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from studio.ui.quiet import logs_without_content
from tests.studio.page import HOUSE, QUEUE_STATISTICS, Server, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

MARKER = "zqxmarker"
DRAWING = HOUSE.replace("0.5", "0.5123987")
MARKERS = (MARKER, "0.5123987", "5123987")
API = "/gradio_api/"
VISITS = itertools.count()
VALUES: tuple[Any, ...] = (
    MARKER, DRAWING, {MARKER: [MARKER], "__type__": "update"}, 5123987.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(shared_world(tmp_path_factory)) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=120) as opened:
        yield opened


def functions(client: httpx.Client) -> list[dict[str, Any]]:
    return client.get("/config").json()["dependencies"]


def finish(client: httpx.Client, visit: str, num: int) -> None:
    """Reads the events of a visit until as many calls as were accepted have ended."""
    parameters = {"session_hash": visit}
    with client.stream("GET", f"{API}queue/data", params=parameters) as events:
        for line in events.iter_lines():
            num -= "process_completed" in line
            if num <= 0 or "unexpected_error" in line:
                return


def join(client: httpx.Client, bodies: list[dict[str, Any]]) -> None:
    visit = f"visit{next(VISITS)}"
    answers = [
        client.post(f"{API}queue/join", json={**body, "session_hash": visit}) for body in bodies
    ]
    if accepted := sum(answer.status_code == 200 for answer in answers):
        finish(client, visit, accepted)


def test_no_input_of_any_function_reaches_a_log(
    client: httpx.Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    """Every input and event of every function, and every number of inputs."""
    for function in functions(client):
        num, index = len(function["inputs"]), function["id"]
        rows: list[list[Any]] = [[MARKER] * count for count in range(num + 2)]
        for position, value in itertools.product(range(num), VALUES):
            rows.append([*([None] * position), value, *([None] * (num - position - 1))])
        bodies: list[dict[str, Any]] = [{"data": row, "fn_index": index} for row in rows]
        for value in VALUES:
            empty = {"data": [None] * num, "fn_index": index}
            bodies.append({**empty, "event_data": {"index": value, "value": value}})
            bodies.append({**empty, "event_data": value, "trigger_id": value})
        for start in range(0, len(bodies), 24):
            join(client, bodies[start : start + 24])
        for body in bodies[:num]:
            client.post(f"{API}run/{function['api_name'] or MARKER}", json=body)
    assert_nothing_was_said(capfd, caplog)


def test_no_address_header_or_file_reaches_a_log(
    client: httpx.Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    for path in ("", API, f"{API}file=/", f"{API}call/", f"{API}heartbeat_", f"{API}upload/"):
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            client.request(
                method, f"/{path.strip('/')}{MARKER}?{MARKER}={MARKER}",
                headers={"user-agent": MARKER, "cookie": f"{MARKER}={MARKER}", "origin": MARKER},
            )  # fmt: skip
    for body in (MARKER.encode(), json.dumps({"data": MARKER, MARKER: 1}).encode(), b"\xff"):
        for route in ("queue/join", "call/retrieve", "run/predict", "upload", "cancel", "reset"):
            for kind in ("application/json", MARKER):
                answer = client.post(API + route, content=body, headers={"content-type": kind})
                assert answer.status_code < 500
    for name in (f"../{MARKER}.png", f"{MARKER}\0.safetensors", MARKER * 40):
        answer = client.post(f"{API}upload", files={"files": (name, MARKER.encode() * 9)})
        if answer.status_code == 200:
            (path,) = answer.json()
            file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": MARKER}
            for function in functions(client):
                num = len(function["inputs"])
                rows = [[None] * at + [file] + [None] * (num - at - 1) for at in range(num)]
                join(client, [{"data": row, "fn_index": function["id"]} for row in rows])
    assert_nothing_was_said(capfd, caplog)


def test_whole_calls_reach_no_log(
    client: httpx.Client, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    """Calls that succeed, by name, with a drawing and words, painted over a picture, too."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(buffer, "PNG")
    (path,) = client.post(f"{API}upload", files={"files": ("a.png", buffer.getvalue())}).json()
    picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
    paint = [picture, "night", "", 0.5, 5123987, False, "", "", True, True]
    for name, data in (
        ("retrieve", [DRAWING, f"red {MARKER}", 0.5]),
        ("retrieve", [DRAWING, MARKER, "much"]),
        ("retrieve", [DRAWING + MARKER, "", 0.5]),
        ("generate", [DRAWING, f"red {MARKER}", 0.5, 5123987, 1, 3.0, 1, None, True]),
        ("transfer", [*paint, DRAWING, 2]),
        ("transfer", [*paint, DRAWING + MARKER, 1]),
        ("transfer", [*paint, json.dumps({"picture": MARKER, "strokes": [[[0.5, 0.5]]]}), 1]),
        (
            "transfer",
            [None, MARKER, MARKER, 0.5, 5123987, True, MARKER, MARKER, True, True, DRAWING, 1],
        ),
    ):
        answer = client.post(f"{API}call/{name}", json={"data": data})
        assert answer.status_code == 200
        client.get(f"{API}call/{name}/{answer.json()['event_id']}")
    assert_nothing_was_said(capfd, caplog)


def assert_nothing_was_said(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    printed = capfd.readouterr()
    for marker in MARKERS:
        for output in (printed.out, printed.err, caplog.text):
            assert marker not in output, output[:3000]


def test_an_error_is_logged_by_class_and_place(caplog: pytest.LogCaptureFixture):
    async def lose_a_task() -> None:
        async def fail() -> None:
            raise KeyError(MARKER)

        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    def fail_in_a_thread() -> None:
        raise ValueError(MARKER) from OSError(MARKER)

    with logs_without_content():
        asyncio.run(lose_a_task())
        thread = threading.Thread(target=fail_in_a_thread)
        thread.start()
        thread.join()
        try:
            fail_in_a_thread()
        except ValueError:
            logging.getLogger("somebody.else").exception("It failed.")
    assert MARKER not in caplog.text
    assert "It failed." in caplog.text
    for name in ("KeyError", "ValueError", "fail_in_a_thread"):
        assert name in caplog.text
