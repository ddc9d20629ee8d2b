import math

import pytest
import torch

from composer.training.losses import in_batch_nce
from composer.training.sentence_losses import local_alignment, token_spread

X, Y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def value(number):
    return pytest.approx(number, abs=1e-6)


def test_distillation_by_hand():
    both = torch.stack([X, Y])
    # own cosine 1, the other 0: log(1 + e^(-1 / 0.5))
    loss = in_batch_nce(both, both, temperature=0.5)
    assert loss.item() == value(math.log(1 + math.exp(-2)))
    swapped = in_batch_nce(both, both.flip(0), temperature=0.5)
    assert swapped.item() == value(math.log(1 + math.exp(2)))


def test_extra_negatives_join_the_softmax():
    # own 1; extra 1 and -1: log((2e + 1/e) / e)
    loss = in_batch_nce(X[None], X[None], torch.stack([X, -X]), temperature=1.0)
    assert loss.item() == value(math.log(2 + math.exp(-2)))


def test_distillation_does_not_depend_on_the_order_of_the_batch():
    draw = torch.nn.functional.normalize(torch.randn(2, 5, 8), dim=-1)
    order = torch.tensor([4, 2, 0, 1, 3])
    shuffled = in_batch_nce(draw[0, order], draw[1, order], temperature=0.1)
    torch.testing.assert_close(shuffled, in_batch_nce(draw[0], draw[1], temperature=0.1))


def test_alignment_takes_the_own_caption_or_the_nearest_of_the_bank():
    sentences, captions = torch.stack([X, X]), torch.stack([Y, Y])
    bank = torch.stack([-X, torch.tensor([0.6, 0.8])])
    known = torch.tensor([True, False])
    # own caption: 1 - 0; nearest of the bank: 1 - 0.6
    assert local_alignment(sentences, captions, known, bank).item() == value(0.7)
    assert local_alignment(sentences, captions, ~known.new_zeros(2), bank).item() == value(1.0)
    assert local_alignment(sentences, captions, known.new_zeros(2), bank).item() == value(0.4)


@pytest.mark.parametrize("bank", [None, torch.zeros(0, 2)])
def test_without_a_bank_only_known_captions_count(bank):
    sentences, captions = torch.stack([X, X]), torch.stack([Y, X])
    known = torch.tensor([True, False])
    assert local_alignment(sentences, captions, known, bank).item() == value(1.0)
    assert local_alignment(sentences, captions, known.new_zeros(2), bank).item() == 0


def test_unknown_captions_play_no_part():
    sentences = torch.stack([X, X]).requires_grad_()
    known, bank = torch.tensor([True, False]), Y[None]
    result = [
        local_alignment(sentences, torch.stack([Y, other]), known, bank).item()
        for other in (X, -X, torch.zeros(2))
    ]
    assert result[0] == result[1] == result[2]
    local_alignment(sentences, torch.stack([Y, X]), known, bank).backward()
    torch.testing.assert_close(sentences.grad, torch.tensor([[0.0, -0.5], [0.0, -0.5]]))


def test_spread_by_hand():
    tokens = torch.stack([2 * X, 3 * X, 5 * Y])[None]
    assert token_spread(tokens).item() == value(1 / 3)  # pairs: 1, 0, 0
    assert token_spread(torch.stack([X, X])[None]).item() == value(1)
    assert token_spread(torch.stack([X, -X])[None]).item() == value(-1)
    pairs = torch.stack([torch.stack([X, X]), torch.stack([X, Y])])
    assert token_spread(pairs).item() == value(0.5)
    assert token_spread(X[None, None]).item() == 0
