"""Evidence on a tiny backbone whose answers are known, and its measure counted by hand."""

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone, end_positions
from composer.query import Query
from composer.sketch import Sketch, rasterise
from composer.strategies.slerp import SlerpComposer
from retrieval.benchmarks import evidence as measure
from retrieval.errors import GalleryError
from retrieval.evidence import Evidence, StrokeEvidence, WordEvidence, explain
from retrieval.strokes import stroke_cells
from tests.composer.tiny import tiny_backbone, write_clip

GRID = (4, 4)
STROKES = [[[0.1, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.9, 0.9]]]


def picture(seed=0, size=(64, 64)):
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(levels)


def red_patch():
    levels = np.full((64, 64, 3), 128, np.uint8)
    levels[32:48, 16:32] = (255, 0, 0)
    return levels


def ask(text="", sketch=None, backbone=None):
    composer = SlerpComposer(backbone or tiny_backbone())
    return composer.compose(composer.encode(Query(sketch=sketch, text=text)), text)


def backbone_that_says(folder, meanings):
    """A CLIP whose text features of some prompts are given: the projection is solved for them."""
    backbone = Backbone.load(write_clip(folder))
    ids = backbone.tokenize(list(meanings))
    ends = end_positions(ids, backbone.end_id)
    hidden = backbone.encode_embeddings(backbone.token_table()[ids], ends).hidden
    pooled = hidden[torch.arange(len(ends)), ends]
    backbone.model.text_projection.data = torch.linalg.pinv(pooled) @ torch.stack(
        [*meanings.values()]
    )
    return backbone


def test_a_word_is_answered_by_the_patch_that_says_it(tmp_path):
    tower, grey, red = tiny_backbone(), np.full((64, 64, 3), 128, np.uint8), red_patch()
    pixels = tower.preprocess([Image.fromarray(grey), Image.fromarray(red)])
    without, change = tower.encode_image(pixels).features.diff(dim=0, prepend=torch.zeros(1, 24))
    meanings = {"a photo of red": change, "a photo of chair": -change, "a photo of": without}
    backbone = backbone_that_says(tmp_path, meanings)
    found = explain(backbone, ask("red and chair", backbone=backbone), Image.fromarray(red))
    assert [word.word for word in found.words] == ["red", "chair"]
    assert found.words[0].patch == (2, 1)
    assert float(found.words[1].heat[2, 1]) == 0
    assert (float(found.words[0].heat.min()), float(found.words[0].heat.max())) == (0, 1)
    lone = explain(backbone, ask("red", backbone=backbone), Image.fromarray(red))
    assert lone.words[0].patch == (2, 1)


def test_what_all_phrases_say_alike_points_nowhere(tmp_path):
    tower, grey, red = tiny_backbone(), np.full((64, 64, 3), 128, np.uint8), red_patch()
    common = grey.copy()
    common[0:16, 0:16] = 255
    pixels = tower.preprocess([Image.fromarray(levels) for levels in (grey, red, common)])
    features = tower.encode_image(pixels).features
    change, alike = features[1] - features[0], features[2] - features[0]
    change = change - alike * (change @ alike) / (alike @ alike)
    meanings = {
        "a photo of red": 5 * alike + change,
        "a photo of chair": 5 * alike - change,
        "a photo of": -alike,  # a zero would be normalised into rounding errors
    }
    backbone = backbone_that_says(tmp_path, meanings)
    both = Image.fromarray(np.where(common != 128, common, red))
    found = explain(backbone, ask("red and chair", backbone=backbone), both)
    assert found.words[0].patch == (2, 1)
    assert explain(backbone, ask("red", backbone=backbone), both).words[0].patch != (2, 1)


