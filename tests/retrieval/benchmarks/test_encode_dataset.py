"""Features of data sets, against the composer and the backbone asked one by one."""

import numpy as np
import pytest
import torch
from PIL import Image

from composer.query import Query
from composer.sketch import Sketch
from composer.strategies.slerp import SlerpComposer
from retrieval.benchmarks.encode_dataset import composed_queries, gallery_features
from tests.composer.tiny import JOINT_DIM, tiny_backbone
from tests.retrieval.queries import features_of

SKETCH = Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]]])


def picture(seed):
    levels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((50, 40))


def queries():
    return [
        Query(sketch=SKETCH),
        Query(sketch=SKETCH, text="red"),
        Query(text="blue"),
        Query(image=picture(0), text="oak"),
    ]


def test_each_query_is_composed_with_its_words():
    composer = SlerpComposer(tiny_backbone())
    progress = []
    stream = (query for query in queries())
    features = features_of(composed_queries(composer, stream, progress=progress.append))
    assert features.shape == (4, JOINT_DIM)
    assert progress == [1, 2, 3, 4]
    for row, query in zip(features, queries(), strict=True):
        expected = composer.compose(composer.encode(query), query.text).feature
        torch.testing.assert_close(row, expected)
    assert not torch.allclose(features[0], features[1])


def test_galleries_are_encoded_by_the_frozen_tower():
    backbone = tiny_backbone()
    features = gallery_features(backbone, map(picture, range(5)), batch_size=2)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    for row, seed in zip(features, range(5), strict=True):
        expected = backbone.encode_image(backbone.preprocess([picture(seed)])).features[0]
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=0)


def test_the_batch_size_changes_nothing():
    pictures = [picture(seed) for seed in range(3)]
    whole = gallery_features(tiny_backbone(), pictures)
    single = gallery_features(tiny_backbone(), pictures, 1)
    torch.testing.assert_close(whole, single, atol=1e-5, rtol=0)


def test_pictures_are_read_batch_by_batch():
    drawn, progress = [], []

    def pictures():
        for seed in range(5):
            drawn.append(seed)
            yield picture(seed)

    gallery_features(
        tiny_backbone(),
        pictures(),
        batch_size=2,
        progress=lambda done: progress.append((done, len(drawn))),
    )
    assert progress == [(2, 2), (4, 4), (5, 5)]


def test_nothing_to_encode_is_refused():
    with pytest.raises(ValueError, match="at least one query"):
        composed_queries(SlerpComposer(tiny_backbone()), [])
    with pytest.raises(ValueError, match="at least one picture"):
        gallery_features(tiny_backbone(), [])
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        gallery_features(tiny_backbone(), [picture(0)], 0)
