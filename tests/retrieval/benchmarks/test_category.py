"""The category-level protocol on worlds counted by hand and by a slow loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from retrieval.benchmarks.category import CategoryTask, category_row, generalised

# Items lie on a quarter circle by angle; a query at 0 degrees meets them in this order.
ORDER = ("cat", "dog", "cat", "dog", "dog", "cat")


def on_circle(degrees):
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float32))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@pytest.fixture
def task():
    return CategoryTask(
        query_features=on_circle([0, 90]),
        query_classes=("cat", "cat"),
        gallery_features=on_circle([10, 20, 30, 50, 60, 70]),
        gallery_classes=ORDER,
    )


def test_every_figure_by_hand(task):
    row = category_row(task)
    forwards = (1 + 2 / 3 + 3 / 6) / 3  # right at ranks 1, 3 and 6
    backwards = (1 + 2 / 4 + 3 / 6) / 3  # right at ranks 1, 4 and 6
    assert (row.num_queries, row.num_gallery, row.is_generalised) == (2, 6, False)
    assert row.map_all == pytest.approx((forwards + backwards) / 2)
    assert row.map_200 == row.map_all
    assert row.map_all_voc == pytest.approx((forwards + backwards) / 2)
    assert (row.p_100, row.p_200) == (3 / 100, 3 / 200)
    assert row.map_200_low == pytest.approx(backwards)
    assert row.map_200_high == pytest.approx(forwards)


def test_rows_carry_the_names_of_the_literature(task):
    row = category_row(task)
    fields = row.as_json()
    assert fields["mAP@200"] == row.map_200
    assert fields["mAP@all_voc"] == row.map_all_voc
    assert set(fields) == {
        "num_queries", "num_gallery", "is_generalised", "mAP@all", "mAP@200", "map_200_low",
        "map_200_high", "P@100", "P@200", "mAP@all_voc", "mAP@200_voc",
    }  # fmt: skip


def test_seen_classes_in_the_gallery_only_distract(task):
    harder = generalised(task, on_circle([0, 1]), ("fox", "fox"))
    row = category_row(harder)
    forwards = (1 / 3 + 2 / 5 + 3 / 8) / 3
    backwards = (1 + 2 / 4 + 3 / 6) / 3
    assert (row.num_gallery, row.is_generalised) == (8, True)
    assert row.map_all == pytest.approx((forwards + backwards) / 2)
    with pytest.raises(ValueError, match="must have no queries, but 'cat' has"):
        generalised(task, on_circle([0]), ("cat",))
    with pytest.raises(ValueError, match="`seen_classes` must have one value per feature"):
        generalised(task, on_circle([0]), ("fox", "fox"))


def test_the_order_of_the_gallery_changes_nothing(task):
    order = [4, 2, 0, 5, 1, 3]
    shuffled = replace(
        task,
        gallery_features=task.gallery_features[order],
        gallery_classes=[ORDER[i] for i in order],
    )
    assert category_row(shuffled) == category_row(task)


def test_queries_agree_with_a_slow_loop():
    rng = np.random.default_rng(5)
    queries = torch.from_numpy(rng.integers(-9, 10, (2100, 3))).float()
    gallery = torch.from_numpy(rng.integers(-9, 10, (2100, 3))).float()
    names = np.array(["cat", "dog", "fox"])
    asked, held = names[rng.integers(0, 3, 2100)], names[rng.integers(0, 3, 2100)]
    row = category_row(
        CategoryTask(
            query_features=queries,
            query_classes=asked.tolist(),
            gallery_features=gallery,
            gallery_classes=held.tolist(),
        )
    )
    precisions, averages = [], []
    for feature, name in zip(queries.numpy(), asked, strict=True):
        right = held == name
        first = right[np.lexsort((right, -(gallery.numpy() @ feature)))][:200]
        ranks = np.flatnonzero(first) + 1
        precisions.append(len(ranks) / 200)
        averages.append((np.arange(1, len(ranks) + 1) / ranks).sum() / min(200, right.sum()))
    assert row.p_200 == pytest.approx(np.mean(precisions))
    assert row.map_200 == pytest.approx(np.mean(averages))
    assert row.map_200_low < row.map_200 < row.map_200_high
    assert row.map_200 < row.map_200_voc
    assert row.map_all < row.map_all_voc


def test_perfect_features_score_1():
    names = ("cat", "dog", "dog", "cat")
    features = torch.tensor([[1.0, 0], [0, 1], [0, 1], [1, 0]])
    row = category_row(
        CategoryTask(
            query_features=features,
            query_classes=names,
            gallery_features=features.half(),
            gallery_classes=names,
        )
    )
    assert (row.map_all, row.map_200, row.map_all_voc, row.map_200_voc) == (1, 1, 1, 1)
    assert row.p_100 == 2 / 100


def test_tasks_that_do_not_fit_are_refused(task):
    with pytest.raises(ValueError, match=r"`query_classes` must have one value .* \(2\), got 1"):
        replace(task, query_classes=("cat",))
    with pytest.raises(ValueError, match=r"`gallery_classes` must have one value .* \(6\), got 1"):
        replace(task, gallery_classes=("cat",))
    with pytest.raises(ValueError, match="lacks 1, such as 'owl'"):
        replace(task, query_classes=("cat", "owl"))
    with pytest.raises(ValueError, match=r"gallery's width \(2\), got 3"):
        category_row(replace(task, query_features=torch.zeros(2, 3)))
