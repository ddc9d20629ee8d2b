"""Five hundred random calls of the page: types, counts, addresses, paths, sizes."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from tests.fuzz.mutations import HANG_S, SCALARS, in_time, leaving_nothing, mutate_json
from tests.studio.page import HOUSE, QUEUE_STATISTICS, Server, serve, shared_world

pytestmark = [pytest.mark.slow, *QUEUE_STATISTICS]

NUM_CALLS = 500
API = "/gradio_api/"
ROUTES = ("queue/join", "queue/join", "call/{name}", "call/{name}", "run/{name}", "api/{name}",
          "cancel", "reset", "component_server", "upload", "call/v2/{name}")  # fmt: skip
PATHS = ("http://127.0.0.1:9/x.png", "//x/y", "/etc/passwd", "../../x", "file:///x", "\0", "C:\\x")
HEADERS = ("x-forwarded-for", "x-forwarded-host", "x-gradio-server", "content-type", "origin")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(shared_world(tmp_path_factory)) as running:
        yield running
        assert running.handlers.sessions.close(60.0)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.address, timeout=HANG_S) as opened:
        yield opened


class Caller:
    """Calls that are drawn from a seed."""

    def __init__(self, functions: list[dict[str, Any]], seed: int) -> None:
        self.functions, self.rng = functions, np.random.default_rng(seed)

    def choice(self, values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def value(self) -> Any:
        """An input: a sound one, a scalar, a file of somewhere, or something large or deep."""
        pools: tuple[Any, ...] = (
            (HOUSE, "red", 0.5, 1, True, None, "night"), SCALARS,
            [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in PATHS],
            ("x" * 200_000, [[0.5, 0.5]] * 3000, {"__type__": "update", "value": "x"}),
        )  # fmt: skip
        return self.choice(pools[int(self.rng.choice(4, p=(0.5, 0.3, 0.1, 0.1)))])

    def body(self, function: dict[str, Any], visit: str) -> bytes:
        num = len(function["inputs"]) + int(self.rng.choice((0, 0, 0, -1, 1, -6)))
        body: Any = {
            "data": [self.value() for _ in range(max(0, num))], "session_hash": visit,
            "fn_index": function["id"],
        }  # fmt: skip
        if self.rng.random() < 0.2:
            body["event_data"] = self.value()
        if self.rng.random() < 0.25:
            body = mutate_json(body, self.rng)
        text = json.dumps(body).encode()
        return text[: len(text) // 2] if self.rng.random() < 0.05 else text

    def headers(self) -> dict[str, str]:
        named = {"content-type": "application/json"}
        if self.rng.random() < 0.2:
            named[self.choice(HEADERS)] = self.choice(("null", "127.0.0.1", "x, y", "http://x"))
        return named


def assert_is_typed(answer: httpx.Response) -> None:
    """A refusal is a sentence in JSON or plain text, and names nothing of the program."""
    assert answer.status_code < 500, answer.text[:500]
    assert "Traceback" not in answer.text
    assert ".py" not in answer.text
    if answer.status_code != 200:
        is_plain = answer.headers["content-type"].startswith("text/plain")
        said = answer.text if is_plain else str(answer.json()["detail"])
        assert 0 < len(said) < 1000


def follow(client: httpx.Client, path: str, **parameters: str) -> str:
    """Reads a stream of events until its end; how the call ended."""
    with client.stream("GET", path, params=parameters) as events:
        for line in events.iter_lines():
            assert "Traceback" not in line
            for ending in ("process_completed", "unexpected_error", "event: error", "event: compl"):
                if ending in line:
                    return ending
    return "the stream ended"


def make_call(client: httpx.Client, caller: Caller, visit: str) -> str:
    """Sends one call and waits for its end; how it ended."""
    function = caller.choice(caller.functions)
    named = function["api_name"] or "predict"
    route = caller.choice(ROUTES).format(name=named)
    if caller.rng.random() < 0.1:
        answer = client.get(f"{API}file={quote(caller.choice(PATHS))}")
        assert_is_typed(answer)
        return f"file {answer.status_code}"
    content = caller.body(function, visit)
    answer = client.post(API + route, content=content, headers=caller.headers())
    assert_is_typed(answer)
    if answer.status_code == 200 and route == "queue/join":
        return follow(client, f"{API}queue/data", session_hash=visit)
    if answer.status_code == 200 and route.startswith("call/"):
        return follow(client, f"{API}{route}/{answer.json()['event_id']}")
    return str(answer.status_code)


def test_random_calls_end_in_time_and_in_a_sentence(
    server: Server,
    client: httpx.Client,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    functions = [
        each for each in client.get("/config").json()["dependencies"] if each["backend_fn"]
    ]
    caller, endings = Caller(functions, 6), Counter[str]()
    folder = server.folder / "gradio"

    def run(numbers: range) -> None:
        for number in numbers:
            with in_time(f"call {number}"):
                endings[make_call(client, caller, f"visit{number}")] += 1
        for number in numbers:
            server.handlers.visits.leave(f"visit{number}")

    run(range(-100, 0))  # what is loaded or kept once, such as thumbnails
    with leaving_nothing(folder):
        run(range(NUM_CALLS))
    assert endings["process_completed"] > 20
    assert endings["400"] + endings["404"] > NUM_CALLS / 4
    asked = client.post(f"{API}call/retrieve", json={"data": [HOUSE, "red", 0.5]})
    assert follow(client, f"{API}call/retrieve/{asked.json()['event_id']}") == "event: compl"
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err + caplog.text
