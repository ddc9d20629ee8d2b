"""Budgets of a public page: how often an address and a visitor may call, draw and upload."""

import ipaddress
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

_SWEEP_EVERY = 1000


class Charge(StrEnum):
    """What is counted; the value is its name in a sentence."""

    CALL = "requests"
    DRAWING = "drawings"
    UPLOAD = "uploads"
    PAGE = "opened pages"
    LOGIN = "wrong passwords"


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """A number of charges within a time; unused ones are not saved up beyond it."""

    num: int
    within_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowances:
    """Allowances of all visits from one address, and of one visit where a request names it."""

    address: Allowance
    visitor: Allowance | None = None


BudgetPlan = Mapping[Charge, Allowances]

LOGIN_PLAN: BudgetPlan = {
    Charge.LOGIN: Allowances(address=Allowance(num=10, within_s=600.0)),
}
PUBLIC_PLAN: BudgetPlan = {
    Charge.CALL: Allowances(
        visitor=Allowance(num=240, within_s=60.0), address=Allowance(num=600, within_s=60.0)
    ),
    Charge.DRAWING: Allowances(
        visitor=Allowance(num=20, within_s=600.0), address=Allowance(num=60, within_s=600.0)
    ),
    Charge.UPLOAD: Allowances(address=Allowance(num=60, within_s=600.0)),
    Charge.PAGE: Allowances(address=Allowance(num=120, within_s=60.0)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """A charge that was refused.

    Attributes:
        sentence: What is limited and when it is possible again.
        wait_s: Whole seconds until then.
    """

    sentence: str
    wait_s: int


class Budget:
    """The charges of a server's visitors; for one event loop, not for threads."""

    def __init__(self, plan: BudgetPlan, clock: Callable[[], float] = time.monotonic) -> None:
        """Count by a plan."""
        self._plan, self._clock = plan, clock
        # For each account the time at which its allowance is whole again.
        self._whole_at: dict[tuple[Charge, str], float] = {}
        self._num_charges = 0

    def charge(self, what: Charge, *, address: str, visitor: str) -> Refusal | None:
        """Charge an address and a visitor; charge neither if one has nothing left.

        Args:
            what: What is counted.
            address: Where the request comes from; of IPv6, the network counts.
            visitor: Name of the visit; empty if the request names none.
        """
        if what not in self._plan:
            return None
        now, allowances = self._clock(), self._plan[what]
        self._sweep(now)
        accounts = {(what, f"address {network_of(address)}"): allowances.address}
        if visitor and allowances.visitor is not None:
            accounts[what, f"visitor {visitor}"] = allowances.visitor
        times = {
            account: self._next(account, allowance, now) for account, allowance in accounts.items()
        }
        for account, allowance in accounts.items():
            if (over_s := times[account] - now - allowance.within_s) > 1e-6:
                return _refuse(what, allowance, over_s)
        self._whole_at.update(times)
        return None

    def _next(self, account: tuple[Charge, str], allowance: Allowance, now: float) -> float:
        """Return when an allowance would be whole again after one more charge."""
        return max(self._whole_at.get(account, now), now) + allowance.within_s / allowance.num

    def _sweep(self, now: float) -> None:
        """Forget accounts whose allowance is whole."""
        self._num_charges += 1
        if self._num_charges % _SWEEP_EVERY == 0:
            self._whole_at = {
                account: moment for account, moment in self._whole_at.items() if moment > now
            }


def _refuse(what: Charge, allowance: Allowance, over_s: float) -> Refusal:
    wait_s = max(1, math.ceil(over_s))
    minutes = round(allowance.within_s / 60)
    span = "a minute" if minutes == 1 else f"{minutes} minutes"
    unit = "second" if wait_s == 1 else "seconds"
    return Refusal(
        sentence=f"At most {allowance.num} {what} within {span} are possible here. "
        f"Try again in {wait_s} {unit}.",
        wait_s=wait_s,
    )


def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6, the network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
