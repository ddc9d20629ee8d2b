"""The core of the training loops, on two numbers."""

import pytest
import torch

from composer.training.descent import Descent, DescentSettings, ParameterGroup, TrainingError
from composer.training.state import load_state

SETTINGS = DescentSettings(average_decay=0.9)


class Pair:
    """A parameter that descends and a number that rests."""

    def __init__(self, settings=SETTINGS, size=2):
        self.weights = torch.nn.Parameter(torch.zeros(size))
        self.count = torch.zeros(1)
        named = {"weights": self.weights, "count": self.count}
        group = ParameterGroup(parameters=[self.weights], rate=0.1, weight_decay=0.5)
        self.descent = Descent(named, [group], settings)

    def step(self, factor=1.0, **options):
        self.count += 1
        loss = (self.weights - torch.tensor([1.0, -2.0])).square().sum()
        self.descent.step(loss, factor, **options)


def restored(pair, folder):
    state = load_state(folder)
    pair.descent.restore(state, folder)
    return state.counters


def test_the_factor_scales_the_rate():
    half, whole = Pair(), Pair()
    half.step(0.5)
    whole.step(1.0)
    # AdamW's first step moves by the rate, whatever the gradient.
    torch.testing.assert_close(half.weights.detach(), torch.tensor([0.05, -0.05]))
    torch.testing.assert_close(whole.weights.detach(), torch.tensor([0.1, -0.1]))


def test_weight_decay_is_the_groups():
    pair = Pair()
    with torch.no_grad():
        pair.weights.copy_(torch.tensor([1.0, -2.0]))  # the loss is flat: only decay is left
    pair.step()
    torch.testing.assert_close(pair.weights.detach(), 0.95 * torch.tensor([1.0, -2.0]))


def test_gradients_are_shared_before_they_are_clipped():
    pair, gradients = Pair(DescentSettings(max_gradient_norm=0.5)), []

    def double():
        gradients.append(pair.weights.grad.clone())
        pair.weights.grad *= 2

    pair.step(synchronise=double)
    torch.testing.assert_close(gradients[0], torch.tensor([-2.0, 4.0]))
    assert pair.weights.grad.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_a_caller_may_compute_gradients_itself():
    pair, losses = Pair(), []

    def backward(loss):
        losses.append(loss.item())
        loss.backward()

    pair.step(backward=backward)
    assert losses == [5.0]
    assert pair.descent.num_steps == 1


def test_all_named_tensors_are_averaged():
    pair = Pair()
    pair.step()  # the average starts with a short memory: 1 / 10 of it stays
    torch.testing.assert_close(pair.descent.average.tensors["count"], torch.tensor([0.9]))
    torch.testing.assert_close(pair.descent.average.tensors["weights"], 0.9 * pair.weights.detach())
    assert Pair(DescentSettings()).descent.average is None


@pytest.mark.parametrize("settings", [SETTINGS, DescentSettings(is_fused=True)])
def test_a_restored_run_ends_with_the_same_numbers(tmp_path, settings):
    whole, begun, resumed = Pair(settings), Pair(settings), Pair(settings)
    for _ in range(3):
        whole.step()
    begun.step()
    begun.step()
    begun.descent.save(tmp_path / "state", best=0.25)
    counters = restored(resumed, tmp_path / "state")
    assert counters["best"] == 0.25
    assert counters["step"] == resumed.descent.num_steps == 2
    resumed.step()
    assert torch.equal(resumed.weights, whole.weights)
    assert torch.equal(resumed.count, whole.count)
    if whole.descent.average is not None:
        for name, tensor in whole.descent.average.tensors.items():
            assert torch.equal(resumed.descent.average.tensors[name], tensor), name


def test_time_goes_on_from_the_state(tmp_path):
    begun, resumed = Pair(), Pair()
    begun.descent.save(tmp_path / "state", elapsed_s=100.0)
    restored(resumed, tmp_path / "state")
    assert 100.0 <= resumed.descent.watch.elapsed_s < 200.0


@pytest.mark.parametrize("other", [Pair(size=3), Pair(DescentSettings())])
def test_a_state_of_another_model_is_refused(tmp_path, other):
    other.descent.save(tmp_path / "state")
    pair = Pair()
    with pytest.raises(
        TrainingError, match=r"state in .*state belongs to a model of another shape"
    ):
        restored(pair, tmp_path / "state")
    assert torch.equal(pair.weights.detach(), torch.zeros(2))


def test_a_step_without_finite_gradients_changes_nothing_and_is_counted(tmp_path):
    pair = Pair(DescentSettings(average_decay=0.9, skips_non_finite=True))
    pair.step()
    weights = pair.weights.detach().clone()
    average = pair.descent.average.tensors["weights"].clone()
    pair.descent.step(pair.weights.sum() * float("nan"), 1.0)
    assert torch.equal(pair.weights.detach(), weights)
    assert torch.equal(pair.descent.average.tensors["weights"], average)
    assert (pair.descent.num_steps, pair.descent.num_skipped) == (2, 1)
    pair.descent.save(tmp_path / "state")
    resumed = Pair(DescentSettings(average_decay=0.9, skips_non_finite=True))
    assert restored(resumed, tmp_path / "state")["num_skipped"] == 1
    assert resumed.descent.num_skipped == 1


def test_a_run_may_go_on_from_its_average():
    pair, fresh = Pair(), Pair()
    for _ in range(5):
        pair.step()
    average = pair.descent.average.tensors["weights"].clone()
    assert not torch.equal(pair.weights.detach(), average)
    pair.descent.restart_from_average()
    assert torch.equal(pair.weights.detach(), average)
    with torch.no_grad():
        fresh.weights.copy_(average)
    pair.step()
    fresh.step()  # without memory both move by the rate
    assert torch.equal(pair.weights, fresh.weights)
