"""Ranks of the protocol after re-ranking, against the hits of a search."""

import pytest
import torch

from composer.strategies.slerp import SlerpComposer
from retrieval.benchmarks import catalogue
from retrieval.benchmarks.rerank import composed_queries, reranked_ranks
from retrieval.search import Gallery
from tests.composer.tiny import tiny_backbone
from tests.retrieval.queries import features_of
from tests.retrieval.tiny_world import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = write_world(tmp_path_factory.mktemp("world") / "gallery", tiny_backbone())
    gallery = Gallery.open(folder / "index", tiny_backbone().gallery_hash)
    return gallery, catalogue.read_protocol(gallery, folder)


def test_reranked_ranks_are_those_of_the_hits(world):
    gallery, protocol = world
    composer = SlerpComposer(tiny_backbone())
    queries = composed_queries(protocol, composer, "sketch+text")
    expected: list[int] = []
    for query, case in zip(queries, protocol.cases, strict=True):
        paths = [hit.path for hit in gallery.search(query).hits]
        expected.append(1 + paths.index(gallery.items[case.target].path))
    assert reranked_ranks(protocol, gallery, queries).tolist() == expected
    with pytest.raises(ValueError, match="4 cases needs a query, got 3"):
        reranked_ranks(protocol, gallery, queries[1:])


def test_composed_queries_have_the_features_of_the_protocol(world):
    protocol = world[1]
    composer = SlerpComposer(tiny_backbone())
    for mode in catalogue.MODES:
        queries = composed_queries(protocol, composer, mode)
        features = torch.stack([query.feature for query in queries])
        expected = features_of(catalogue.composed_queries(protocol, composer, mode))
        torch.testing.assert_close(features, expected)
        assert all((query.patch_features is None) == (mode == "text") for query in queries)


def test_words_alone_are_not_reranked(world):
    gallery, protocol = world
    queries = composed_queries(protocol, SlerpComposer(tiny_backbone()), "text")
    features = torch.stack([query.feature for query in queries])
    expected = catalogue.ranks(protocol, gallery.matrix, features)
    assert reranked_ranks(protocol, gallery, queries).tolist() == expected.tolist()
