"""Emphasised words weigh more in the states that a denoiser attends to."""

from dataclasses import replace

import pytest
import torch

from generation.chunks import query_weights
from generation.word_weights import prompt_weights, weigh_states
from tests.generation.test_chunks import query_for, states
from tests.generation.tiny import CONTEXT


def test_weights_lie_where_the_words_are():
    laid = prompt_weights([2.0, 1.0, 3.0, 4.0, 5.0], [5, 3], 8)
    # The last two are all of the second chunk; three remain before the first one's end.
    assert laid.tolist() == [1, 1, 2, 1, 3, 1, 1, 1, 1, 4, 5, 1, 1, 1, 1, 1]
    assert prompt_weights([], [5], 8).tolist() == [1] * 8


def test_states_of_weight_one_keep_every_bit():
    state, empty = torch.randn(2, 1, 4, 3)
    weighed = weigh_states(state, empty, torch.tensor([1.0, 2.0, 0.0, 1.0]))
    assert torch.equal(weighed[0, [0, 3]], state[0, [0, 3]])
    torch.testing.assert_close(weighed[0, 1], 2 * state[0, 1] - empty[0, 1])
    torch.testing.assert_close(weighed[0, 2], empty[0, 2])


@pytest.mark.parametrize("negative_text", ["", "a", " ".join(["red"] * 2 * CONTEXT)])
def test_only_the_states_of_emphasised_words_change(tokenizer, encoder, negative_text):
    plain = query_for(tokenizer, encoder, "a red a", "red a")
    plain = replace(plain, text="a red a red a")
    emphasised = replace(plain, word_weights=(1.0, 2.0, 1.0, 1.0, 0.5), word_sizes=(1,) * 5)
    before = states(tokenizer, encoder, plain, negative_text)
    after = states(tokenizer, encoder, emphasised, negative_text)
    assert torch.equal(after[0], before[0])
    changed = (after[1] != before[1]).any(dim=-1).nonzero().flatten().tolist()
    assert changed == [2, CONTEXT + 2]
    empty = states(tokenizer, encoder, query_for(tokenizer, encoder, ""), "")[1]
    torch.testing.assert_close(after[1, 2], 2 * before[1, 2] - empty[2])
    torch.testing.assert_close(after[1, CONTEXT + 2], (before[1, CONTEXT + 2] + empty[2]) / 2)


def test_words_of_several_tokens_are_weighed_whole(tokenizer, encoder):
    query = replace(query_for(tokenizer, encoder, "a bad red"), text="a bad red")
    weighed = query_weights(
        replace(query, word_weights=(1.0, 1.5, 1.0), word_sizes=(1, 3, 1)), CONTEXT
    )
    assert weighed[:7].tolist() == [1, 1, 1.5, 1.5, 1.5, 1, 1]
