"""Pointing of evidence at parts and strokes, counted by hand."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from composer.sketch import Sketch
from composer.strategies.slerp import SlerpComposer
from retrieval.benchmarks import pointing
from retrieval.errors import GalleryError
from retrieval.evidence import Evidence, StrokeEvidence, WordEvidence
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import noise_picture

GRID = (4, 4)
STROKES = [[[0.1, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.9, 0.9]]]


def word(phrase, patch):
    return WordEvidence(
        word=phrase.split()[-1], index=0, phrase=phrase, heat=torch.zeros(GRID), patch=patch
    )


def stroke(index, cell, patch):
    return StrokeEvidence(index=index, cell=cell, heat=torch.zeros(GRID), patch=patch)


def evidence(words=(), strokes=()):
    return Evidence(
        heat=torch.zeros(GRID),
        words=tuple(words),
        strokes=tuple(strokes),
        view=(0.0, 0.0, 1.0, 1.0),
    )


def annotated():
    """A seat of six patches, legs of two; the lid is hidden, and part 4 is never named."""
    parts = np.zeros((8, 8), np.uint8)
    parts[0:4, 0:6] = 1
    parts[4:8, 0:2] = 2
    parts[3, 5] = 3
    parts[7, 7] = 4
    return pointing.AnnotatedPicture(
        design="a",
        trained_kind=True,
        text="with a red seat, oak legs and a blue lid",
        phrases=("red seat", "oak legs", "blue lid"),
        parts=parts,
        picture=noise_picture(),
        sketch=Sketch.from_strokes(STROKES),
    )


def test_the_part_with_most_pixels_wins_a_patch():
    winners = pointing.winning_parts(annotated().parts, GRID)
    assert winners.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [2, 0, 0, 0], [2, 0, 0, 4]]


def test_pixels_count_by_their_share_where_patches_cut_them():
    winners = pointing.winning_parts(annotated().parts, (3, 3))
    assert winners.tolist() == [[1, 1, 1], [1, 1, 3], [2, 0, 4]]
    uneven = np.array([[1, 1, 2, 2, 2]], np.uint8)  # two pixels and a half each
    assert pointing.winning_parts(uneven, (1, 2)).tolist() == [[1, 2]]


def test_words_are_right_on_their_part_and_chance_is_its_share():
    results = pointing.judge_words(
        annotated(),
        evidence([word("red seat", (1, 2)), word("oak legs", (1, 2)), word("x", (0, 0))]),
    )
    assert [result.is_right for result in results] == [True, False]  # the lid wins no patch
    assert [result.chance for result in results] == pytest.approx([6 / 9, 2 / 9])
    assert [result.chance_anywhere for result in results] == pytest.approx([6 / 16, 2 / 16])
    with pytest.raises(ValueError, match=r"must have the phrase 'oak legs', got \['red seat'\]"):
        pointing.judge_words(annotated(), evidence([word("red seat", (1, 2))]))


def test_strokes_are_right_within_a_patch_of_their_position():
    # The object's box is the whole map: the first stroke lies along its top, the second right.
    assert pointing.expected_patches(annotated(), GRID)[0][0] == 0
    assert pointing.expected_patches(annotated(), GRID)[1][1] == 3
    row, column = 0, pointing.expected_patches(annotated(), GRID)[0][1]
    far = (row + 2, column)
    results = pointing.judge_strokes(
        annotated(),
        evidence(strokes=[stroke(0, far, (row + 1, column)), stroke(1, (0, 3), (0, 0))]),
    )
    assert [result.is_right for result in results] == [True, False]
    assert results[0].chance_same_position == 0
    assert results[0].chance == pytest.approx(6 / 9 if column == 1 else 4 / 9)


def test_a_shrunk_picture_keeps_its_parts_under_its_pixels():
    moved = pointing.shrink(annotated(), 3)
    assert moved.parts.shape == (8, 8)
    rows, columns = np.nonzero(moved.parts)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 7, 2, 7)
    assert len(set(np.asarray(moved.picture)[:19, :19].reshape(-1, 3).tolist()[0])) <= 3
    assert (np.asarray(moved.picture)[:19] == np.asarray(moved.picture)[0, 0]).all()


def test_rows_of_a_gallery_are_means_over_designs(tmp_path):
    folder = write_gallery(tmp_path)
    rows = pointing.pointing_rows(SlerpComposer(tiny_backbone()), folder)
    assert [(row["query"], row["split"], row["num"]) for row in rows] == [
        ("word", "seen", 3), ("word", "unseen", 1), ("stroke", "seen", 2), ("stroke", "unseen", 2),
    ]  # fmt: skip
    assert rows[0]["chance"] == pytest.approx((2 / 3 + 1 / 3 + 2 / 3) / 3)
    assert rows[0]["ratio"] == rows[0]["rate"] / rows[0]["chance"]
    assert rows[0]["low"] <= rows[0]["rate"] <= rows[0]["high"]
    assert "chance_same_place" in rows[2]
    assert "chance_same_place" not in rows[0]
    with pytest.raises(GalleryError, match=r"must hold items\.parquet, parts\.parquet and"):
        pointing.pointing_rows(SlerpComposer(tiny_backbone()), tmp_path / "none")


def write_gallery(folder):
    """Three pictures: two of design a, with one part and with two, and one of an unseen kind."""
    (folder / "images").mkdir()
    variants = [
        ("a", ["chair"], "test"),
        ("a", ["chair", "oak"], "test"),
        ("b", ["chair"], "unseen"),
    ]
    items, maps = [], []
    for number, (design, parts, split) in enumerate(variants):
        noise_picture(number).save(folder / "images" / f"{number}.png")
        levels = np.zeros((8, 8), np.uint8)
        levels[0:2], levels[2:4], levels[4:6] = 1, 1, 2
        blob = io.BytesIO()
        Image.fromarray(levels).save(blob, "PNG")
        maps.append({"id": str(number), "parts": blob.getvalue()})
        finishes = ["red", "blu"][: len(parts)]
        items.append(
            {
                "id": str(number),
                "path": f"images/{number}.png",
                "design": design,
                "split": split,
                "skill": 0,
                "part_names": parts,
                "part_finishes": finishes,
                "attributes": "with a "
                + " and ".join(f"{f} {p}" for f, p in zip(finishes, parts, strict=True)),
            }
        )
    drawn = [
        {"design": d, "skill": 0, "strokes": json.dumps((np.array(STROKES) * 255).tolist())}
        for d in ("a", "b")
    ]
    pq.write_table(pa.Table.from_pylist(items), folder / "items.parquet")
    pq.write_table(pa.Table.from_pylist(maps), folder / "parts.parquet")
    pq.write_table(pa.Table.from_pylist(drawn), folder / "sketches.parquet")
    return folder
