"""CIRR, CIRCO and domain conversion on galleries counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from retrieval.benchmarks.composed import (
    CircoTask,
    CirrTask,
    ConversionTask,
    circo_row,
    cirr_row,
    conversion_row,
)

NUM = 60
# One query per row looking along axis 0: item 0 is met first, item 59 last.
GALLERY = torch.arange(NUM, 0, -1, dtype=torch.float32)[:, None] / NUM


def queries(count):
    return torch.ones(count, 1)


@pytest.fixture
def cirr():
    return CirrTask(
        query_features=queries(4),
        gallery_features=GALLERY,
        targets=np.array([1, 1, 6, 50]),
        references=np.array([0, 2, 7, 3]),
        subsets=np.array([[0, 1, 9], [0, 1, 2], [4, 5, 6], [0, 3, 50]]),
    )


def test_cirr_leaves_the_reference_out_of_both_rankings(cirr):
    row = cirr_row(cirr)
    # Ranks without the reference: 1, 2, 7, 50; among the lookalikes: 1, 2, 3, 2.
    assert (row.num_queries, row.num_gallery) == (4, NUM)
    assert (row.recall_1, row.recall_5, row.recall_10, row.recall_50) == (0.25, 0.5, 0.75, 1)
    recalls = (row.subset_recall_1, row.subset_recall_2, row.subset_recall_3)
    assert recalls == (0.25, 0.75, 1)


def test_cirr_rows_carry_the_names_of_the_paper(cirr):
    assert cirr_row(cirr).as_json() == {
        "num_queries": 4, "num_gallery": NUM, "R@1": 0.25, "R@5": 0.5, "R@10": 0.75, "R@50": 1.0,
        "R_subset@1": 0.25, "R_subset@2": 0.75, "R_subset@3": 1.0,
    }  # fmt: skip


def test_cirr_tasks_that_do_not_fit_are_refused(cirr):
    with pytest.raises(ValueError, match="must not be its query's reference"):
        replace(cirr, references=cirr.targets)
    with pytest.raises(ValueError, match=r"`targets` must be rows of the gallery \(0 to 59\)"):
        replace(cirr, targets=np.array([1, 1, 6, 60]))
    with pytest.raises(ValueError, match=r"`references` must have one value .* \(4\), got 3"):
        replace(cirr, references=np.array([0, 2, 7]))
    with pytest.raises(ValueError, match="`subsets` must be rows"):
        replace(cirr, subsets=cirr.subsets - 1)
    with pytest.raises(ValueError, match="member of its subset"):
        cirr_row(replace(cirr, subsets=cirr.subsets[::-1].copy()))


def test_circo_counts_several_answers_by_hand():
    answers = ((0, 2), (7,), (0, 1, 2, 3, 4, 5, 6, 55))
    task = CircoTask(query_features=queries(3), gallery_features=GALLERY, answers=answers)
    row = circo_row(task)
    two = (1 + 2 / 3) / 2
    assert row.map_5 == pytest.approx((two + 0 + 1) / 3)
    assert row.map_10 == pytest.approx((two + 1 / 8 + 7 / 8) / 3)
    assert row.map_25 == row.map_50 == row.map_10  # the last answer stands at rank 56
    assert set(row.as_json()) == {
        "num_queries", "num_gallery", "mAP@5", "mAP@10", "mAP@25", "mAP@50",
    }  # fmt: skip
    repeated = replace(task, answers=((0, 2, 2), (7, 7), answers[2]))
    assert circo_row(repeated) == row


def test_circo_is_perfect_when_the_answers_come_first():
    task = CircoTask(query_features=queries(1), gallery_features=GALLERY, answers=((1, 0, 2),))
    row = circo_row(task)
    assert (row.map_5, row.map_10, row.map_25, row.map_50) == (1, 1, 1, 1)


def test_circo_tasks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one answer"):
        CircoTask(query_features=queries(2), gallery_features=GALLERY, answers=((1,), ()))
    with pytest.raises(ValueError, match="`answers` must be rows of the gallery"):
        CircoTask(query_features=queries(1), gallery_features=GALLERY, answers=((NUM,),))
    with pytest.raises(ValueError, match=r"`answers` must have one value .* \(1\), got 0"):
        CircoTask(query_features=queries(1), gallery_features=GALLERY, answers=())


@pytest.fixture
def conversion():
    """Cats in ranks 1 to 30, dogs behind; every third picture is a cartoon, the rest origami."""
    return ConversionTask(
        query_features=queries(2),
        query_classes=("cat", "dog"),
        query_domains=("cartoon", "cartoon"),
        gallery_features=GALLERY,
        gallery_classes=("cat",) * 30 + ("dog",) * 30,
        gallery_domains=("origami", "origami", "cartoon") * 20,
    )


def test_conversion_wants_class_and_domain(conversion):
    row = conversion_row(conversion)
    # Right for the cat: ranks 3, 6, ..., 30; for the dog: 33, ..., 60; ten each.
    assert (row.recall_1, row.hits_1) == (0, 0)
    assert (row.recall_5, row.hits_5) == (pytest.approx(0.1 / 2), 0.5)
    assert (row.recall_10, row.hits_10) == (pytest.approx(0.3 / 2), 0.5)
    assert (row.recall_50, row.hits_50) == (pytest.approx((1 + 0.6) / 2), 1)  # 33, ..., 48
    assert row.map_10 == pytest.approx((1 / 3 + 2 / 6 + 3 / 9) / 10 / 2)
    fields = row.as_json()
    assert (fields["R@10"], fields["hit@10"], fields["mAP@10"]) == (
        row.recall_10, row.hits_10, row.map_10,
    )  # fmt: skip


def test_conversion_tasks_that_do_not_fit_are_refused(conversion):
    with pytest.raises(ValueError, match=r"lacks 1 pairs, such as \('dog', 'toy'\)"):
        replace(conversion, query_domains=("cartoon", "toy"))
    with pytest.raises(ValueError, match=r"`gallery_domains` must have one value .* \(60\), got 1"):
        replace(conversion, gallery_domains=("cartoon",))


def test_the_order_of_the_gallery_changes_nothing(cirr, conversion):
    order = np.random.default_rng(1).permutation(NUM)
    position = np.argsort(order)
    shuffled = replace(
        cirr,
        gallery_features=GALLERY[order],
        targets=position[cirr.targets],
        references=position[cirr.references],
        subsets=position[cirr.subsets],
    )
    assert cirr_row(shuffled) == cirr_row(cirr)
    converted = replace(
        conversion,
        gallery_features=GALLERY[order],
        gallery_classes=[conversion.gallery_classes[i] for i in order],
        gallery_domains=[conversion.gallery_domains[i] for i in order],
    )
    assert conversion_row(converted) == conversion_row(conversion)


def test_queries_of_several_blocks_keep_their_order():
    count = 2100
    queries = torch.ones(count, 1)
    gallery = torch.arange(count, 0, -1, dtype=torch.float32)[:, None]
    rows, names = np.arange(count), [str(row) for row in range(count)]
    reciprocals = sum(1 / rank for rank in range(1, 51))
    cirr = CirrTask(
        query_features=queries,
        gallery_features=gallery,
        targets=rows,
        references=np.roll(rows, -1),
        subsets=np.stack([rows, np.roll(rows, -2)], axis=1),
    )
    assert cirr_row(cirr).recall_50 == 50 / count
    assert cirr_row(cirr).subset_recall_1 == (count - 2) / count
    circo = CircoTask(
        query_features=queries, gallery_features=gallery, answers=[(row,) for row in range(count)]
    )
    assert circo_row(circo).map_50 == pytest.approx(reciprocals / count)
    conversion = ConversionTask(
        query_features=queries,
        query_classes=names,
        query_domains=("toy",) * count,
        gallery_features=gallery,
        gallery_classes=names,
        gallery_domains=("toy",) * count,
    )
    assert conversion_row(conversion).recall_50 == conversion_row(conversion).hits_50 == 50 / count
