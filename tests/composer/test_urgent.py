"""Work that goes ahead of a card's queue; on the CPU with a stand-in for CUDA's streams."""

from contextlib import contextmanager

import torch

from composer.urgent import urgent


def test_on_a_cpu_the_block_just_runs():
    with urgent("cpu"):
        assert float(torch.ones(2).sum()) == 2.0


def test_on_a_card_the_block_runs_on_a_stream_of_high_priority_and_is_waited_for(monkeypatch):
    events: list[str] = []

    class Stream:
        def __init__(self, device, priority):
            events.append(f"{device} {priority}")

        def synchronize(self):
            events.append("synchronised")

    @contextmanager
    def current(stream):
        events.append("entered")
        yield
        events.append("left")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", current)
    with urgent("cuda:1"):
        events.append("work")
    assert events == ["cuda:1 -1", "entered", "work", "synchronised", "left"]
