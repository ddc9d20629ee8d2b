"""Queries without tokens get some when they are to be drawn from."""

import pytest
import torch

from composer.query import Query
from composer.sketch import Sketch
from composer.strategies import drawable
from composer.strategies.drawable import with_tokens
from composer.strategies.duet import NUM_TOKENS
from composer.strategies.inversion import InversionSettings
from composer.strategies.slerp import SlerpComposer
from tests.composer.tiny import tiny_backbone

SKETCH = Query(sketch=Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]]]))
SETTINGS = InversionSettings(num_tokens=2, max_steps=60, patience=10)


@pytest.mark.parametrize("text", ["red", ""])
def test_the_tokens_stand_for_the_reference_and_the_words_follow(text):
    backbone = tiny_backbone()
    composer = SlerpComposer(backbone)
    query = composer.compose(composer.encode(SKETCH), text)
    assert query.missing_tokens
    with_some = with_tokens(backbone, query, SETTINGS)
    assert not with_some.missing_tokens
    assert with_some.pseudo_tokens.shape == (2, backbone.token_width)
    for name in ("feature", "both_feature", "reference_feature"):
        assert torch.equal(getattr(with_some, name), getattr(query, name))
    first, last = with_some.pseudo_positions[0], with_some.pseudo_positions[-1] + 1
    assert torch.equal(with_some.prompt_embeddings[first:last], with_some.pseudo_tokens)
    ids = [i for word in backbone.word_ids(text) for i in word]
    wording = with_some.prompt_embeddings[last : with_some.end_position]
    assert torch.equal(wording, backbone.token_table()[ids])
    alone = with_some.prompt_embeddings[: with_some.end_position + 1]
    if text:
        alone = torch.cat([alone[:last], alone[-1:]])
    read = backbone.encode_embeddings(alone[None], torch.tensor([len(alone) - 1])).features[0]
    blank = backbone.encode_text(["a photo of"])[0]
    target = query.reference_feature
    assert float(read @ target) > float(blank @ target) + 0.1
    assert torch.equal(
        with_tokens(backbone, query, SETTINGS).pseudo_tokens, with_some.pseudo_tokens
    )
    assert with_tokens(backbone, with_some, SETTINGS) is with_some


def test_as_many_tokens_are_made_as_a_duet_has():
    assert drawable.SETTINGS.num_tokens == NUM_TOKENS


def test_a_query_that_has_a_prompt_stays_as_it_is():
    composer = SlerpComposer(tiny_backbone())
    query = composer.compose(composer.encode(Query(text="red")), "red")
    assert with_tokens(tiny_backbone(), query) is query
