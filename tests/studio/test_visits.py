"""Quotas of uploads, and what is removed when a visit ends."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from generation.cancel import GenerationCancelledError
from studio.ui import security
from studio.ui.security import LOCAL_CAPS, PUBLIC_CAPS, Access
from studio.ui.sessions import Sessions
from studio.ui.uploads import MEBIBYTE, UploadQuota, Uploads
from studio.ui.visits import VisitLimits, Visits
from tests.studio.page import HOUSE, QUEUE_STATISTICS, Server, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

API = "/gradio_api/"
QUOTA = UploadQuota(total_bytes=5 * MEBIBYTE, address_bytes=3 * MEBIBYTE)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def arrive(uploads: Uploads, file: Path, num_bytes: int, address: str = "192.0.2.1") -> str:
    """Uploads a file; the sentence of a refusal, else nothing."""
    refusal = uploads.reserve(address, num_bytes)
    if refusal is not None:
        return refusal.sentence
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(bytes(num_bytes))
    uploads.settle(address, num_bytes, (file,))
    return ""


def test_an_address_and_all_together_have_a_quota(tmp_path: Path):
    uploads = Uploads(tmp_path, QUOTA)
    assert arrive(uploads, tmp_path / "a" / "x", 2 * MEBIBYTE) == ""
    refused = arrive(uploads, tmp_path / "b" / "x", 2 * MEBIBYTE)
    assert refused == (
        "At most 3 MiB of uploads are kept for you at once. Reload the page to remove yours, or "
        "try again in 600 seconds."
    )
    assert arrive(uploads, tmp_path / "b" / "x", 2 * MEBIBYTE, "192.0.2.2") == ""
    full = arrive(uploads, tmp_path / "c" / "x", 2 * MEBIBYTE, "192.0.2.3")
    assert "no more room for uploads" in full
    assert "try again in 600 seconds" in full
    uploads.claim("one", tmp_path / "a" / "x")
    uploads.leave("one")
    assert arrive(uploads, tmp_path / "c" / "x", 2 * MEBIBYTE, "192.0.2.3") == ""


def test_what_is_arriving_counts_and_what_broke_off_is_removed(tmp_path: Path):
    uploads = Uploads(tmp_path, QUOTA)
    assert uploads.reserve("192.0.2.1", 3 * MEBIBYTE) is None
    assert uploads.reserve("192.0.2.1", 1) is not None
    (tmp_path / "tmp123").write_bytes(b"part")
    uploads.settle("192.0.2.1", 3 * MEBIBYTE, ())
    assert list(tmp_path.iterdir()) == []
    assert uploads.num_bytes == 0


def test_a_full_disk_refuses_before_it_is_full(tmp_path: Path):
    uploads = Uploads(tmp_path, UploadQuota(total_bytes=9, address_bytes=9, free_bytes=1 << 60))
    assert "no more room" in arrive(uploads, tmp_path / "x", 1)


def test_an_upload_that_no_visit_uses_is_removed_in_time(tmp_path: Path):
    clock = Clock()
    uploads = Uploads(tmp_path, QUOTA, clock)
    unused, used = tmp_path / "a" / "x", tmp_path / "b" / "x"
    for file in (unused, used):
        arrive(uploads, file, 9)
    uploads.claim("one", used)
    clock.now += QUOTA.wait_s + 1
    uploads.sweep()
    assert (unused.parent.exists(), used.exists()) == (False, True)


def test_a_second_upload_of_a_file_outlives_the_first_visitor(tmp_path: Path):
    """Between the arrival and the use of the second, the first visitor leaves."""
    clock, file = Clock(), tmp_path / "a" / "x"
    uploads = Uploads(tmp_path, QUOTA, clock)
    arrive(uploads, file, 9)
    uploads.claim("first", file)
    arrive(uploads, file, 9, "192.0.2.2")
    uploads.leave("first")
    assert file.exists()
    uploads.claim("second", file)
    uploads.leave("second")
    assert not file.exists()


def test_a_second_upload_of_a_file_outlives_what_the_first_visitor_goes_on_to_do(tmp_path: Path):
    """The first visitor uses the file once more before the second does, and leaves."""
    clock, file = Clock(), tmp_path / "a" / "x"
    uploads = Uploads(tmp_path, QUOTA, clock)
    arrive(uploads, file, 9)
    uploads.claim("first", file, has_arrived=True)
    arrive(uploads, file, 9, "192.0.2.2")
    uploads.claim("first", file)
    uploads.leave("first")
    assert file.exists()
    uploads.claim("second", file)
    uploads.leave("second")
    assert not file.exists()


def test_a_file_that_its_visitor_uploads_twice_goes_with_them(tmp_path: Path):
    file = tmp_path / "a" / "x"
    uploads = Uploads(tmp_path, QUOTA, Clock())
    for _ in range(2):
        arrive(uploads, file, 9)
        uploads.claim("one", file, has_arrived=True)
        uploads.claim("one", file)
    uploads.leave("one")
    assert not file.exists()


def make_visits(folder: Path, limits: VisitLimits, clock: Clock | None = None) -> Visits:
    clock = clock or Clock()
    return Visits(Sessions(folder / "results"), Uploads(folder, QUOTA, clock), limits, clock)


def test_a_visit_without_a_page_ends_when_it_is_idle(tmp_path: Path):
    clock = Clock()
    visits = make_visits(tmp_path, VisitLimits(idle_s=60.0), clock)
    program, page = visits.sessions.folder("program"), visits.sessions.folder("page")
    assert visits.open_page("page", "192.0.2.1") is None
    for session in ("program", "page"):
        visits.note(session)
    clock.now += 50
    visits.touch("program")
    clock.now += 50
    visits.sweep()
    assert program.exists()
    clock.now += 61
    with visits.sessions.running("program"):
        visits.sweep()
        assert program.exists()
    visits.sweep()
    assert (program.exists(), page.exists()) == (False, True)
    visits.close_page("page", "192.0.2.1")
    assert not page.exists()


def test_pages_of_an_address_are_bounded(tmp_path: Path):
    visits = make_visits(tmp_path, VisitLimits(num_open=3, num_open_address=2))
    opened = [visits.open_page(f"visit{number}", "192.0.2.1") is None for number in range(3)]
    assert opened == [True, True, False]
    assert visits.open_page("other", "192.0.2.2") is None
    refusal = visits.open_page("third", "192.0.2.3")
    assert refusal is not None
    assert "try again in 60 seconds" in refusal.sentence
    visits.close_page("other", "192.0.2.2")
    assert visits.open_page("third", "192.0.2.3") is None


def test_a_closed_server_begins_nothing(tmp_path: Path):
    sessions = Sessions(tmp_path / "results")
    with sessions.running("one") as token:
        assert not sessions.close(0.01)
        assert token.is_cancelled
    assert sessions.close(0.01)
    with sessions.running("two") as token, pytest.raises(GenerationCancelledError):
        token.check()


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A public page of a small quota, whose programs are idle at once."""
    caps = security.PageCaps(drawing=PUBLIC_CAPS.drawing, uploads=QUOTA, num_pages_address=2)
    monkeypatch.setattr(security, "PUBLIC_CAPS", caps)
    with serve(shared_world(tmp_path_factory), Access(is_public=True)) as running:
        yield running


