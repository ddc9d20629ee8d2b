"""The order of waiting calls: addresses take turns, so that who sends many keeps none waiting."""

import bisect
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from studio.ui.budgets import Refusal, network_of
from studio.ui.origins import peer_address

CALL_S = 5.0  # between the calls of an address that always comes first
MEMORY_S = 60.0
RETRY_S = 5


class WaitingCalls(list[Any]):
    """Calls that wait for one slot, in the order of a virtual clock for every address.

    Each call moves its address's clock on by `CALL_S`, and at most `MEMORY_S` ahead of the time; a
    call waits behind those of earlier clocks. Who calls now and then is next, whoever else sends
    many; these get what is left, and no call waits behind those that come `MEMORY_S` after it.

    Source: Zhang 1990, "VirtualClock: A New Traffic Control Algorithm for Packet Switching
    Networks".
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        """Begin empty.

        Args:
            now_s: The time in seconds.
        """
        super().__init__()
        self._now_s = now_s
        self._clocks_s: dict[str, float] = {}  # of addresses, where ahead of the time
        self._turns_s: dict[int, float] = {}  # of the calls that wait, by their identity

    def append(self, event: Any, /) -> None:  # noqa: ANN401  gradio's
        """Let a call wait behind those whose turn is not after its own."""
        now_s, address = self._now_s(), _address(event)
        self._clocks_s = {one: at_s for one, at_s in self._clocks_s.items() if at_s > now_s}
        turn_s = self._clocks_s.get(address, now_s)
        self._clocks_s[address] = min(turn_s + CALL_S, now_s + MEMORY_S)
        self._turns_s = {id(other): self._turns_s[id(other)] for other in self}
        self._turns_s[id(event)] = turn_s
        bisect.insort(self, event, key=lambda other: self._turns_s[id(other)])


class Turns:
    """The calls of a page that wait, for all its slots."""

    def __init__(self, page: gr.Blocks, most: int) -> None:
        """Have the calls of a page take turns.

        Args:
            page: A page that is built and not launched.
            most: Calls of one address that may wait.
        """
        queue, self._most = vars(page)["_queue"], most
        for function in page.fns.values():
            queue.create_event_queue_for_fn(function)
        self._slots = tuple(queue.event_queue_per_concurrency_id.values())
        for slot in self._slots:
            slot.queue = WaitingCalls()

    def refuse(self, address: str) -> Refusal | None:
        """Refuse a call of an address that has enough waiting ones."""
        network = network_of(address)
        waiting = (event for slot in self._slots for event in slot.queue)
        if sum(_address(event) == network for event in waiting) < self._most:
            return None
        return Refusal(
            sentence=f"{self._most} requests from your address wait already. "
            f"Try again in {RETRY_S} seconds.",
            wait_s=RETRY_S,
        )


def _address(event: Any) -> str:  # noqa: ANN401  gradio's
    return network_of(peer_address(event.request.scope))
