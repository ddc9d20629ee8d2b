import sys

import pytest
import torch

from composer.peak_memory import peak_bytes, start_peak, used_bytes


def test_the_peak_grows_by_what_is_held_meanwhile():
    cpu = torch.device("cpu")
    start_peak(cpu)
    before = peak_bytes(cpu)
    block = torch.ones(50_000_000)
    assert peak_bytes(cpu) - before > 150_000_000
    del block


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is in use")
def test_what_is_in_use_grows_and_shrinks():
    cpu = torch.device("cpu")
    before = used_bytes(cpu)
    block = torch.ones(50_000_000)
    assert used_bytes(cpu) - before > 150_000_000
    del block
    assert used_bytes(cpu) - before < 100_000_000
