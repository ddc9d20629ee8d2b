"""Metrics of rankings with several right answers, against slow counts and values by hand."""

import numpy as np
import pytest
import torch

from retrieval.benchmarks.metrics import bootstrap
from retrieval.benchmarks.ranked_metrics import (
    ApRule,
    average_precisions,
    check_length,
    hits_at,
    label_codes,
    map_at,
    precision_at,
    query_interval,
    ranked_relevance,
    recall_at,
    similarity_blocks,
    subset_ranks,
)

# Right at ranks 1, 3 and 6 of six.
HAND = np.array([[True, False, True, False, False, True]])


def slow_ranking(similarities, relevant):
    """One query's relevance by rank, from a plain sort of pairs; wrong first where equal."""
    pairs = sorted(zip(similarities, relevant, strict=True), key=lambda pair: (-pair[0], pair[1]))
    return [right for _, right in pairs]


def slow_average_precision(ranking, cut, is_voc):
    num_countable = min(cut, sum(ranking))
    ranking = ranking[:cut]
    precisions = [sum(ranking[: r + 1]) / (r + 1) for r in range(len(ranking))]
    total = 0.0
    for rank, right in enumerate(ranking):
        if right:
            total += max(precisions[rank:]) if is_voc else precisions[rank]
    return total / num_countable if num_countable else 0.0


@pytest.fixture(scope="module")
def world():
    """Similarities on a coarse grid, so that there are many ties, of both signs."""
    rng = np.random.default_rng(3)
    similarities = rng.integers(-6, 7, (9, 40)).astype(np.float32) / 8
    relevant = rng.random((9, 40)) < 0.3
    relevant[0] = False
    return similarities, relevant


def test_average_precision_by_hand():
    plain = average_precisions(HAND, rule=ApRule.PLAIN)
    assert plain.tolist() == pytest.approx([(1 + 2 / 3 + 3 / 6) / 3])
    # Right at ranks 2, 3 and 4: precisions 1/2, 2/3, 3/4, each replaced by the 3/4 behind it.
    late = np.array([[False, True, True, True]])
    assert average_precisions(late, rule=ApRule.VOC).tolist() == pytest.approx([3 / 4])
    assert average_precisions(late, rule=ApRule.PLAIN).tolist() == pytest.approx(
        [(1 / 2 + 2 / 3 + 3 / 4) / 3]
    )


def test_a_cut_divides_by_what_it_can_hold():
    for rule in ApRule:
        assert average_precisions(HAND, cut=2, rule=rule).tolist() == [1 / 2]
        assert average_precisions(HAND, cut=5, rule=rule).tolist() == pytest.approx(
            [(1 + 2 / 3) / 3]
        )
    # The envelope ends at the cut: the 3/4 at rank 4 does not lift what stands before it.
    late = np.array([[False, True, True, True]])
    assert average_precisions(late, cut=3, rule=ApRule.VOC).tolist() == pytest.approx([4 / 3 / 3])
    cut_off = average_precisions(HAND[:, :5], cut=5, rule=ApRule.PLAIN, num_relevant=np.array([3]))
    assert cut_off.tolist() == average_precisions(HAND, cut=5, rule=ApRule.PLAIN).tolist()


def test_precision_recall_and_hits_by_hand():
    rows = np.concatenate([HAND, np.zeros_like(HAND)])
    assert precision_at(rows, 3).tolist() == pytest.approx([2 / 3, 0])
    assert precision_at(rows, 12).tolist() == [3 / 12, 0]  # by k, though there are six items
    assert recall_at(rows, 3).tolist() == pytest.approx([2 / 3, 0])
    assert recall_at(rows, 3, num_relevant=np.array([8, 1])).tolist() == [2 / 8, 0]
    assert hits_at(rows, 1).tolist() == [1, 0]
    assert hits_at(HAND[:, ::-1][:, 1:], 2).tolist() == [0]
    assert map_at(rows, 2) == 1 / 4
    assert map_at(rows[:, :2], 2, num_relevant=np.array([1, 1])) == 1 / 2


@pytest.mark.parametrize("rule", ApRule)
@pytest.mark.parametrize("cut", [1, 7, 40, 200])
def test_blocks_agree_with_a_slow_count(world, rule, cut):
    similarities, relevant = world
    ranked = ranked_relevance(similarities, relevant)
    slow = [slow_ranking(*pair) for pair in zip(similarities, relevant, strict=True)]
    assert ranked.tolist() == slow
    expected = [slow_average_precision(row, cut, rule is ApRule.VOC) for row in slow]
    assert average_precisions(ranked, cut=cut, rule=rule) == pytest.approx(expected)
    if cut == 200:
        assert average_precisions(ranked, rule=rule) == pytest.approx(expected)
    assert expected[0] == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_depth_gives_the_head_of_the_whole_ranking(world, dtype):
    similarities, relevant = world[0].astype(dtype), world[1]
    whole = ranked_relevance(similarities, relevant)
    for depth in (1, 5, 40, 99):
        assert ranked_relevance(similarities, relevant, depth=depth).tolist() == (
            whole[:, :depth].tolist()
        )


