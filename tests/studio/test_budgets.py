"""Budgets: how often an address and a visitor may call, draw and upload."""

import httpx
import pytest

from studio.ui import security
from studio.ui.budgets import LOGIN_PLAN, PUBLIC_PLAN, Allowance, Allowances, Budget, Charge
from studio.ui.security import LOCAL_CAPS, PUBLIC_CAPS, Access
from tests.studio.page import HOUSE, QUEUE_STATISTICS, serve, shared_world

pytestmark = [*QUEUE_STATISTICS]

PLAN = {
    Charge.DRAWING: Allowances(
        visitor=Allowance(num=2, within_s=60.0), address=Allowance(num=3, within_s=60.0)
    ),
    Charge.CALL: Allowances(address=Allowance(num=3, within_s=600.0)),
    Charge.UPLOAD: Allowances(address=Allowance(num=1, within_s=60.0)),
    Charge.PAGE: Allowances(address=Allowance(num=2, within_s=60.0)),
}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def draw(budget: Budget, visitor: str, address: str = "192.0.2.1") -> int:
    """Seconds to wait; 0 if the drawing is granted."""
    refusal = budget.charge(Charge.DRAWING, address=address, visitor=visitor)
    return 0 if refusal is None else refusal.wait_s


def test_a_visitor_and_an_address_have_their_own_allowance():
    budget = Budget(PLAN, Clock())
    assert [draw(budget, "one") for _ in range(3)] == [0, 0, 30]
    assert draw(budget, "two") == 0
    assert draw(budget, "three") == 20  # the address has had three
    assert draw(budget, "three", "192.0.2.2") == 0


def test_a_refused_charge_costs_nothing():
    clock = Clock()
    budget = Budget(PLAN, clock)
    for _ in range(50):
        draw(budget, "one")
    clock.now += 30
    assert draw(budget, "one") == 0
    assert draw(budget, "one") == 30


def test_the_sentence_names_a_time():
    budget = Budget(PLAN, Clock())
    refusals = [budget.charge(Charge.CALL, address="192.0.2.1", visitor="") for _ in range(4)]
    assert refusals[:3] == [None, None, None]
    refusal = refusals[3]
    assert refusal is not None
    assert refusal.sentence == (
        "At most 3 requests within 10 minutes are possible here. Try again in 200 seconds."
    )


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_an_ipv6_network_is_one_address(first: str, second: str, is_one: bool):
    budget = Budget(PLAN, Clock())
    assert [draw(budget, str(number), first) for number in range(3)] == [0, 0, 0]
    assert (draw(budget, "x", second) > 0) is is_one


def test_accounts_that_are_whole_again_are_forgotten():
    clock = Clock()
    budget = Budget(PLAN, clock)
    for number in range(3000):
        clock.now += 1
        draw(budget, f"visitor{number}", f"10.0.{number // 250}.{number % 250}")
    assert len(budget._whole_at) < 2500  # pyright: ignore[reportPrivateUsage]


def test_a_public_page_has_a_budget_of_everything():
    assert set(PUBLIC_CAPS.budget) == set(Charge) - {Charge.LOGIN} == set(PUBLIC_PLAN)
    assert set(LOGIN_PLAN) == {Charge.LOGIN}
    assert LOCAL_CAPS.budget == {}


def test_the_served_page_refuses_with_a_time(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(security, "PUBLIC_CAPS", security.PageCaps(
        drawing=PUBLIC_CAPS.drawing, budget=PLAN,
    ))  # fmt: skip
    access = Access(is_public=True)
    with (
        serve(shared_world(tmp_path_factory), access) as server,
        httpx.Client(base_url=server.address, timeout=60) as client,
    ):
        answers = [
            client.post(
                "/gradio_api/call/retrieve",
                json={"data": [HOUSE, "red", 0.5], "session_hash": f"visit{number}"},
                headers={"x-forwarded-for": f"192.0.2.{number}"},
            )
            for number in range(4)
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        wait_s = answers[-1].headers["retry-after"]
        assert 100 < int(wait_s) <= 200
        assert f"Try again in {wait_s} seconds." in answers[-1].json()["detail"]
        uploads = [
            client.post("/gradio_api/upload", files={"files": ("x.png", b"x")}) for _ in range(2)
        ]
        assert [answer.status_code for answer in uploads] == [200, 429]
        assert "uploads" in uploads[-1].json()["detail"]
        statuses = []
        for number in range(3):
            with client.stream("GET", f"/gradio_api/heartbeat/page{number}") as page:
                statuses.append(page.status_code)
        assert statuses == [200, 200, 429]
