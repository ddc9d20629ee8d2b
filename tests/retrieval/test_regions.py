"""Region maps, their codes, and a short-list ordered once more by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from composer.composed import rebalance
from composer.layout import NUM_CODES, LearnedLayout, blend, region_maps, region_projection
from retrieval.regions import (
    from_codes,
    query_layout,
    query_weight,
    region_scores,
    region_weight,
    to_codes,
)
from tests.retrieval.galleries import LAYOUT_DIM, gallery_of, maps_of, patches
from tests.retrieval.queries import query_of


def test_a_code_is_off_by_half_a_step_at_most():
    maps = maps_of(patches(0, 5))
    codes = to_codes(maps)
    assert (codes.dtype, codes.shape) == (torch.int8, (5, NUM_CODES))
    assert codes.abs().amax(dim=1).tolist() == [127] * 5
    step = maps.abs().amax(dim=1, keepdim=True) / 127
    assert (codes * step - maps).abs().max() <= step.max() / 2 + 1e-7
    back = from_codes(codes)
    torch.testing.assert_close(back.norm(dim=1), torch.ones(5))
    # Half a step in each of 1,024 numbers is the farthest that a map can be from its code.
    assert ((back - maps).norm(dim=1) < step[:, 0] / 2 * 32).all()


def test_the_projection_keeps_the_correlation_of_centred_maps():
    features = patches(1, 40, dim=64)
    near = functional.normalize(features + 0.7 * features.roll(1, 0), dim=-1)
    whole = [(feature - feature.mean(0)).numpy().ravel() for feature in features]
    other = [(feature - feature.mean(0)).numpy().ravel() for feature in near]
    expected = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in other] for a in whole]
    error = (maps_of(features) @ maps_of(near).T).numpy() - np.array(expected)
    assert np.abs(error).max() < 0.15
    assert np.abs(error).mean() < 0.03


def test_what_a_picture_has_everywhere_plays_no_part():
    features = patches(2, 3)
    torch.testing.assert_close(maps_of(features + torch.randn(LAYOUT_DIM)), maps_of(features))


@pytest.mark.parametrize("side", [4, 16])
def test_other_grids_are_brought_to_the_same_regions(side):
    coarse = patches(3, side=min(side, 8))
    fine = coarse.unflatten(1, (min(side, 8),) * 2)
    fine = fine.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)
    torch.testing.assert_close(maps_of(coarse), maps_of(fine))


def test_a_layout_is_most_like_itself_and_not_like_its_mirror():
    found = patches(4, 2)
    mirrored = found[:1].unflatten(1, (8, 8)).flip(2).flatten(1, 2)
    codes = to_codes(maps_of(torch.cat([found, mirrored])))
    scores = region_scores(maps_of(found[:1])[0], codes)
    assert scores[0] == pytest.approx(1, abs=1e-3)
    assert scores[1:].abs().max() < 0.2


def test_what_does_not_fit_is_reported():
    projection = region_projection(LAYOUT_DIM)
    with pytest.raises(ValueError, match="must fill a square grid, got 63"):
        region_maps(patches(0)[:, 1:], projection)
    with pytest.raises(ValueError, match=r"gallery's width \(12\), got 13"):
        region_maps(patches(0, dim=13), projection)
    with pytest.raises(ValueError, match=r"must have 1024 numbers, got 1000.*--rebuild"):
        from_codes(torch.zeros(1, 1000, dtype=torch.int8))


def test_blending_by_hand():
    similarities, regions = torch.tensor([0.5, 0.4]), torch.tensor([0.0, 1.0])
    # Regions on the scale of the similarities: 0.4 and 0.5.
    torch.testing.assert_close(blend(similarities, regions, 0.3), torch.tensor([0.47, 0.43]))
    torch.testing.assert_close(blend(similarities, regions, 0.6), torch.tensor([0.44, 0.46]))
    assert blend(similarities, torch.ones(2), 0.6).equal(similarities)
    assert blend(torch.tensor([0.7]), torch.tensor([0.1]), 0.6).tolist() == pytest.approx([0.7])


def test_regions_count_less_the_more_the_words_do():
    shares = [region_weight(balance, has_words=True) for balance in (0.0, 0.5, 0.75, 1.0)]
    assert shares == pytest.approx([0.3, 0.3, 0.15, 0])
    assert region_weight(1.0, has_words=False) == pytest.approx(0.3)


@pytest.fixture
def three(tmp_path):
    """Cosines 0.50, 0.49 and 0.2; the second picture has the layout of the reference."""
    reference, others = patches(5)[0], patches(6, 2)
    codes = to_codes(maps_of(torch.stack([others[0], reference, others[1]])))
    axes = torch.eye(LAYOUT_DIM)
    cosines = torch.tensor([0.5, 0.49, 0.2])
    sides = (1 - cosines**2).sqrt().unsqueeze(1) * axes[1:4]
    return gallery_of(tmp_path, cosines.unsqueeze(1) * axes[0] + sides, codes), axes, reference


def paths(ranking):
    return [hit.path for hit in ranking.hits]


def test_the_layout_corrects_an_order_that_the_features_leave_open(three):
    gallery, axes, reference = three
    query = query_of(axes[0], reference)
    plain = gallery.search(query, rerank=False)
    assert paths(plain) == ["000.png", "001.png", "002.png"]
    assert [hit.region_similarity for hit in plain.hits] == [None] * 3
    assert all(hit.score == hit.similarity for hit in plain.hits)
    ranking = gallery.search(query)
    assert paths(ranking)[:2] == ["001.png", "000.png"]
    assert [hit.similarity for hit in ranking.hits[:2]] == pytest.approx([0.49, 0.5], abs=1e-3)
    assert ranking.hits[0].region_similarity == pytest.approx(1, abs=1e-3)
    scores = [hit.score for hit in ranking.hits]
    assert scores == sorted(scores, reverse=True)


def test_words_alone_are_ranked_by_their_feature(three):
    gallery, axes, reference = three
    expected = paths(gallery.search(query_of(axes[0], None, axes[0])))
    assert expected == ["000.png", "001.png", "002.png"]
    both = query_of(axes[0], reference, axes[0])
    assert paths(gallery.search(both)) != expected
    assert paths(gallery.search(rebalance(both, 1.0))) == expected


def test_hits_behind_the_short_list_keep_their_rank_and_scores_never_rise(tmp_path):
    generator = torch.Generator().manual_seed(7)
    vectors = functional.normalize(torch.randn(130, LAYOUT_DIM, generator=generator), dim=-1)
    gallery = gallery_of(tmp_path, vectors, to_codes(maps_of(patches(8, 130))))
    query = query_of(vectors[0], patches(9)[0])
    order, plain = gallery.order(query, 130), gallery.order(query, 130, rerank=False)
    assert order.ids[:100] != plain.ids[:100]
    assert set(order.ids[:100]) == set(plain.ids[:100])
    assert order.ids[100:] == plain.ids[100:]
    assert (order.scores.diff() <= 0).all()
    assert len(order.region_similarities) == 100
    assert gallery.order(query, 7).ids == order.ids[:7]


def test_a_layout_that_is_all_wrong_costs_no_more_than_the_short_list_ends_with(tmp_path):
    """One of a hundred has the opposite layout; what its score would be lies below number 101."""
    cosines = torch.cat([torch.linspace(0.62, 0.6, 100), torch.tensor([0.599, 0.5])])
    axes, reference = torch.eye(LAYOUT_DIM), patches(5)[0]
    vectors = cosines[:, None] * axes[0] + (1 - cosines[:, None] ** 2).sqrt() * axes[1]
    maps = maps_of(patches(6, 102))
    maps[50] = -maps_of(reference[None])[0]
    gallery = gallery_of(tmp_path, vectors, to_codes(maps))
    order = gallery.order(query_of(axes[0], reference), 102)
    assert order.ids[99] == f"{50:032x}"
    assert order.region_similarities[99] == pytest.approx(-1, abs=1e-2)
    assert order.scores[99:].tolist() == pytest.approx([0.6, 0.599, 0.5], abs=1e-3)
    assert (order.scores.diff() <= 0).all()


def test_codes_come_in_the_order_of_the_ids_and_missing_items_are_zeros(three):
    store = three[0].source
    ids = [f"{number:032x}" for number in (2, 9, 0)]
    whole = store.read_regions([f"{number:032x}" for number in range(3)])
    np.testing.assert_array_equal(store.read_regions(ids)[[0, 2]], whole[[2, 0]])
    assert not store.read_regions(ids)[1].any()
    assert whole.any(axis=1).all()
    assert len(store.read_regions([])) == 0


def test_a_learned_layout_goes_before_patches_and_has_a_weight():
    layout = LearnedLayout(vector=functional.normalize(torch.randn(NUM_CODES), dim=0), weight=0.6)
    query = replace(query_of(torch.eye(LAYOUT_DIM)[0], patches(5)[0]), layout=layout)
    assert query_layout(query).equal(layout.vector)
    assert query_weight(query) == pytest.approx(0.6)
    with_words = replace(query, balance=0.75, words_feature=torch.eye(LAYOUT_DIM)[1])
    assert query_weight(replace(with_words, balance=0.5)) == pytest.approx(0.7 * 0.6)
    assert query_weight(with_words) == pytest.approx(0.7 * 0.3)
    assert query_weight(replace(with_words, layout=None, balance=0.5)) == pytest.approx(0.3)
    assert query_weight(replace(query, layout=None)) == pytest.approx(0.3)
    assert query_layout(replace(query, layout=None)).equal(maps_of(patches(5)[:1])[0])
    assert query_layout(query_of(torch.eye(LAYOUT_DIM)[0], None)) is None
