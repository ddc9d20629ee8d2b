"""The gallery's protocol on a world of four pictures, counted by hand."""

import pytest

from composer.strategies.slerp import SlerpComposer
from retrieval.benchmarks import catalogue
from retrieval.errors import GalleryError
from retrieval.search import Gallery
from tests.composer.tiny import tiny_backbone
from tests.retrieval.queries import features_of
from tests.retrieval.tiny_world import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = write_world(tmp_path_factory.mktemp("world") / "gallery", tiny_backbone())
    gallery = Gallery.open(folder / "index", tiny_backbone().gallery_hash)
    return folder, gallery, catalogue.read_protocol(gallery, folder)


def test_each_case_points_at_its_picture(world):
    _, gallery, protocol = world
    for case in protocol.cases:
        colour = case.attributes.split()[2]
        assert gallery.items[case.target].path == f"{case.design}-{colour}.png"
        assert (case.part, case.colour) == ("seat", colour)
    assert protocol.trained_kinds.tolist() == [True, True, True, False]
    assert set(protocol.sketches) == {"a", "b"}


def test_ceilings_say_how_many_cases_look_alike(world):
    protocol = world[2]
    assert catalogue.ceilings(protocol, "sketch").tolist() == [0.5] * 4
    assert catalogue.ceilings(protocol, "text").tolist() == [0.5, 1, 0.5, 1]
    assert catalogue.ceilings(protocol, "sketch+text").tolist() == [1] * 4


def test_a_mode_shows_only_its_side(world):
    _, _, protocol = world
    composer = SlerpComposer(tiny_backbone())
    drawn = features_of(catalogue.composed_queries(protocol, composer, "sketch"))
    features = features_of(catalogue.composed_queries(protocol, composer, "text"))
    both = features_of(catalogue.composed_queries(protocol, composer, "sketch+text"))
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])
    assert features[0].equal(features[2])
    assert not features[0].equal(features[1])
    assert len({tuple(row.tolist()) for row in both}) == 4


def test_perfect_features_are_always_right_and_the_table_says_so(world):
    _, gallery, protocol = world
    exact = gallery.matrix._matrix[[case.target for case in protocol.cases]]
    ranks = catalogue.ranks(protocol, gallery.matrix, exact)
    assert ranks.tolist() == [1] * 4
    rows = catalogue.table("duet", "sketch+text", protocol, ranks)
    assert [(row.split, row.num_queries, row.acc_1) for row in rows] == [
        ("seen", 3, 1.0),
        ("unseen", 1, 1.0),
    ]
    assert {"acc@1", "acc@10", "composer", "query", "split"} <= set(rows[0].as_json())


def test_a_gallery_without_its_tables_is_refused(world, tmp_path):
    with pytest.raises(GalleryError, match=r"must hold items\.parquet"):
        catalogue.read_protocol(world[1], tmp_path)
