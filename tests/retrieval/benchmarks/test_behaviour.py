"""What a composer does when words say nothing, and whether its tokens differ."""

import pytest
import torch

from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.converter import TextConverter
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from retrieval.benchmarks.behaviour import behaviour_row
from tests.composer.tiny import tiny_backbone

SKETCHES = [
    Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]]]),
    Sketch.from_strokes([[[0, 1], [0.5, 0], [1, 1], [0, 1]]]),
    Sketch.from_strokes([[[0.5, 0], [0.5, 1]]]),
]


def test_distances_are_of_each_drawing_with_its_words():
    composer = SlerpComposer(tiny_backbone(), SlerpSettings(alpha=0.3))
    row = behaviour_row(composer, SKETCHES, ["red"], ["blue", "oak"])
    for found, texts in ((row.moved_by_neutral, ["red"]), (row.moved_by_words, ["blue", "oak"])):
        gaps = []
        for number, sketch in enumerate(SKETCHES):
            query = composer.compose(
                composer.encode(Query(sketch=sketch)), texts[number % len(texts)]
            )
            gaps.append(1 - torch.dot(query.feature, query.reference_feature).item())
        assert found == pytest.approx(sum(gaps) / 3, abs=1e-5)
    assert (row.composer, row.num_sketches, row.token_cosine) == ("slerp", 3, None)


def test_words_that_are_not_mixed_in_move_nothing():
    composer = SlerpComposer(tiny_backbone(), SlerpSettings(alpha=0.0))
    row = behaviour_row(composer, SKETCHES, ["red"], ["blue"])
    assert row.moved_by_words == pytest.approx(0, abs=1e-6)


def test_tokens_of_different_drawings_are_compared_position_by_position():
    converter = TextConverter(tiny_backbone())
    composer = SlerpComposer(tiny_backbone(), converter=converter)
    row = behaviour_row(composer, SKETCHES, ["red"], ["blue"])
    tokens = [composer.encode(Query(sketch=sketch)).pseudo_tokens for sketch in SKETCHES]
    cosines = [
        torch.nn.functional.cosine_similarity(tokens[i], tokens[j], dim=-1).mean().item()
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert row.token_cosine == pytest.approx(sum(cosines) / 3, abs=1e-5)


def test_a_single_drawing_is_too_few():
    with pytest.raises(ValueError, match="At least two drawings are needed, got 1"):
        behaviour_row(SlerpComposer(tiny_backbone()), SKETCHES[:1], ["a"], ["b"])
