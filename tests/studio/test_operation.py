"""Health, access log, counters and login of a served page."""

import base64
import io
import os
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from studio.cli import main
from studio.errors import UsageError
from studio.ui import login
from studio.ui.budgets import LOGIN_PLAN
from studio.ui.login import Logins, make_line, read_logins
from studio.ui.operation import Operation, operated
from studio.ui.security import Access
from studio.ui.telemetry import route_of
from tests.studio.page import HOUSE, QUEUE_STATISTICS, Server, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

API = "/gradio_api/"
MARKER = "zqxmarker"
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ 127\.0\.0\.1 [A-Z]+ [a-z]+ \d{3} \d+ \d+\.\d{3}"
)
PASSWORD = "sage green teapot"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "_COST", 1 << 14)


def logins_of(folder: Path, *names: str) -> Path:
    file = folder / "logins"
    file.write_text("# visitors\n" + "\n".join(make_line(name, PASSWORD) for name in names) + "\n")
    return file


@pytest.fixture
def running(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, int]]:
    port = free_port()
    with (
        operated(None, tmp_path / "access.log", port) as operation,
        serve(shared_world(tmp_path_factory), Access(), operation) as server,
    ):
        yield server, port


def test_an_operator_knows_how_much_and_not_what(running: tuple[Server, int], tmp_path: Path):
    server, port = running
    with httpx.Client(base_url=server.address, timeout=60) as client:
        health = client.get("/healthz", headers={"host": "10.0.0.1"})
        assert (health.status_code, health.json()) == (200, {"status": "ok"})
        assert client.get("/healthz").headers["cache-control"] == "no-store"
        for _ in range(2):
            asked = client.post(f"{API}call/retrieve", json={"data": [HOUSE, MARKER, 0.5]})
            client.get(f"{API}call/retrieve/{asked.json()['event_id']}")
        client.get(f"/{MARKER}?{MARKER}=1", headers={"user-agent": MARKER})
        client.request(MARKER.upper(), "/")
        files = {"files": (f"{MARKER}.png", b"picture")}
        client.post(f"{API}upload", files=files)
        client.get(f"{API}file=/etc/{MARKER}")
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404
        server.handlers.sessions.close(0.0)
        stopping = client.get("/healthz")
        assert (stopping.status_code, stopping.json()) == (503, {"status": "stopping"})
    assert 'duet_calls_total{function="retrieve"} 2\n' in text
    assert 'duet_requests_total{method="POST",route="call",status="200"} 2\n' in text
    assert 'duet_requests_total{method="OTHER",route="page",status="404"} 1\n' in text
    assert "duet_uploads_bytes 7\n" in text
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) .+|[a-z_]+(\{[^}]+\})? [0-9.e+-]+", line), line
    log = tmp_path / "access.log"
    lines = log.read_text().splitlines()
    assert len(lines) >= 9
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    for said in (text.lower(), log.read_text().lower()):
        assert MARKER not in said
        assert "0.5123" not in said
    assert log.stat().st_mode & 0o077 == 0


