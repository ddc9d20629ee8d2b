"""The loop of all composers' training, on a model of two numbers."""

from dataclasses import dataclass, field

import pytest
import torch

from composer.training.loop import Budget
from composer.training.trainer import (
    Losses,
    ParameterGroup,
    RunSettings,
    Trainer,
    make_accelerator,
)
from tests.composer.tiny import tiny_backbone


@dataclass
class Outcome:
    score: float

    def summary(self):
        return f"score {self.score:.3f}"


@dataclass
class Plane:
    """Fits two numbers to 1 and -2; records what it is asked with which weights."""

    name: str = "plane"
    backbone: object = field(default_factory=tiny_backbone)
    weights: torch.nn.Parameter = field(default_factory=lambda: torch.nn.Parameter(torch.zeros(2)))
    at_steps: list = field(default_factory=list)
    at_checks: list = field(default_factory=list)
    at_exports: list = field(default_factory=list)

    def trainable_state(self):
        return {"weights": self.weights}

    def parameter_groups(self):
        return [ParameterGroup(parameters=[self.weights], rate=0.1)]

    def losses(self, step, draw):
        self.at_steps.append(self.weights.detach().clone())
        loss = (self.weights - torch.tensor([1.0, -2.0])).square().sum()
        return Losses(terms={"distance": loss}, total=loss)

    def validate(self):
        self.at_checks.append(self.weights.detach().clone())
        return Outcome(score=float(len(self.at_checks)))

    def export(self, path, scores, notes):
        self.at_exports.append((self.weights.detach().clone(), notes))


def trainer_of(objective, folder, **changes):
    settings = {
        "output": folder / "plane.safetensors", "state": folder / "state", "device": "cpu",
        "budget": Budget(num_steps=6), "average_decay": 0.9, "validate_every": 3,
    } | changes  # fmt: skip
    chosen = RunSettings(**settings)
    return Trainer(objective, chosen, make_accelerator(chosen))


def averages_of(weights, decay):
    """The moving average before each step, from the weights before each; by its definition."""
    average, averages = weights[0], [weights[0]]
    for step, weight in enumerate(weights[1:]):
        kept = min(decay, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * weight
        averages.append(average)
    return averages


def test_checks_and_files_have_the_average_and_training_goes_on_from_the_live_weights(tmp_path):
    checked, unchecked = Plane(), Plane()
    trainer_of(checked, tmp_path / "one", validate_every=3).run()
    trainer_of(unchecked, tmp_path / "two", validate_every=100).run()
    # A check leaves no trace in training.
    assert len(checked.at_steps) == len(unchecked.at_steps) == 6
    for first, second in zip(checked.at_steps, unchecked.at_steps, strict=True):
        assert torch.equal(first, second)
    averages = averages_of([*checked.at_steps, checked.weights.detach()], decay=0.9)
    for number, step in enumerate((0, 3, 6)):
        torch.testing.assert_close(checked.at_checks[number], averages[step])
    assert [notes["steps"] for _, notes in checked.at_exports] == ["3", "6"]
    for (weights, _), step in zip(checked.at_exports, (3, 6), strict=True):
        torch.testing.assert_close(weights, averages[step])
    assert (averages[6] - checked.weights).abs().min() > 1e-3


def test_a_check_that_fails_leaves_the_live_weights(tmp_path):
    class Failing(Plane):
        def validate(self):
            super().validate()
            raise RuntimeError("no gallery")

    plane = Failing()
    trainer = trainer_of(plane, tmp_path)
    trainer.train_step()
    live = plane.weights.detach().clone()
    with pytest.raises(RuntimeError, match="no gallery"):
        trainer.validate()
    assert torch.equal(plane.weights.detach(), live)
    assert not torch.equal(plane.at_checks[0], live)


def test_without_a_memory_the_average_is_the_last_step(tmp_path):
    plane = Plane()
    trainer_of(plane, tmp_path, average_decay=0.0).run()
    torch.testing.assert_close(plane.at_checks[-1], plane.weights.detach())
    assert plane.weights[0] > 0.2
    assert plane.weights[1] < -0.2