def test_a_patch_answers_what_it_says_alone():
    backbone = tiny_backbone()
    tower, pixels = backbone.model.visual, backbone.preprocess([picture()])
    first, second = tower.transformer.resblocks
    states = first(tower._embeds(pixels))
    answered = 0
    for number in range(16):
        pooled, _ = tower._pool(second(states[:, [0, 1 + number]]))
        feature = torch.nn.functional.normalize(pooled[0] @ tower.proj, dim=0)
        found = explain(backbone, replace(ask("chair"), feature=feature), picture())
        answered += int(found.heat.argmax()) == number
    assert answered >= 8  # the share alone: chance, one


def test_phrases_end_at_function_words_and_punctuation_and_share_a_map():
    found = explain(tiny_backbone(), ask("Red chair, oak or (red) oak-chair."), picture())
    assert [(w.index, w.word, w.phrase) for w in found.words] == [
        (0, "red", "red chair"),
        (1, "chair", "red chair"),
        (2, "oak", "oak"),
        (4, "red", "red"),
        (5, "oak-chair", "oak-chair"),
    ]
    assert found.words[0].heat.equal(found.words[1].heat)
    assert not found.words[1].heat.equal(found.words[2].heat)


def test_words_behind_the_context_have_no_evidence():
    found = explain(tiny_backbone(), ask("red " * 40), picture())
    assert 0 < len(found.words) < tiny_backbone().context_length


def test_a_side_that_is_missing_has_no_evidence():
    sketch = Sketch.from_strokes(STROKES)
    backbone = tiny_backbone()
    words_only = explain(backbone, ask("red chair"), picture())
    strokes_only = explain(backbone, ask(sketch=sketch), picture(), sketch)
    raster = Sketch(raster=rasterise(sketch, 64))
    assert (len(words_only.words), words_only.strokes) == (2, ())
    assert (strokes_only.words, len(strokes_only.strokes)) == ((), 2)
    assert explain(backbone, ask(sketch=raster), picture(), raster).strokes == ()
    assert words_only.heat.shape == strokes_only.heat.shape == GRID
    assert explain(backbone, ask("of the"), picture()).words == ()


def test_evidence_is_the_same_in_inference_mode_and_moves_nothing():
    backbone, sketch = tiny_backbone(), Sketch.from_strokes(STROKES)
    before = explain(backbone, ask("red chair", sketch), picture(), sketch)
    with torch.inference_mode():
        within = explain(backbone, ask("red chair", sketch), picture(), sketch)
    assert within.heat.equal(before.heat)
    assert within.words[0].heat.equal(before.words[0].heat)
    assert all(p.grad is None for p in backbone.model.parameters())


def test_the_overall_answer_follows_the_feature_that_searched():
    tower, grey, red = tiny_backbone(), np.full((64, 64, 3), 128, np.uint8), red_patch()
    pixels = tower.preprocess([Image.fromarray(grey), Image.fromarray(red)])
    before, after = tower.encode_image(pixels).features
    change = torch.nn.functional.normalize(after - before, dim=0)
    for sign, extreme in ((1, 1.0), (-1, 0.0)):
        query = replace(ask("chair"), feature=sign * change)
        assert float(explain(tower, query, Image.fromarray(red)).heat[2, 1]) == extreme


def test_a_picture_of_the_drawing_answers_each_stroke_in_its_own_place():
    strokes = [[[0.1, 0.1], [0.2, 0.1]], [[0.9, 0.5], [0.8, 0.6]], [[0.1, 0.9], [0.3, 0.8]]]
    sketch = Sketch.from_strokes(strokes)
    drawn = Image.fromarray(rasterise(sketch, 64)).convert("RGB")
    found = explain(tiny_backbone(), ask(sketch=sketch), drawn, sketch)
    assert [stroke.index for stroke in found.strokes] == [0, 1, 2]
    assert [stroke.patch for stroke in found.strokes] == [stroke.place for stroke in found.strokes]


def cut_of(patch):
    row, column = patch
    return slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)