def test_the_order_of_the_gallery_changes_nothing(world):
    similarities, relevant = world
    order = np.random.default_rng(0).permutation(40)
    again = ranked_relevance(similarities[:, order], relevant[:, order])
    assert again.tolist() == ranked_relevance(similarities, relevant).tolist()


def test_a_perfect_ranking_scores_1_and_the_interpolated_rule_is_never_lower(world):
    similarities, relevant = world
    perfect = ranked_relevance(relevant.astype(np.float32), relevant)[1:]
    ranked = ranked_relevance(similarities, relevant)
    for cut in (1, 5, None):
        for rule in ApRule:
            assert average_precisions(perfect, cut=cut, rule=rule).tolist() == [1] * 8
        voc = average_precisions(ranked, cut=cut, rule=ApRule.VOC)
        assert (voc >= average_precisions(ranked, cut=cut, rule=ApRule.PLAIN)).all()


def test_ties_count_against_the_method():
    relevant = np.array([[True, False, True, False]])
    constant = np.zeros((1, 4), dtype=np.float32)
    assert ranked_relevance(constant, relevant).tolist() == [[False, False, True, True]]
    signed = np.array([[0.0, -0.0, -0.5, -0.25]], dtype=np.float32)
    assert ranked_relevance(signed, relevant).tolist() == [[False, True, False, True]]


def test_subset_ranks_see_the_members_only():
    similarities = np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.1, 0.1, 0.0, 0.9]])
    targets = np.array([3, 1])
    members = np.array([[1, 3, 4], [0, 1, 3]])
    assert subset_ranks(similarities, targets, members).tolist() == [2, 2]
    with pytest.raises(ValueError, match="must be a member of its subset"):
        subset_ranks(similarities, np.array([0, 1]), members)


def test_blocks_cover_every_query_once_in_order():
    generator = torch.Generator().manual_seed(0)
    queries = torch.randint(-3, 4, (7, 5), generator=generator).half()
    gallery = torch.randint(-3, 4, (4, 5), generator=generator).half()
    blocks = list(similarity_blocks(queries, gallery, max_entries=8))
    assert [(block.rows.start, block.rows.stop) for block in blocks] == [
        (0, 2), (2, 4), (4, 6), (6, 7),
    ]  # fmt: skip
    similarities = np.concatenate([block.similarities for block in blocks])
    assert similarities.dtype == np.float32
    assert similarities.tolist() == (queries.float() @ gallery.float().T).tolist()
    one_by_one = list(similarity_blocks(queries, gallery, max_entries=1))
    assert len(one_by_one) == 7


def test_labels_are_equal_across_both_sides():
    codes = label_codes(["cat", "dog", "cat"], ["dog", "cat"])
    assert codes.same(slice(0, 3)).tolist() == [[False, True], [True, False], [False, True]]
    assert codes.same(slice(1, 2)).tolist() == [[True, False]]


def test_intervals_of_few_queries_are_those_of_the_bootstrap():
    values = np.repeat([0.0, 1.0], 50)
    assert query_interval(values) == bootstrap(values)
    many = query_interval(np.repeat([0.0, 1.0], 30_000))  # 559 replicates
    assert many.low < many.mean == 0.5 < many.high


@pytest.mark.parametrize("function", [precision_at, recall_at, hits_at, map_at])
def test_depths_below_1_are_refused(function):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        function(HAND, 0)


def test_bad_arguments_are_named():
    similarities, relevant = np.zeros((1, 2), dtype=np.float32), np.ones((1, 2), dtype=bool)
    with pytest.raises(ValueError, match="`depth` must be at least 1, got 0"):
        ranked_relevance(similarities, relevant, depth=0)
    with pytest.raises(ValueError, match="got NaN"):
        ranked_relevance(similarities * np.nan, relevant)
    with pytest.raises(ValueError, match=r"gallery's width \(3\), got 2"):
        next(similarity_blocks(torch.zeros(1, 2), torch.zeros(1, 3)))
    with pytest.raises(ValueError, match="at least one query and one item, got 0 and 1"):
        next(similarity_blocks(torch.zeros(0, 3), torch.zeros(1, 3)))
    with pytest.raises(ValueError, match="must be finite"):
        next(similarity_blocks(torch.full((1, 3), torch.nan), torch.zeros(1, 3)))
    with pytest.raises(ValueError, match=r"`classes` must have one value per feature \(2\), got 1"):
        check_length("classes", ["cat"], 2)
