"""The order of waiting calls: addresses take turns, so that who sends many waits for them alone."""

from collections import Counter
from typing import Any

import gradio as gr

from studio.ui.budgets import Refusal, network_of
from studio.ui.origins import peer_address

RETRY_S = 5


class WaitingCalls(list[Any]):
    """Calls that wait for one slot: the first of every address, then the second of each, ..."""

    def append(self, event: Any, /) -> None:  # noqa: ANN401  gradio's
        """Let a call wait behind those whose turn is not after its own."""
        turns, position = Counter[str](), 0
        own = sum(_address(other) == _address(event) for other in self)
        for number, other in enumerate(self):
            address = _address(other)
            if turns[address] <= own:
                position = number + 1
            turns[address] += 1
        self.insert(position, event)


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