def test_a_stroke_is_answered_by_its_look_near_its_place():
    strokes = [[[0.1, 0.1], [0.2, 0.1]], [[0.9, 0.5], [0.8, 0.6]], [[0.1, 0.9], [0.3, 0.8]]]
    sketch = Sketch.from_strokes(strokes)
    levels = rasterise(sketch, 64).copy()
    look = levels[cut_of((2, 3))].copy()
    levels[cut_of((2, 3))] = 255
    levels[cut_of((2, 2))] = levels[cut_of((2, 0))] = look  # one step away, and far away
    moved = Image.fromarray(levels).convert("RGB")
    found = explain(tiny_backbone(), ask(sketch=sketch), moved, sketch).strokes[1]
    assert found.place == (2, 3)
    assert found.patch != (2, 0)
    # Nearness alone would be a sum of what the row and what the column says.
    heat = found.heat
    crossed = heat - heat.mean(dim=0) - heat.mean(dim=1, keepdim=True) + heat.mean()
    assert float(crossed.abs().max()) > 0.05


@pytest.mark.parametrize(
    "stroke", [[[0.2, 0.3], [0.4, 0.35]], [[0.4, 0.3], [0.3, 0.8], [0.2, 0.5]]]
)
def test_cells_of_a_stroke_are_those_that_its_drawing_inks(stroke):
    sketch = Sketch.from_strokes([stroke])
    shares = stroke_cells(sketch, (8, 8))[0].numpy()
    ink = rasterise(sketch, 256, 1.0) < 128
    inked = ink.reshape(8, 32, 8, 32).sum(axis=(1, 3)).ravel() / ink.sum()
    assert shares.sum() == pytest.approx(1)
    assert np.abs(shares - inked).max() < 0.05


def test_a_single_dot_lies_in_the_middle():
    sketch = Sketch.from_strokes([[[0.1, 0.9]]])
    assert stroke_cells(sketch, (3, 3)).tolist() == [[0, 0, 0, 0, 1, 0, 0, 0, 0]]
    found = explain(tiny_backbone(), ask(sketch=sketch), picture(), sketch)
    assert len(found.strokes) == 1
    assert found.strokes[0].heat.isfinite().all()


def test_boxes_are_fractions_of_the_whole_picture():
    tall = explain(tiny_backbone(), ask("red"), picture(size=(64, 128)))
    assert tall.view == (0, 0.25, 1, 0.75)
    assert tall.box((0, 0)) == pytest.approx((0, 0.25, 0.25, 0.375))
    assert tall.box((3, 2)) == pytest.approx((0.5, 0.625, 0.75, 0.75))


def test_what_cannot_be_explained_is_refused():
    with pytest.raises(ValueError, match=r"must be composed with the picture's backbone"):
        explain(tiny_backbone(seed=1), ask("red"), picture())
    with pytest.raises(ValueError, match=r"must be RGB, got L\. Convert it first"):
        explain(tiny_backbone(), ask("red"), picture().convert("L"))
    raster = Sketch(raster=rasterise(Sketch.from_strokes(STROKES), 64))
    with pytest.raises(ValueError, match=r"need a sketch of strokes, got a raster"):
        stroke_cells(raster, GRID)


# The measure.


def word(phrase, patch):
    return WordEvidence(
        word=phrase.split()[-1], index=0, phrase=phrase, heat=torch.zeros(GRID), patch=patch
    )


def stroke(index, place, patch):
    return StrokeEvidence(index=index, place=place, heat=torch.zeros(GRID), patch=patch)


def evidence(words=(), strokes=()):
    return Evidence(
        heat=torch.zeros(GRID),
        words=tuple(words),
        strokes=tuple(strokes),
        view=(0.0, 0.0, 1.0, 1.0),
    )


def shown():
    """A seat of six patches, legs of two; the lid is hidden, and part 4 is never named."""
    parts = np.zeros((8, 8), np.uint8)
    parts[0:4, 0:6] = 1
    parts[4:8, 0:2] = 2
    parts[3, 5] = 3
    parts[7, 7] = 4
    return measure.Shown(
        design="a",
        seen=True,
        text="with a red seat, oak legs and a blue lid",
        phrases=("red seat", "oak legs", "blue lid"),
        parts=parts,
        picture=picture(),
        sketch=Sketch.from_strokes(STROKES),
    )


