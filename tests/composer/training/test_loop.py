import math

import pytest
import torch

from composer.training.loop import (
    Average,
    Budget,
    EarlyStopping,
    Stopwatch,
    fast_precision,
    progress_line,
)


def test_the_first_limit_ends_a_run():
    budget = Budget(num_steps=100, minutes=1.0)
    assert budget.progress(50, 6.0) == 0.5
    assert budget.progress(1, 30.0) == 0.5
    assert budget.progress(500, 0.0) == 1.0


@pytest.mark.parametrize("limits", [{}, {"num_steps": 0}, {"minutes": -1.0}])
def test_a_run_needs_an_end(limits):
    with pytest.raises(ValueError, match="positive number of steps or of minutes"):
        Budget(**limits)


def test_parts_of_a_budget_keep_its_kind_and_never_vanish():
    assert Budget(num_steps=10).part(0.3) == Budget(num_steps=3)
    assert Budget(num_steps=1).part(0.3) == Budget(num_steps=1)
    assert Budget(minutes=50.0).part(0.5) == Budget(minutes=25.0)


def test_patience_counts_checks_without_a_better_score():
    stopping = EarlyStopping(patience=2)
    assert [stopping.is_best(s) for s in (0.1, 0.3, 0.2)] == [True, True, False]
    assert not stopping.should_stop
    stopping.is_best(0.3)
    assert stopping.should_stop


def test_the_average_follows():
    weight = torch.nn.Parameter(torch.zeros(1))
    average = Average({"w": weight}, decay=0.5)
    weight.data.fill_(1.0)
    average.update({"w": weight}, step=0)  # early decay is 1 / 10
    assert average.tensors["w"].item() == pytest.approx(0.9)
    average.update({"w": weight}, step=1000)
    assert average.tensors["w"].item() == pytest.approx(0.95)


def test_time_adds_up_over_resumed_runs():
    assert Stopwatch(before_s=100.0).elapsed_s >= 100


def test_log_lines_tell_the_time_left():
    line = progress_line("duet", 25, Budget(num_steps=100), 60.0, "loss 1")
    assert line == "duet step 25 (25%) loss 1 | 3.0 min left"
    assert "nan" in progress_line("duet", 0, Budget(num_steps=9), math.nan, "")


def test_gpus_use_bf16():
    assert fast_precision(torch.device("cuda")) == "bf16"


@pytest.mark.parametrize("capability", ["DEFAULT", "AVX2"])
def test_a_cpu_kept_from_its_wide_instructions_does_not_use_bf16(capability, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert fast_precision(torch.device("cpu")) == "no"
