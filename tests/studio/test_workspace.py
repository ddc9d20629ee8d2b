"""What a server leaves: nothing after any signal, and nothing for long after a kill."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from studio.ui import workspace
from studio.ui.workspace import PREFIX, private_workspace, sweep_workspaces
from tests.studio.page import HOUSE, shared_world

SERVER = """
import pathlib, sys, threading
from studio.ui.stopping import stops_on_signals
from studio.ui.workspace import private_workspace
try:
    with stops_on_signals(), private_workspace() as folder:
        pathlib.Path("upload.png").write_text("drawn")
        print(folder, flush=True)
        threading.Event().wait()
except KeyboardInterrupt:
    print("closed", flush=True)
"""


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(workspace.tempfile, "tempdir", None)
    return tmp_path


def start() -> tuple[subprocess.Popen[str], Path]:
    child = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def make_older(*folders: Path) -> None:
    for folder in folders:
        os.utime(folder / workspace.LOCK, (time.time() - 60,) * 2)


def test_the_next_server_removes_what_a_kill_left_and_nothing_else(temp: Path):
    killed, folder = start()
    running, other = start()
    killed.kill()
    killed.communicate()
    unlocked = temp / f"{PREFIX}unlocked"
    unlocked.mkdir()
    link = temp / f"{PREFIX}link"
    link.symlink_to(folder)
    make_older(folder, other)
    with private_workspace() as mine:
        assert not folder.exists()
        assert (other / "work" / "upload.png").exists()
        make_older(mine)
        assert sweep_workspaces() == 0
        assert mine.exists()
    assert unlocked.exists()
    assert link.is_symlink()
    running.terminate()
    assert running.communicate()[0] == "closed\n"
    assert not other.exists()


def test_a_folder_of_a_moment_is_left_alone(temp: Path):
    killed, folder = start()
    killed.kill()
    killed.communicate()
    assert sweep_workspaces() == 0
    assert folder.exists()
    make_older(folder)
    assert sweep_workspaces() == 1


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGINT", "SIGQUIT"])
def test_every_signal_removes_the_folder(temp: Path, name: str):
    sent = getattr(signal, name)
    before = signal.signal(sent, signal.SIG_DFL)  # may be ignored here, as below nohup
    try:
        child, folder = start()
    finally:
        signal.signal(sent, before)
    assert (folder / "work" / "upload.png").exists()
    for _ in range(3):  # a closed terminal sends several
        child.send_signal(sent)
    assert child.communicate(timeout=30)[0] == "closed\n"
    assert child.returncode == 0
    assert list(temp.iterdir()) == []


def test_what_was_ignored_stays_ignored(temp: Path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        child, _ = start()
    finally:
        signal.signal(signal.SIGHUP, before)
    child.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert child.poll() is None
    child.terminate()
    assert child.communicate(timeout=30)[0] == "closed\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow  # a whole server, whose start takes a minute where cores are shared
def test_a_server_that_draws_stops_in_time(temp: Path, tmp_path_factory: pytest.TempPathFactory):
    """SIGTERM while images are drawn: the end comes in time, without a word of the machine."""
    world, port = shared_world(tmp_path_factory), free_port()
    arguments = ["--kit", str(world.kit), "--index", str(world.index), "--port", str(port)]
    log = temp / "log"
    with log.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "studio", "demo", "--no-browser", *arguments],
            stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        limits = httpx.Limits(max_keepalive_connections=0)
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, timeout=60, limits=limits) as client:
            wait_until_open(log, child)
            drawing = [HOUSE, "red", 0.5, 1, 50, 3.0, 4, None, False]
            for _ in range(4):
                answer = client.post("/gradio_api/call/generate", json={"data": drawing})
                assert answer.status_code == 200
            time.sleep(1.0)
        began = time.monotonic()
        child.terminate()
        child.wait(30)
        took_s = time.monotonic() - began
    finally:
        child.kill()
        child.wait()
    said = log.read_text()
    assert child.returncode == 0, said
    assert took_s < 20
    assert "Closing." in said
    assert "terminate called" not in said
    assert "Traceback" not in said
    assert [path.name for path in temp.iterdir()] == ["log"]


def wait_until_open(log: Path, child: subprocess.Popen[bytes]) -> None:
    """The port answers earlier, while the queue is not ready."""
    for _ in range(900):
        assert child.poll() is None, log.read_text()
        if "is open at" in log.read_text():
            return
        time.sleep(0.2)
    pytest.fail("The page did not open.")
