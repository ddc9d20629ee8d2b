"""What it costs to see a drawing: medians of both ways, and their ratio."""

import time

import pytest

from composer.sketch import Sketch
from composer.strategies.protocol import LightEncoder
from composer.strategies.sentence import SentenceComposer, SentenceModel, SentenceShape
from composer.strategies.slerp import SlerpComposer, SlerpSettings
from retrieval.benchmarks.cost import cost_row, tower_row
from tests.composer.tiny import tiny_backbone

SKETCHES = [Sketch.from_strokes([[[0, 0], [1, y]]]) for y in (0.2, 0.5, 0.8, 1.0)]


class Slow(SlerpComposer):
    """Waits before it encodes: many times what the tiny tower takes."""

    name = "slow"

    def encode(self, query):
        time.sleep(0.2)
        return super().encode(query)


def test_a_composer_that_takes_longer_has_a_higher_ratio():
    plain = cost_row(SlerpComposer(tiny_backbone()), SKETCHES)
    slow = cost_row(Slow(tiny_backbone(), SlerpSettings()), SKETCHES)
    assert (plain.composer, slow.composer) == ("slerp", "slow")
    assert slow.ratio > 2 * plain.ratio
    for row in (plain, slow):
        assert row.ratio == pytest.approx(row.encode_ms / row.tower_ms)


def test_a_single_drawing_is_too_few():
    with pytest.raises(ValueError, match="At least two drawings are needed, got 1"):
        cost_row(SlerpComposer(tiny_backbone()), SKETCHES[:1])


def test_a_light_tower_is_weighed_and_timed_beside_the_frozen_one():
    backbone = tiny_backbone()
    rows = {}
    for tower in ("small", "symmetric"):
        model = SentenceModel(backbone, SentenceShape(tower=tower, image_px=64))
        composer = SentenceComposer(model)
        assert isinstance(composer, LightEncoder)
        rows[tower] = (tower_row(tower, composer, SKETCHES), model.num_parameters)
    frozen = sum(p.numel() for p in backbone.model.visual.parameters())
    small, own = rows["small"]
    assert (small.composer, small.tower_parameters, small.frozen_parameters) == (
        "small", own, frozen,
    )  # fmt: skip
    symmetric, own = rows["symmetric"]
    assert symmetric.tower_parameters == own + frozen
    assert symmetric.light_ratio == pytest.approx(symmetric.light_ms / symmetric.frozen_ms)
    assert not isinstance(SlerpComposer(backbone), LightEncoder)
    with pytest.raises(ValueError, match="At least two drawings"):
        tower_row("small", composer, SKETCHES[:1])
