"""Words beyond one context are read in further parts: for search, and for drawing."""

import pytest
import torch
from torch.nn import functional

from composer.composed import ComposedQuery
from composer.emphasis import compose_emphasised
from composer.prompt import MAX_PARTS, build_prompts, text_parts, words_beyond
from composer.query import Query
from composer.strategies.basic import BasicComposer
from composer.strategies.duet import DuetComposer, DuetModel
from composer.strategies.freedom import FreedomComposer
from composer.strategies.product import ProductComposer
from composer.strategies.slerp import SlerpComposer
from retrieval.fusion import similarities
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture

COMPOSERS = {
    "duet": lambda backbone: DuetComposer(DuetModel(backbone)),
    "slerp": SlerpComposer,
    "basic": BasicComposer,
    "freedom": FreedomComposer,
    "product": ProductComposer,
}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module", params=COMPOSERS)
def composer(request, backbone):
    return COMPOSERS[request.param](backbone)


@pytest.fixture(scope="module")
def photo():
    return Query(image=picture(1))


def long_text(backbone, last, num_contexts=2):
    return " ".join(["red"] * (num_contexts * backbone.context_length) + [last])


@pytest.mark.parametrize("with_photo", [True, False])
@pytest.mark.parametrize("num_contexts", [1, 2, 4])
def test_the_last_word_of_a_long_text_counts(composer, photo, with_photo, num_contexts):
    encoded = composer.encode(photo if with_photo else Query(text="any"))
    oak, zinc = (
        composer.compose(encoded, long_text(composer.backbone, word, num_contexts))
        for word in ("oak", "zinc")
    )
    vectors = functional.normalize(torch.randn(30, composer.backbone.joint_dim), dim=1)
    first, second = similarities([oak, zinc], vectors)
    assert (first - second).abs().max() > 1e-5
    if not oak.missing_tokens:
        assert not torch.equal(oak.prompt_embeddings, zinc.prompt_embeddings)


def test_a_text_that_fits_is_one_part_and_stays_as_it_is(backbone):
    text = "  a red   chair "
    (part,) = text_parts(backbone, text, 3)
    assert part.text == text
    assert len(build_prompts(backbone, "a photo of", None, text)) == 1


def test_parts_hold_every_word_whole_and_in_order(backbone):
    words = [f"chair{number}" for number in range(40)]
    parts = text_parts(backbone, " ".join(words), 5)
    assert [word for part in parts for word in part.text.split()] == words
    for part in parts:
        ids = [i for word in backbone.word_ids(part.text) for i in word]
        assert len(ids) <= backbone.context_length - 2 - 5
    assert len(parts) > 2


@pytest.mark.parametrize("sign", [",", "/", "_", ";", "|"])
def test_words_that_are_joined_by_signs_are_read_to_their_end(backbone, sign):
    """Lists of words are often written without spaces."""
    text = sign.join([f"chair{number}" for number in range(40)])
    parts = text_parts(backbone, text, 5)
    assert len(parts) > 2
    assert "".join(part.text for part in parts) == text
    assert [part.num_words for part in parts] == [1] + [0] * (len(parts) - 1)
    for part in parts:
        ids = [i for word in backbone.word_ids(part.text) for i in word]
        assert part.num_tokens == len(ids) <= backbone.context_length - 2 - 5


def test_one_endless_word_is_read_in_pieces(backbone):
    parts = text_parts(backbone, "red " + "xq" * 40 + " oak", 0)
    assert " ".join(part.text for part in parts).replace(" ", "") == f"red{'xq' * 40}oak"
    assert len(parts) > 2


@pytest.mark.parametrize("num_words", [5, 60, 500])
def test_emphasis_stays_with_its_words_in_a_list_without_spaces(backbone, num_words):
    composer = DuetComposer(DuetModel(backbone))
    joined = ",".join(["oak"] * num_words)
    encoded = composer.encode(Query(text="any"))
    query = compose_emphasised(composer, encoded, f"(red:1.3) {joined}", 0.5)
    assert query.word_weights == pytest.approx((1.3, 1.0))
    num_read = sum(part.num_tokens for part in text_parts(backbone, f"red {joined}", 0))
    assert sum(query.word_sizes) == num_read


def test_words_beyond_the_last_part_are_named(backbone):
    text = long_text(backbone, "oak", MAX_PARTS + 1)
    left_out = words_beyond(backbone, text, 0)
    assert left_out[-1] == "oak"
    read = " ".join(part.text for part in text_parts(backbone, text, 0))
    assert f"{read} {' '.join(left_out)}" == text
    assert words_beyond(backbone, long_text(backbone, "oak", 3), 0) == ()


def test_the_prompts_of_a_long_text(backbone):
    tokens = torch.randn(2, backbone.token_width)
    first, *others = build_prompts(backbone, "a photo of", tokens, long_text(backbone, "oak"))
    torch.testing.assert_close(
        first.token_embeddings[list(first.pseudo_positions)], tokens, atol=0, rtol=0
    )
    table = backbone.token_table()
    (last,) = (i for word in backbone.word_ids("oak") for i in word[-1:])
    assert others
    for prompt in others:
        assert len(prompt.token_embeddings) == backbone.context_length
        assert prompt.pseudo_positions == ()
        assert torch.equal(prompt.token_embeddings[0], table[backbone.start_id])
        assert torch.equal(prompt.token_embeddings[prompt.end_position], table[backbone.end_id])
    end = others[-1].end_position
    assert torch.equal(others[-1].token_embeddings[end - 1], table[last])


def test_a_query_with_a_long_text_is_saved_and_loaded(backbone, photo, tmp_path):
    composer = DuetComposer(DuetModel(backbone))
    query = composer.compose(composer.encode(photo), long_text(backbone, "red", 5))
    assert len(query.require_tokens()) % backbone.context_length == 0
    assert len(query.require_tokens()) > 5 * backbone.context_length
    query.save(tmp_path / "q.safetensors")
    assert ComposedQuery.load(tmp_path / "q.safetensors").digest == query.digest