def call(client: httpx.Client, name: str, data: list[Any], session: str | None = None) -> str:
    """Calls by name; the kind of the last event."""
    body = {"data": data} if session is None else {"data": data, "session_hash": session}
    answer = client.post(f"{API}call/{name}", json=body)
    assert answer.status_code == 200
    events = client.get(f"{API}call/{name}/{answer.json()['event_id']}").text
    return [line for line in events.splitlines() if line][-2]


def png(colour: str, side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


def upload(client: httpx.Client, content: bytes) -> httpx.Response:
    return client.post(f"{API}upload", files={"files": ("zebra.png", content)})


def files_of(server: Server) -> set[str]:
    kept = {"duet-1.png", "before.png", "zebra.png"}
    return {path.name for path in (server.folder / "gradio").rglob("*") if path.name in kept}


def test_a_visit_leaves_nothing_on_the_server(server: Server):
    """Results of a program, an upload that was transferred and one that was not."""
    with httpx.Client(base_url=server.address, timeout=120) as client:
        clock = Clock()
        for part in (server.handlers.visits, server.handlers.visits.uploads):
            vars(part)["_clock"] = clock
        (path,) = upload(client, png("red")).json()
        upload(client, png("blue"))
        source = {"path": path, "meta": {"_type": "gradio.FileData"}}
        drawing = [HOUSE, "red", 0.5, 1, 2, 3.0, 1, None, False]
        assert call(client, "generate", drawing) == "event: complete"
        assert call(
            client,
            "transfer",
            [source, "night", "", 0.6, 1, False, "", "", False, False, "", 1],
            "visit",
        )
        assert files_of(server) == {"duet-1.png", "before.png", "zebra.png"}
        clock.now += 601
        server.handlers.visits.sweep()
        assert files_of(server) == set()
        assert server.handlers.visits.uploads.num_bytes == 0


def test_the_served_page_has_a_quota(server: Server):
    with httpx.Client(base_url=server.address, timeout=120) as client:
        assert upload(client, bytes(2 * MEBIBYTE)).status_code == 200
        refused = upload(client, bytes(2 * MEBIBYTE))
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "600"
        assert "Reload the page to remove yours" in refused.json()["detail"]
        assert server.handlers.visits.uploads.num_bytes == 2 * MEBIBYTE


def test_calls_of_others_never_drop_the_state_of_an_open_page(server: Server):
    """Many cheap calls, each of a visit of its own, with room for few."""
    states = server.page.state_holder
    states.capacity = 5
    with httpx.Client(base_url=server.address, timeout=120) as client:
        with client.stream("GET", f"{API}heartbeat/mine") as heartbeat:
            beats = heartbeat.iter_raw()
            next(beats)
            call(client, "retrieve", [HOUSE, "red", 0.5], "mine")
            mine = states["mine"]
            for number in range(12):
                call(client, "retrieve", ["", "", 0.5], f"other{number}")
            assert len(states.session_data) <= 6
            assert states.session_data["mine"] is mine
        with (
            client.stream("GET", f"{API}heartbeat/a"),
            client.stream("GET", f"{API}heartbeat/b"),
            client.stream("GET", f"{API}heartbeat/c") as third,
        ):
            assert third.status_code == 429


def test_a_public_page_keeps_less():
    assert PUBLIC_CAPS.uploads.total_bytes < LOCAL_CAPS.uploads.total_bytes
    assert PUBLIC_CAPS.uploads.address_bytes < PUBLIC_CAPS.uploads.total_bytes
    assert PUBLIC_CAPS.num_pages_address < LOCAL_CAPS.num_pages_address
