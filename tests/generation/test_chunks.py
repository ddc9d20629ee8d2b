"""Prompts and negative texts beyond one context reach the denoiser in chunks."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from generation.chunks import query_chunks, states_in_chunks, text_chunks
from generation.conditioning import GuidanceStates, guidance_pair, token_table, tokenize
from tests.generation.tiny import CONTEXT
from tests.retrieval.queries import query_of


def query_for(tokenizer, encoder, *texts):
    """A query whose prompt is these texts, one after the other, each of one context."""
    ids = tokenize(tokenizer, texts)
    end = int((ids[0] == tokenizer.eos_token_id).int().argmax())
    rows = functional.embedding(ids, token_table(encoder)).flatten(0, 1).detach()
    return replace(
        query_of(torch.ones(4), None),
        pseudo_tokens=rows[:0],
        prompt_embeddings=rows,
        end_position=end,
        missing_tokens="",
    )


def states(tokenizer, encoder, query, negative_text):
    def encode(chunk, text):
        negative = text if isinstance(text, str) else text.require_tokens()
        hidden = guidance_pair(encoder, tokenizer, chunk.require_tokens(), negative)
        return GuidanceStates(hidden=hidden)

    table = token_table(encoder)
    return states_in_chunks(encode, query, negative_text, tokenizer, table).hidden


def test_one_chunk_is_encoded_as_it_is(tokenizer, encoder):
    query = query_for(tokenizer, encoder, "red red")
    plain = guidance_pair(encoder, tokenizer, query.require_tokens(), "red")
    assert torch.equal(states(tokenizer, encoder, query, "red"), plain)


def test_the_states_of_chunks_follow_each_other(tokenizer, encoder):
    query = query_for(tokenizer, encoder, "red red", "red a")
    hidden = states(tokenizer, encoder, query, "")
    assert hidden.shape[:2] == (2, 2 * CONTEXT)
    for number, text in enumerate(("red red", "red a")):
        alone = states(tokenizer, encoder, query_for(tokenizer, encoder, text), "")
        part = hidden[:, number * CONTEXT : (number + 1) * CONTEXT]
        torch.testing.assert_close(part, alone)


def test_composed_negative_words_are_read_in_chunks_like_plain_ones(tokenizer, encoder):
    query = query_for(tokenizer, encoder, "red red")
    text = "red " * 15
    chunks = text_chunks(tokenizer, text)
    assert len(chunks) == 2
    plain = states(tokenizer, encoder, query, text)
    composed = states(tokenizer, encoder, query, query_for(tokenizer, encoder, *chunks))
    assert plain.shape[1] == 2 * CONTEXT
    torch.testing.assert_close(composed, plain)


@pytest.mark.parametrize("num_words", [15, 40])
def test_the_last_negative_word_counts(tokenizer, encoder, num_words):
    query = query_for(tokenizer, encoder, "red")
    texts = [" ".join(["red"] * num_words + [last]) for last in ("a", "b")]
    first, second = (states(tokenizer, encoder, query, text) for text in texts)
    assert first.shape == second.shape
    assert first.shape[1] % CONTEXT == 0
    assert first.shape[1] > num_words
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    silent = states(tokenizer, encoder, query_for(tokenizer, encoder, ""), "")[1]
    torch.testing.assert_close(first[1, CONTEXT : 2 * CONTEXT], silent)


def test_the_last_of_negative_words_without_spaces_counts(tokenizer, encoder):
    query = query_for(tokenizer, encoder, "red")
    texts = [",".join(["red"] * 40 + [last]) for last in ("a", "b")]
    first, second = (states(tokenizer, encoder, query, text) for text in texts)
    assert not torch.equal(first[0], second[0])
    chunks = text_chunks(tokenizer, texts[0])
    assert "".join(chunks) == texts[0]
    assert all(
        len(tokenizer(chunk, add_special_tokens=False).input_ids) <= CONTEXT - 2 for chunk in chunks
    )


def test_chunks_end_where_their_words_do(tokenizer, encoder):
    texts = ("red red", "red", " ".join(["red"] * (CONTEXT - 2)))
    chunks = query_chunks(query_for(tokenizer, encoder, *texts), CONTEXT)
    assert [chunk.end_position for chunk in chunks] == [3, 2, CONTEXT - 1]
    assert all(len(chunk.require_tokens()) == CONTEXT for chunk in chunks)


def test_texts_are_split_between_words(tokenizer):
    text = " ".join(["red"] * (2 * (CONTEXT - 2) + 1))
    assert [len(chunk.split()) for chunk in text_chunks(tokenizer, text)] == [
        CONTEXT - 2,
        CONTEXT - 2,
        1,
    ]
    assert text_chunks(tokenizer, "") == ("",)
