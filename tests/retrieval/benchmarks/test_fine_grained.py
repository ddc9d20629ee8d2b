"""The fine-grained protocol on a gallery of twelve items, counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from retrieval.benchmarks.fine_grained import FineGrainedTask, fine_grained_row, target_ranks
from retrieval.benchmarks.ranked_metrics import label_codes

# A query looking along axis 0 meets the items by their height: item 0 first, item 11 last.
HEIGHTS = torch.arange(12, 0, -1) / 12
CLASSES = ("shoe", "boot") * 6


@pytest.fixture
def task():
    return FineGrainedTask(
        query_features=torch.tensor([[1.0, 0]] * 4),
        gallery_features=torch.stack([HEIGHTS, (1 - HEIGHTS**2).sqrt()], dim=1),
        targets=np.array([0, 3, 8, 11]),
        query_classes=("shoe", "boot", "shoe", "boot"),
        gallery_classes=CLASSES,
    )


def test_the_whole_gallery_by_hand(task):
    assert target_ranks(task).tolist() == [1, 4, 9, 12]
    row = fine_grained_row(task)
    assert (row.acc_1, row.acc_5, row.acc_10) == (1 / 4, 2 / 4, 3 / 4)
    assert (row.num_queries, row.num_gallery, row.num_candidates) == (4, 12, 12)
    assert not row.within_class
    assert row.acc_1_low <= row.acc_1 <= row.acc_1_high < row.acc_10_high
    assert row.acc_10_low <= row.acc_10


def test_within_the_class_only_its_items_are_rivals(task):
    codes = label_codes(task.query_classes, task.gallery_classes)
    assert target_ranks(task, codes).tolist() == [1, 2, 5, 6]
    row = fine_grained_row(task, within_class=True)
    assert (row.acc_1, row.acc_5, row.acc_10) == (1 / 4, 3 / 4, 1)
    assert (row.acc_10_low, row.acc_10_high) == (1, 1)
    assert (row.num_candidates, row.within_class) == (6, True)


def test_candidates_are_averaged_over_queries(task):
    uneven = replace(task, gallery_classes=("shoe",) + ("boot",) * 7 + ("shoe",) + ("boot",) * 3)
    assert fine_grained_row(uneven, within_class=True).num_candidates == (2 + 10 + 2 + 10) / 4


def test_equal_items_count_against_the_method(task):
    flat = replace(task, gallery_features=torch.ones(12, 2))
    assert target_ranks(flat).tolist() == [12] * 4
    assert fine_grained_row(flat, within_class=True).acc_5 == 0


def test_the_order_of_the_gallery_changes_nothing(task):
    order = np.random.default_rng(0).permutation(12)
    position = np.argsort(order)
    shuffled = replace(
        task,
        gallery_features=task.gallery_features[order],
        gallery_classes=[CLASSES[i] for i in order],
        targets=position[task.targets],
    )
    for within_class in (False, True):
        assert fine_grained_row(shuffled, within_class=within_class) == fine_grained_row(
            task, within_class=within_class
        )


def test_queries_of_several_blocks_keep_their_order():
    count = 2100
    many = FineGrainedTask(
        query_features=torch.ones(count, 1),
        gallery_features=torch.arange(count, 0, -1, dtype=torch.float32)[:, None],
        targets=np.arange(count),
        query_classes=("left",) * 1050 + ("right",) * 1050,
        gallery_classes=("left",) * 1050 + ("right",) * 1050,
    )
    assert target_ranks(many).tolist() == list(range(1, count + 1))
    assert fine_grained_row(many, within_class=True).acc_10 == 20 / count


def test_rows_carry_the_names_of_the_table(task):
    fields = fine_grained_row(task).as_json()
    assert (fields["acc@1"], fields["acc@5"], fields["acc@10"]) == (1 / 4, 2 / 4, 3 / 4)
    assert {"acc_1_low", "acc_1_high", "acc_10_low", "acc_10_high"} <= set(fields)
    assert not {"acc_1", "acc_5", "acc_10"} & set(fields)


def test_tasks_that_do_not_fit_are_refused(task):
    bare = replace(task, query_classes=None, gallery_classes=None)
    assert fine_grained_row(bare).acc_5 == 2 / 4
    with pytest.raises(ValueError, match="needs the classes of queries and gallery"):
        fine_grained_row(bare, within_class=True)
    with pytest.raises(ValueError, match="or of neither"):
        replace(task, gallery_classes=None)
    with pytest.raises(ValueError, match=r"`targets` must have one value .* \(4\), got 1"):
        replace(task, targets=np.array([0]))
    with pytest.raises(ValueError, match=r"rows of the gallery \(0 to 11\)"):
        replace(task, targets=np.array([0, 3, 8, 12]))
    with pytest.raises(ValueError, match="query 1 is of 'boot' and its target of 'shoe'"):
        replace(task, targets=np.array([0, 2, 8, 11]))
