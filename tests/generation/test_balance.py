"""The balance fades the words towards the drawing, and the drawing towards the words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from generation.balance import balanced_states, control_share, without_words, words_share
from generation.chunks import states_in_chunks
from generation.conditioning import GuidanceStates, guidance_pair, token_table, tokenize
from generation.generate import generate
from generation.request import GenerateRequest
from tests.generation import tiny
from tests.generation.tiny import CONTEXT
from tests.retrieval.queries import query_of


@pytest.fixture
def query_for(tokenizer, encoder):
    """Makes queries of these texts, each of one context; the first begins with a pseudo-word."""

    def make(*texts, balance=0.5):
        ids = tokenize(tokenizer, texts)
        rows = functional.embedding(ids, token_table(encoder)).detach()
        generator = torch.Generator().manual_seed(5)
        pseudo = torch.randn(1, rows.shape[-1], generator=generator)
        end = int((ids[0] == tokenizer.eos_token_id).int().argmax())
        first = torch.cat([rows[0, :1], pseudo, rows[0, 1:-1]])
        return replace(
            query_of(torch.ones(4), None),
            pseudo_tokens=pseudo,
            pseudo_positions=(1,),
            prompt_embeddings=torch.cat([first, *rows[1:]]),
            end_position=end + 1,
            missing_tokens="",
            text=" ".join(texts).strip(),
            balance=balance,
        )

    return make


@pytest.fixture
def encode(tokenizer, encoder):
    """Encodes a query as composed; the pooled state is the one at its end."""
    table = token_table(encoder)

    def chunk(query, negative):
        hidden = guidance_pair(encoder, tokenizer, query.require_tokens(), negative)
        return GuidanceStates(hidden=hidden, pooled=hidden[:, query.end_position])

    return lambda query, negative: states_in_chunks(chunk, query, negative, tokenizer, table)


@pytest.mark.parametrize("balance", [0.5, 0.8, 1.0])
def test_from_the_middle_on_every_bit_is_as_composed(query_for, encode, balance):
    query = query_for("red a", balance=balance)
    states = balanced_states(encode, query, "a")
    assert torch.equal(states.hidden, encode(query, "a").hidden)


@pytest.mark.parametrize("texts", [("red a",), ("red red", "a red")])
def test_at_the_drawings_end_the_words_do_not_exist(query_for, encode, texts):
    drawing_alone = query_for(*("" for _ in texts))
    states = balanced_states(encode, query_for(*texts, balance=0.0), "a")
    expected = encode(drawing_alone, "a")
    torch.testing.assert_close(states.hidden, expected.hidden)
    torch.testing.assert_close(states.pooled, expected.pooled)


def test_between_the_words_grow(query_for, encode):
    composed = encode(query_for("red a"), "a")
    drawn = encode(query_for(""), "a")
    states = balanced_states(encode, query_for("red a", balance=0.125), "a")
    expected = drawn.hidden + (composed.hidden - drawn.hidden) / 4
    torch.testing.assert_close(states.hidden, expected)
    assert torch.equal(states.hidden[0], composed.hidden[0])  # the negative half
    torch.testing.assert_close(states.pooled, drawn.pooled + (composed.pooled - drawn.pooled) / 4)


@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
def test_one_side_alone_has_nothing_to_weigh(query_for, encode, balance):
    both, drawing = query_for("red a", balance=balance), query_for("", balance=balance)
    words = replace(both, pseudo_tokens=both.pseudo_tokens[:0], pseudo_positions=())
    for query in (words, drawing):
        assert torch.equal(balanced_states(encode, query, "").hidden, encode(query, "").hidden)


def test_a_prompt_without_words_keeps_the_start_of_every_chunk(query_for):
    query = query_for("red red", "a red")
    bare = without_words(query)
    starts = (bare.prompt_embeddings == query.prompt_embeddings[0]).all(dim=1)
    assert starts.nonzero().flatten().tolist() == [0, CONTEXT]
    assert bare.end_position == 2
    assert bare.text == ""


def test_shares_of_words_and_control():
    balances = (0.0, 0.25, 0.5, 0.75, 1.0)
    assert [words_share(b) for b in balances] == [0, 0.5, 1, 1, 1]
    assert [control_share(b) for b in balances] == [1, 1, 1, 0.5, 0]


def test_the_words_reach_the_picture_by_their_balance(pipeline):
    def picture(seed_of_words, balance):
        query = tiny.make_query(balance=balance)
        other = tiny.make_query(seed=seed_of_words).prompt_embeddings
        prompt = query.prompt_embeddings.clone()
        prompt[4:7] = other[4:7]  # the words; what is before them and the end stay
        request = GenerateRequest(query=replace(query, prompt_embeddings=prompt))
        drawn = generate(pipeline, tiny.vary(request, num_inference_steps=2, seed=3))
        return np.asarray(drawn.images[0].image)

    assert (picture(1, 0.5) != picture(2, 0.5)).any()
    assert (picture(1, 0.0) == picture(2, 0.0)).all()
    assert (picture(1, 0.25) != picture(1, 0.0)).any()
    assert (picture(1, 0.25) != picture(1, 0.5)).any()
