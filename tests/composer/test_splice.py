import pytest
import torch

from composer.splice import splice, take_positions


def test_vectors_land_at_their_positions_and_nothing_else_changes():
    base = torch.zeros(2, 4, 1)
    spliced = splice(
        base, torch.tensor([[1, 2], [3, 0]]), torch.tensor([[[5.0], [6]], [[7.0], [8]]])
    )
    assert spliced[..., 0].tolist() == [[0, 5, 6, 0], [8, 0, 0, 7]]
    assert base.abs().sum() == 0


def test_ordinary_token_embeddings_reproduce_the_sequence():
    base, positions = torch.randn(3, 5, 4), torch.tensor([[1, 2]]).expand(3, -1)
    assert torch.equal(splice(base, positions, base[:, 1:3]), base)


def test_gradients_reach_both_inputs():
    base = torch.ones(1, 3, 1, requires_grad=True)
    vectors = torch.ones(1, 1, 1, requires_grad=True)
    factors = torch.tensor([1.0, 2, 4]).view(1, 3, 1)
    (splice(base, torch.tensor([[1]]), vectors) * factors).sum().backward()
    assert base.grad is not None
    assert vectors.grad is not None
    assert base.grad.flatten().tolist() == [1, 0, 4]
    assert vectors.grad.item() == 2


@pytest.mark.parametrize("position", [-1, 3])
def test_positions_outside_are_refused(position):
    with pytest.raises(ValueError, match="sequence of 3 tokens"):
        splice(torch.zeros(1, 3, 2), torch.tensor([[position]]), torch.zeros(1, 1, 2))


def test_taking_positions():
    sequence = torch.arange(6.0).view(2, 3, 1)
    assert take_positions(sequence, torch.tensor([2, 0])).flatten().tolist() == [2, 3]


def test_nothing_to_splice_leaves_the_sequence():
    base = torch.randn(2, 3, 4)
    none = splice(base, torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, 4))
    assert torch.equal(none, base)


def test_the_sequence_keeps_its_precision():
    base = torch.zeros(1, 2, 1, dtype=torch.float16)
    spliced = splice(base, torch.tensor([[1]]), torch.tensor([[[0.1]]]))
    assert spliced.dtype is torch.float16
    assert spliced.flatten().tolist() == [0, pytest.approx(0.1, abs=1e-4)]
