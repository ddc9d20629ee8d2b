"""The measure of encoders, on archives made here."""

import json

import pytest
import torch

from composer.data.qmul import chairv2_parts, open_chairv2
from composer.medium import Medium
from composer.query import Query
from composer.strategies.reference import reference_pixels
from retrieval.benchmarks.encoder import (
    _mean_precision,
    encoder_rows,
    main,
    reranked,
    see_drawings,
    speed_row,
)
from tests.composer.data.tiny_archives import write_archives
from tests.composer.tiny import tiny_backbone, tiny_trunk_backbone, write_trunk_clip


@pytest.fixture(scope="module")
def natural(tmp_path_factory):
    return write_archives(tmp_path_factory.mktemp("archives"))


@pytest.mark.parametrize("make", [tiny_backbone, tiny_trunk_backbone])
def test_rows_are_of_the_held_out_parts_alone(natural, make):
    rows = encoder_rows("tiny", make(), natural, seed=0)
    assert [(row["split"], row["query"], row["by"]) for row in rows] == [
        ("chairv2", "sketch", "feature"),
        ("chairv2", "sketch", "layout"),
        ("chairv2", "sketch", "both"),
        ("sketchy", "sketch", "feature"),
        ("sketchy", "sketch", "both"),
        ("sketchy", "photo", "feature"),
        ("sketchy", "photo", "both"),
    ]
    assert {(row["num_queries"], row["num_gallery"]) for row in rows[:3]} == {(4, 2)}
    assert {(row["num_queries"], row["num_gallery"]) for row in rows[3:]} == {(3, 3)}
    assert rows[0]["acc@10"] == 1
    assert rows[3]["mAP@200"] == 1  # one class is held out here
    is_trunk = make is tiny_trunk_backbone
    weights = [row["layout_weight"] for row in rows if row["by"] == "both"]
    assert weights == ([0.5, 0.5, 0.2] if is_trunk else [0.3, 0.3, 0.3])


@torch.no_grad()
def test_drawings_are_seen_as_drawings(natural):
    backbone = tiny_trunk_backbone()
    dataset = chairv2_parts(open_chairv2(natural / "chairv2_train.tar")).held_out
    found = see_drawings(backbone, dataset)
    pixels = reference_pixels(backbone, Query(sketch=dataset.sketch(dataset.drawings[2])))
    seen = backbone.encode_image(pixels, Medium.DRAWING)
    torch.testing.assert_close(found.features[2], seen.features[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.layouts[2], backbone.layouts(seen)[0], atol=1e-5, rtol=0)


def test_mean_precision_by_hand():
    similarities = torch.tensor([[-10, 0.8, 0.7], [0.2, 0.9, 0.9]])
    relevant = torch.tensor([[False, False, True], [False, True, False]])
    found = _mean_precision(similarities, relevant, seed=0)
    # The first: itself left out, its one other is second. The second: a tie counts against it.
    assert found["mAP@200"] == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_the_short_list_is_mixed_and_stays_ahead():
    similarities = torch.linspace(0.9, 0.1, 150)[None]
    layouts = torch.linspace(-1, 1, 150)[None]
    found = reranked(similarities, layouts, 0.7)[0]
    assert found[:100].min() > found[100:].max()
    assert found[:100].argsort(descending=True).tolist() == list(range(99, -1, -1))
    assert found[100:].argsort(descending=True).tolist() == list(range(50))
    assert reranked(similarities, layouts, 0.0)[0].argsort(descending=True).tolist() == list(
        range(150)
    )


def test_a_speed_row_counts_what_an_item_takes():
    row = speed_row("tiny", tiny_backbone())
    assert row["bytes_an_item"] == 2 * 24 + 1024
    assert row["batch_1_ms"] > 0
    expected = sum(p.numel() for p in tiny_backbone().model.visual.parameters())
    assert row["vision_parameters"] == expected


def test_the_command_prints_rows_of_each_folder(natural, tmp_path, capsys):
    folder = write_trunk_clip(tmp_path / "clip")
    assert main([str(folder), "--natural", str(natural)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bench"] == "encoder"
    assert len(found["rows"]) == 8
    assert main([str(tmp_path / "nothing"), "--natural", str(natural)]) == 2
    assert "There is no CLIP folder" in capsys.readouterr().err
