"""Calls of addresses take turns, and one address cannot fill the queue."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest

from studio.ui import security, turns
from studio.ui.security import LOCAL_CAPS, PUBLIC_CAPS, Access
from studio.ui.turns import Turns, WaitingCalls
from tests.studio.page import HOUSE, QUEUE_STATISTICS, Server, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]


@dataclass(frozen=True)
class Waiting:
    """What gradio keeps of a call, as far as it counts here."""

    address: str
    number: int

    @property
    def request(self) -> object:
        return SimpleNamespace(scope={"client": (self.address, 0)})


class Slot:
    """Calls that wait for one slot, at a time of the test's."""

    def __init__(self) -> None:
        self.now_s, self.count = 0.0, 0
        self.waiting = WaitingCalls(lambda: self.now_s)

    def call(self, *addresses: str) -> None:
        for address in addresses:
            self.waiting.append(Waiting(address, self.count))
            self.count += 1

    def order(self) -> list[tuple[str, int]]:
        """The order in which calls are answered, by address and number."""
        return [(event.address, event.number) for event in self.waiting]


def order(*addresses: str) -> list[tuple[str, int]]:
    """The order in which calls of these addresses, made at once, are answered."""
    slot = Slot()
    slot.call(*addresses)
    return slot.order()


def test_a_visitor_waits_for_one_call_of_whoever_sends_many():
    many, one, other = "192.0.2.1", "192.0.2.2", "192.0.2.3"
    assert order(many, many, many, one, other, one) == [
        (many, 0), (one, 3), (other, 4), (many, 1), (one, 5), (many, 2),
    ]  # fmt: skip


def test_who_calls_now_and_then_waits_for_none_of_those_who_called_all_the_time():
    busy, busy_too, calm = "192.0.2.1", "192.0.2.2", "192.0.2.3"
    slot = Slot()
    slot.call(calm)
    for second in range(20):
        slot.now_s = second
        slot.waiting.clear()  # all were answered
        slot.call(busy, busy_too)
    slot.call(calm)
    assert [address for address, _ in slot.order()] == [calm, busy, busy_too]


def test_what_an_address_sent_counts_for_a_time():
    busy, calm = "192.0.2.1", "192.0.2.2"
    slot = Slot()
    slot.call(*[busy] * 100)
    slot.waiting.clear()
    slot.now_s = turns.MEMORY_S - 1
    slot.call(busy, calm)
    assert [address for address, _ in slot.order()] == [calm, busy]
    slot.waiting.clear()
    slot.now_s += 2 * turns.CALL_S
    slot.call(busy, calm)
    assert [address for address, _ in slot.order()] == [busy, calm]


def test_a_call_waits_for_none_that_comes_a_minute_later():
    busy = "192.0.2.1"
    slot = Slot()
    slot.call(*[busy] * 100)
    slot.now_s = turns.MEMORY_S + 1
    slot.call(*[f"198.51.100.{number}" for number in range(20)])
    assert [number for _, number in slot.order()] == list(range(120))


def test_calls_of_one_address_and_of_one_network_keep_their_order():
    assert order(*["127.0.0.1"] * 4) == [("127.0.0.1", number) for number in range(4)]
    first, second = "2001:db8::1", "2001:db8::2"
    assert order(first, second, first) == [(first, 0), (second, 1), (first, 2)]


def test_an_address_fills_no_queue():
    page = gr.Blocks(analytics_enabled=False)
    with page:
        button = gr.Button()
        button.click(lambda: None, concurrency_id="draw")
    limit = Turns(page, 2)
    (slot,) = page._queue.event_queue_per_concurrency_id.values()
    for number in range(2):
        assert limit.refuse("192.0.2.1") is None
        slot.queue.append(Waiting("192.0.2.1", number))
    refusal = limit.refuse("192.0.2.1")
    assert refusal is not None
    assert refusal.sentence == (
        "2 requests from your address wait already. Try again in 5 seconds."
    )
    assert limit.refuse("192.0.2.2") is None
    slot.queue.pop(0)
    assert limit.refuse("192.0.2.1") is None


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    caps = security.PageCaps(drawing=PUBLIC_CAPS.drawing, num_waiting_address=3)
    monkeypatch.setattr(security, "PUBLIC_CAPS", caps)
    access = Access(is_public=True, proxies=("127.0.0.1",))
    with serve(shared_world(tmp_path_factory), access) as running:
        yield running


def test_drawings_of_one_visitor_leave_room_for_searches_of_others(server: Server):
    drawing = {"data": [HOUSE, "red", 0.5, 1, 20, 3.0, 2, None, False]}
    with httpx.Client(base_url=server.address, timeout=60) as client:
        first, second = ({"x-forwarded-for": f"192.0.2.{number}"} for number in (1, 2))
        answers = [
            client.post("/gradio_api/call/generate", json=drawing, headers=first) for _ in range(12)
        ]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:3] == [200, 200, 200]
        assert 429 in statuses
        refused = answers[statuses.index(429)]
        assert refused.headers["retry-after"] == "5"
        assert "3 requests from your address wait already" in refused.json()["detail"]
        search = {"data": [HOUSE, "red", 0.5]}
        asked = client.post("/gradio_api/call/retrieve", json=search, headers=second)
        assert asked.status_code == 200
        path = f"/gradio_api/call/retrieve/{asked.json()['event_id']}"
        assert "event: complete" in client.get(path, headers=second).text


def test_a_public_page_bounds_what_an_address_has_waiting():
    assert PUBLIC_CAPS.num_waiting_address * 4 < PUBLIC_CAPS.queue_size
    assert LOCAL_CAPS.num_waiting_address == LOCAL_CAPS.queue_size