_COUNT_ARENAS = """
import ctypes, sys, threading
from studio.arenas import bound_arenas
if sys.argv[1] == "bound":
    bound_arenas()
blocks, all_have = [], threading.Barrier(16)
def allocate():
    blocks.append(bytearray(50_000))
    all_have.wait()
threads = [threading.Thread(target=allocate) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL("libc.so.6")
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_arenas(tmp_path: Path):
    counts: dict[str, int] = {}
    usual = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    for how in ("free", "bound"):
        file = tmp_path / how
        subprocess.run([sys.executable, "-c", _COUNT_ARENAS, how, file], check=True, env=usual)
        counts[how] = file.read_text().count("<heap nr=")
    assert counts["free"] > 2
    assert counts["bound"] <= 2


def test_a_log_that_is_moved_away_is_begun_again(tmp_path: Path):
    file = tmp_path / "access.log"
    with operated(None, file, None) as operation:
        operation.telemetry.record(("192.0.2.1", "GET", "page"), 200, 1, 0.1)
        file.rename(tmp_path / "old.log")
        operation.telemetry.record(("192.0.2.2", "GET", "page"), 200, 1, 0.1)
    assert "192.0.2.1" in (tmp_path / "old.log").read_text()
    assert "192.0.2.2" in file.read_text()


def test_what_cannot_be_opened_is_a_sentence(tmp_path: Path):
    with pytest.raises(UsageError, match=r"--access-log .* cannot be written"):
        operated(None, tmp_path / "no" / "log", None).__enter__()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--metrics-port {port} is taken"):
            operated(None, None, port).__enter__()
    with pytest.raises(UsageError, match="is taken or no port"):
        operated(None, None, 70_000).__enter__()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "page"), ("/gradio_api/call/retrieve", "call"), ("/gradio_api/call/x/y", "call"),
        ("/gradio_api/file=/a\nb", "file"), ("/assets/x.js", "assets"), ("/x", "other"),
        ("/gradio_api/heartbeat/visit-1", "open"), ("/gradio_api/queue/join", "join"),
    ],
)  # fmt: skip
def test_a_route_has_a_name(path: str, name: str):
    assert route_of(path) == name


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_only_those_in_the_file_use_the_page(
    cheap: None, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    operation = Operation(logins=read_logins(logins_of(tmp_path, "ann", "bob")))
    with (
        serve(shared_world(tmp_path_factory), Access(), operation) as server,
        httpx.Client(base_url=server.address, timeout=60) as client,
    ):
        for path in ("/", "/config", f"{API}info", f"{API}file=/x.png", f"{API}heartbeat/a"):
            answer = client.get(path)
            assert answer.status_code in (401, 403), path
            assert "frame-ancestors" in answer.headers["content-security-policy"]
        answer = client.post(f"{API}upload", files={"files": ("x.png", b"x")})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        assert client.get("/healthz").status_code == 200
        for headers in (basic("ann", PASSWORD), basic("bob", PASSWORD)):
            assert client.get("/config", headers=headers).status_code == 200
        wrong = [basic("ann", "wrong password"), basic("nobody", PASSWORD), basic("", "")]
        wrong += [{"authorization": value} for value in ("Basic", "Basic ??", "Bearer x", "x")]
        allowed = LOGIN_PLAN[login.Charge.LOGIN].address.num - 2
        statuses = [
            client.get("/config", headers=wrong[number % len(wrong)]).status_code
            for number in range(allowed + 1)
        ]
        assert statuses == [401] * allowed + [429]
        refused = client.get("/config", headers=basic("ann", "another one"))
        assert "wrong passwords" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) > 0
        # Who has logged in is not locked out.
        assert client.get("/config", headers=basic("ann", PASSWORD)).status_code == 200


def test_an_unknown_name_takes_the_time_of_a_known_one(tmp_path: Path):
    """Without a hash, an unknown name would be answered a hundred times as fast."""
    logins = read_logins(logins_of(tmp_path, "ann"))

    def least_s(name: str) -> float:
        times: list[float] = []
        for _ in range(3):
            began = time.thread_time()
            assert not logins.check(basic(name, "wrong password")["authorization"])
            times.append(time.thread_time() - began)
        return min(times)

    assert 0.5 < least_s("nobody") / least_s("ann") < 2


def test_a_line_holds_no_password_and_a_salt_of_its_own():
    first, second = make_line("ann", PASSWORD), make_line("ann", PASSWORD)
    assert first != second
    assert first.startswith("ann:scrypt$32768$8$1$")
    assert PASSWORD not in first


def test_the_command_makes_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert main(["password", "ann"]) == 0
    file = tmp_path / "logins"
    file.write_text(capsys.readouterr().out)
    logins: Logins = read_logins(file)
    assert logins.check(basic("ann", PASSWORD)["authorization"])
    assert logins.is_known(basic("ann", PASSWORD)["authorization"])
    assert not logins.is_known(basic("ann", PASSWORD + "x")["authorization"])
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert main(["password", "ann"]) == 2
    assert "8 to 1024 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "", "# nobody\n", "ann\n", "ann:secret password\n", "a b:scrypt$32768$8$1$AAAA$AAAA\n",
        "ann:scrypt$2$8$1$QUFBQUFBQUE=$" + "QUFB" * 11 + "\n",
        "ann:scrypt$1099511627776$8$1$QUFBQUFBQUE=$" + "QUFB" * 11 + "\n", "\udcff",
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_logins_is_a_sentence(tmp_path: Path, text: str):
    file = tmp_path / "logins"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"duet password NAME$|cannot be read"):
        read_logins(file)