def test_the_part_with_most_pixels_wins_a_patch():
    winners = measure.winning_parts(shown().parts, GRID)
    assert winners.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [2, 0, 0, 0], [2, 0, 0, 4]]
    with pytest.raises(ValueError, match=r"must divide into 3 x 3, got \(8, 8\)"):
        measure.winning_parts(shown().parts, (3, 3))


def test_words_are_right_on_their_part_and_chance_is_its_share():
    found = measure.word_answers(
        shown(), evidence([word("red seat", (1, 2)), word("oak legs", (1, 2)), word("x", (0, 0))])
    )
    assert [answer.is_right for answer in found] == [True, False]  # the lid wins no patch
    assert [answer.chance for answer in found] == pytest.approx([6 / 9, 2 / 9])
    assert [answer.chance_anywhere for answer in found] == pytest.approx([6 / 16, 2 / 16])
    with pytest.raises(ValueError, match=r"must have the phrase 'oak legs', got \['red seat'\]"):
        measure.word_answers(shown(), evidence([word("red seat", (1, 2))]))


def test_strokes_are_right_within_one_patch_of_their_own_place():
    # The object's box is the whole map: the first stroke lies along its top, the second right.
    assert measure.own_places(shown(), GRID)[0][0] == 0
    assert measure.own_places(shown(), GRID)[1][1] == 3
    row, column = 0, measure.own_places(shown(), GRID)[0][1]
    far = (row + 2, column)
    found = measure.stroke_answers(
        shown(), evidence(strokes=[stroke(0, far, (row + 1, column)), stroke(1, (0, 3), (0, 0))])
    )
    assert [answer.is_right for answer in found] == [True, False]
    assert found[0].chance_same_place == 0
    assert found[0].chance == pytest.approx(6 / 9 if column == 1 else 4 / 9)


def test_a_shrunk_picture_keeps_its_parts_under_its_pixels():
    moved = measure.shrunk(shown(), 3)
    assert moved.parts.shape == (8, 8)
    rows, columns = np.nonzero(moved.parts)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 7, 2, 7)
    assert len(set(np.asarray(moved.picture)[:19, :19].reshape(-1, 3).tolist()[0])) <= 3
    assert (np.asarray(moved.picture)[:19] == np.asarray(moved.picture)[0, 0]).all()


def test_rows_of_a_gallery_are_means_over_designs(tmp_path):
    folder = write_gallery(tmp_path)
    rows = measure.evidence_rows(SlerpComposer(tiny_backbone()), folder)
    assert [(row["query"], row["split"], row["num"]) for row in rows] == [
        ("word", "seen", 3), ("word", "unseen", 1), ("stroke", "seen", 2), ("stroke", "unseen", 2),
    ]  # fmt: skip
    assert rows[0]["chance"] == pytest.approx((2 / 3 + 1 / 3 + 2 / 3) / 3)
    assert rows[0]["ratio"] == rows[0]["rate"] / rows[0]["chance"]
    assert rows[0]["low"] <= rows[0]["rate"] <= rows[0]["high"]
    assert "chance_same_place" in rows[2]
    assert "chance_same_place" not in rows[0]
    with pytest.raises(GalleryError, match=r"must hold items\.parquet, parts\.parquet and"):
        measure.evidence_rows(SlerpComposer(tiny_backbone()), tmp_path / "none")


def write_gallery(folder):
    """Three pictures: two of design a, which wear one part and two, and one of an unseen kind."""
    (folder / "images").mkdir()
    worn = [("a", ["chair"], "test"), ("a", ["chair", "oak"], "test"), ("b", ["chair"], "unseen")]
    items, maps = [], []
    for number, (design, parts, split) in enumerate(worn):
        picture(number).save(folder / "images" / f"{number}.png")
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
