import torch

from composer.peak_memory import peak_bytes, start_peak


def test_the_peak_grows_by_what_is_held_meanwhile():
    cpu = torch.device("cpu")
    start_peak(cpu)
    before = peak_bytes(cpu)
    block = torch.ones(50_000_000)
    assert peak_bytes(cpu) - before > 150_000_000
    del block
