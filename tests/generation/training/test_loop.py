import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn

from composer.training.loop import Budget
from generation.training.loop import (
    Optimisation,
    Run,
    StepLoss,
    step_generator,
    train,
)


class Line:
    """Fits y = 3 x - 1; may be killed at a step; records the slope before each step."""

    name = "line"

    def __init__(self, kill_at: int | None = None):
        torch.manual_seed(0)
        self.module = nn.Linear(1, 1)
        self.kill_at, self.calls = kill_at, 0
        self.slopes: list[float] = []

    def loss(self, generator):
        if self.calls == self.kill_at:
            raise KeyboardInterrupt
        self.calls += 1
        self.slopes.append(self.module.weight.item())
        x = torch.randn(16, 1, generator=generator)
        loss = (self.module(x) - (3 * x - 1)).square().mean()
        return StepLoss(total=loss, parts={"loss": loss})


def run_in(folder, num_steps=20, lines=None):
    sink = [] if lines is None else lines
    budget = Budget(num_steps=num_steps)
    return Run(folder=folder, budget=budget, device=torch.device("cpu"), log=sink.append)


SETTINGS = Optimisation(
    batch_size=16, learning_rate=0.1, num_warmup_steps=3, average_decay=0.9, save_every_s=0.0
)


def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path):
    whole, first, second = Line(), Line(kill_at=10), Line()
    train(whole, SETTINGS, run_in(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(first, SETTINGS, run_in(tmp_path / "broken"))
    lines = []
    trained = train(second, SETTINGS, run_in(tmp_path / "broken", lines=lines))
    assert second.calls == 10
    assert trained.num_steps == 20
    assert lines[0] == "line resumes from step 10"
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, second.module.state_dict()[name]), name


def test_a_finished_run_does_nothing_more(tmp_path):
    first, again = Line(), Line()
    train(first, SETTINGS, run_in(tmp_path))
    train(again, SETTINGS, run_in(tmp_path))
    assert again.calls == 0
    assert torch.equal(first.module.weight, again.module.weight)


def test_a_trained_module_holds_the_average_of_its_weights(tmp_path):
    settings = dataclasses.replace(SETTINGS, decay_share=0.0)  # so that more steps change no rate
    longer, line = Line(), Line()
    train(longer, settings, run_in(tmp_path / "longer", num_steps=9))
    train(line, settings, run_in(tmp_path / "line", num_steps=8))
    assert longer.slopes[:8] == line.slopes
    average = longer.slopes[0]
    for step, slope in enumerate(longer.slopes[1:]):
        kept = min(0.9, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * slope
    assert line.module.weight.item() == pytest.approx(average, rel=1e-5)
    assert abs(average - longer.slopes[8]) > 1e-3
    assert not line.module.training


def test_the_loss_falls_and_the_log_tells_time(tmp_path):
    lines = []
    trained = train(Line(), SETTINGS, run_in(tmp_path, num_steps=100, lines=lines))
    assert sum(trained.last_losses[-10:]) < 0.2 * sum(trained.last_losses[:10])
    assert "line step 50 (50%) loss" in lines[0]
    assert "min left" in lines[0]


def test_a_broken_loss_is_reported(tmp_path):
    class Broken(Line):
        def loss(self, generator):
            loss = super().loss(generator)
            return StepLoss(total=loss.total * math.nan, parts=loss.parts)

    with pytest.raises(FloatingPointError, match="loss of line is not finite at step 50"):
        train(Broken(), SETTINGS, run_in(tmp_path, num_steps=60))


def test_rates_follow_the_settings_of_the_stage(tmp_path):
    """AdamW moves a parameter by about its rate while the gradient keeps its sign."""

    class Recorded(Line):
        def __init__(self):
            super().__init__()
            self.weights = []

        def loss(self, generator):
            self.weights.append(self.module.weight.item())
            return super().loss(generator)

    line = Recorded()
    settings = Optimisation(
        batch_size=16,
        learning_rate=0.1,
        num_warmup_steps=2,
        average_decay=0.0,
        decay_share=0.5,
        save_every_s=0.0,
    )
    train(line, settings, run_in(tmp_path, num_steps=10))
    weights = [*line.weights, line.module.weight.item()]
    moves = [after - before for before, after in itertools.pairwise(weights)]
    assert moves[0] == pytest.approx(0.05, rel=1e-3)  # half of the warm-up
    assert moves[4] == pytest.approx(0.1, rel=0.2)
    assert moves[9] == pytest.approx(0.00955, rel=0.2)  # 0.1 (1 + cos 0.8 pi) / 2


def test_steps_draw_independently():
    values = torch.rand(4, generator=step_generator(0, 1))
    assert torch.equal(values, torch.rand(4, generator=step_generator(0, 1)))
    assert not torch.equal(values, torch.rand(4, generator=step_generator(0, 2)))
    assert not torch.equal(values, torch.rand(4, generator=step_generator(1, 1)))
