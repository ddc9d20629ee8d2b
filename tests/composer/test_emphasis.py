"""Emphasis is read, weighs what a phrase changes, and leaves plain texts alone."""

import pytest
import torch
from torch.nn.functional import normalize

from composer.composed import ComposedQuery
from composer.emphasis import compose_emphasised, read_emphasis, spell_emphasis
from composer.query import Query
from composer.strategies.basic import BasicComposer
from composer.strategies.slerp import SlerpComposer
from tests.composer.tiny import tiny_backbone
from tests.generation.tiny import make_sketch


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.mark.parametrize(
    ("typed", "text", "weights"),
    [
        ("a (red:1.3) chair", "a red chair", (1, 1.3, 1)),
        ("(dark red :0.5) chair", "dark red chair", (0.5, 0.5, 1)),
        ("((red)) chair", "red chair", (1.21, 1)),
        ("(((red)))", "red", (1.331,)),
        ("((red:2)) chair", "red chair", (2.2, 1)),
        ("(a (red:2) chair:0.5)", "a red chair", (0.5, 1, 0.5)),
        ("a [red] chair", "a red chair", (1, 0.9091, 1)),
        ("a (red:0), chair", "a red, chair", (1, 0, 1)),
        ("a (red:1) chair", "a red chair", ()),
        ("oak <lora:oak:0.8> chair", "oak   chair", ()),
        ("<lora:oak:0.8> (red:1.3)", "red", (1.3,)),
    ],
)
def test_emphasis_is_read(typed, text, weights):
    read = read_emphasis(typed)
    assert (read.text, read.weights) == (text, pytest.approx(weights))


@pytest.mark.parametrize(
    "text",
    [
        *("", "  a red   chair ", "chair (oak)", "scale (1:2)", "(red", "red))", "(red:40)"),
        *("[3]", r"a \(red:1.3\) chair", "a {red} chair", "[red)", "(oak) (ash)"),
        *("a [red|blue] chair", "[red:blue:0.5]", "a (red:-1) chair"),
    ],
)
def test_plain_texts_stay_as_they_are(text):
    read = read_emphasis(text)
    assert (read.text, read.weights) == (text, ())


def test_emphasis_is_spelled_as_it_is_read():
    read = read_emphasis("a ((dark red)) chair, [old]")
    spelled = spell_emphasis(read.text, read.weights)
    assert spelled == "a (dark red:1.21) chair, (old:0.9091)"
    assert read_emphasis(spelled) == read
    assert spell_emphasis("a red  chair", ()) == "a red  chair"


@pytest.mark.parametrize("kind", [SlerpComposer, BasicComposer])
def test_a_plain_query_is_composed_bit_for_bit_as_before(backbone, kind):
    composer = kind(backbone)
    encoded = composer.encode(Query(sketch=make_sketch()))
    plain = composer.compose(encoded, "a red (oak) chair", 0.5)
    assert compose_emphasised(composer, encoded, "a red (oak) chair", 0.5).digest == plain.digest


def test_an_emphasised_word_changes_the_feature_by_its_difference(backbone):
    composer = SlerpComposer(backbone)
    encoded = composer.encode(Query(sketch=make_sketch()))
    plain = composer.compose(encoded, "red oak", 0.5)
    less = composer.compose(encoded, "oak", 0.5)
    query = compose_emphasised(composer, encoded, "(red:1.5) oak", 0.5)
    expected = plain.both_feature + 0.5 * (plain.both_feature - less.both_feature)
    torch.testing.assert_close(query.feature, normalize(expected, dim=-1))
    assert plain.words_feature is not None
    assert less.words_feature is not None
    words = plain.words_feature + 0.5 * (plain.words_feature - less.words_feature)
    torch.testing.assert_close(query.words_feature, normalize(words, dim=-1))
    assert torch.equal(query.reference_feature, plain.reference_feature)
    assert torch.equal(query.prompt_embeddings, plain.prompt_embeddings)
    assert (query.text, query.word_weights) == ("red oak", (1.5, 1))
    sizes = [len(ids) for word in ("red", "oak") for ids in backbone.word_ids(word)]
    assert query.word_sizes == tuple(sizes)


def test_a_word_of_weight_nothing_is_as_if_not_written(backbone):
    composer = SlerpComposer(backbone)
    encoded = composer.encode(Query(text="red"))
    query = compose_emphasised(composer, encoded, "(red:0) oak", 0.5)
    torch.testing.assert_close(query.feature, composer.compose(encoded, "oak", 0.5).feature)


def test_the_side_of_words_is_weighed_where_two_are_compared(backbone):
    composer = BasicComposer(backbone)
    encoded = composer.encode(Query(sketch=make_sketch()))
    plain = composer.compose(encoded, "red oak", 0.5).fusion
    less = composer.compose(encoded, "oak", 0.5).fusion
    query = compose_emphasised(composer, encoded, "(red:1.5) oak", 0.5).fusion
    assert plain.words is not None
    assert less.words is not None
    expected = normalize(plain.words + 0.5 * (plain.words - less.words), dim=-1)
    torch.testing.assert_close(query.words, expected * plain.words.norm())
    assert torch.equal(query.reference, plain.reference)


def test_emphasis_on_all_there_is_changes_no_feature(backbone):
    composer = SlerpComposer(backbone)
    encoded = composer.encode(Query(text="red"))
    query = compose_emphasised(composer, encoded, "(red:1.5)", 0.5)
    torch.testing.assert_close(query.feature, composer.compose(encoded, "red", 0.5).feature)
    assert query.word_weights == (1.5,)


def test_weights_are_saved_with_the_query(backbone, tmp_path):
    composer = SlerpComposer(backbone)
    encoded = composer.encode(Query(sketch=make_sketch()))
    query = compose_emphasised(composer, encoded, "(red:1.5) oak", 0.5)
    query.save(tmp_path / "q.safetensors")
    loaded = ComposedQuery.load(tmp_path / "q.safetensors")
    assert (loaded.word_weights, loaded.digest) == (query.word_weights, query.digest)
