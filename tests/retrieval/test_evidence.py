"""Evidence on a tiny backbone with known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone, end_positions
from composer.query import Query
from composer.sketch import Sketch, rasterise
from composer.strategies.slerp import SlerpComposer
from retrieval.evidence import explain
from retrieval.strokes import stroke_cells
from tests.composer.tiny import tiny_backbone, write_clip
from tests.retrieval.pictures import noise_picture

GRID = (4, 4)
STROKES = [[[0.1, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.9, 0.9]]]


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


def test_a_word_is_matched_by_the_patch_that_says_it(tmp_path):
    tower, grey, red = tiny_backbone(), np.full((64, 64, 3), 128, np.uint8), red_patch()
    pixels = tower.preprocess([Image.fromarray(grey), Image.fromarray(red)])
    without, change = tower.encode_image(pixels).features.diff(dim=0, prepend=torch.zeros(1, 24))
    meanings = {"a photo of red": change, "a photo of chair": -change, "a photo of": without}
    backbone = backbone_that_says(tmp_path, meanings)
    evidence = explain(backbone, ask("red and chair", backbone=backbone), Image.fromarray(red))
    assert [word.word for word in evidence.words] == ["red", "chair"]
    assert evidence.words[0].patch == (2, 1)
    assert float(evidence.words[1].heat[2, 1]) == 0
    assert (float(evidence.words[0].heat.min()), float(evidence.words[0].heat.max())) == (0, 1)
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
    evidence = explain(backbone, ask("red and chair", backbone=backbone), both)
    assert evidence.words[0].patch == (2, 1)
    assert explain(backbone, ask("red", backbone=backbone), both).words[0].patch != (2, 1)


def test_a_patch_answers_what_it_says_alone():
    backbone = tiny_backbone()
    tower, pixels = backbone.model.visual, backbone.preprocess([noise_picture()])
    first, second = tower.transformer.resblocks
    states = first(tower._embeds(pixels))
    answered = 0
    for number in range(16):
        pooled, _ = tower._pool(second(states[:, [0, 1 + number]]))
        feature = torch.nn.functional.normalize(pooled[0] @ tower.proj, dim=0)
        evidence = explain(backbone, replace(ask("chair"), feature=feature), noise_picture())
        answered += int(evidence.heat.argmax()) == number
    assert answered >= 8  # the share alone: chance, one


def test_phrases_end_at_function_words_and_punctuation_and_share_a_map():
    evidence = explain(tiny_backbone(), ask("Red chair, oak or (red) oak-chair."), noise_picture())
    assert [(w.index, w.word, w.phrase) for w in evidence.words] == [
        (0, "red", "red chair"),
        (1, "chair", "red chair"),
        (2, "oak", "oak"),
        (4, "red", "red"),
        (5, "oak-chair", "oak-chair"),
    ]
    assert evidence.words[0].heat.equal(evidence.words[1].heat)
    assert not evidence.words[1].heat.equal(evidence.words[2].heat)


def test_words_behind_the_context_have_no_evidence():
    evidence = explain(tiny_backbone(), ask("red " * 40), noise_picture())
    assert 0 < len(evidence.words) < tiny_backbone().context_length


def test_a_side_that_is_missing_has_no_evidence():
    sketch = Sketch.from_strokes(STROKES)
    backbone = tiny_backbone()
    words_only = explain(backbone, ask("red chair"), noise_picture())
    strokes_only = explain(backbone, ask(sketch=sketch), noise_picture(), sketch)
    raster = Sketch(raster=rasterise(sketch, 64))
    assert (len(words_only.words), words_only.strokes) == (2, ())
    assert (strokes_only.words, len(strokes_only.strokes)) == ((), 2)
    assert explain(backbone, ask(sketch=raster), noise_picture(), raster).strokes == ()
    assert words_only.heat.shape == strokes_only.heat.shape == GRID
    assert explain(backbone, ask("of the"), noise_picture()).words == ()


def test_evidence_is_the_same_in_inference_mode_and_moves_nothing():
    backbone, sketch = tiny_backbone(), Sketch.from_strokes(STROKES)
    before = explain(backbone, ask("red chair", sketch), noise_picture(), sketch)
    with torch.inference_mode():
        within = explain(backbone, ask("red chair", sketch), noise_picture(), sketch)
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


def test_a_picture_of_the_drawing_matches_each_stroke_at_its_position():
    strokes = [[[0.1, 0.1], [0.2, 0.1]], [[0.9, 0.5], [0.8, 0.6]], [[0.1, 0.9], [0.3, 0.8]]]
    sketch = Sketch.from_strokes(strokes)
    drawn = Image.fromarray(rasterise(sketch, 64)).convert("RGB")
    evidence = explain(tiny_backbone(), ask(sketch=sketch), drawn, sketch)
    assert [stroke.index for stroke in evidence.strokes] == [0, 1, 2]
    assert [stroke.patch for stroke in evidence.strokes] == [
        stroke.cell for stroke in evidence.strokes
    ]


def cut_of(patch):
    row, column = patch
    return slice(16 * row, 16 * row + 16), slice(16 * column, 16 * column + 16)


def test_a_stroke_is_matched_by_its_look_near_its_position():
    strokes = [[[0.1, 0.1], [0.2, 0.1]], [[0.9, 0.5], [0.8, 0.6]], [[0.1, 0.9], [0.3, 0.8]]]
    sketch = Sketch.from_strokes(strokes)
    levels = rasterise(sketch, 64).copy()
    look = levels[cut_of((2, 3))].copy()
    levels[cut_of((2, 3))] = 255
    levels[cut_of((2, 2))] = levels[cut_of((2, 0))] = look  # one step away, and far away
    moved = Image.fromarray(levels).convert("RGB")
    evidence = explain(tiny_backbone(), ask(sketch=sketch), moved, sketch).strokes[1]
    assert evidence.cell == (2, 3)
    assert evidence.patch != (2, 0)
    # Nearness alone would be a sum of what the row and what the column says.
    heat = evidence.heat
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
    evidence = explain(tiny_backbone(), ask(sketch=sketch), noise_picture(), sketch)
    assert len(evidence.strokes) == 1
    assert evidence.strokes[0].heat.isfinite().all()


def test_boxes_are_fractions_of_the_whole_picture():
    tall = explain(tiny_backbone(), ask("red"), noise_picture(size=(64, 128)))
    assert tall.view == (0, 0.25, 1, 0.75)
    assert tall.box((0, 0)) == pytest.approx((0, 0.25, 0.25, 0.375))
    assert tall.box((3, 2)) == pytest.approx((0.5, 0.625, 0.75, 0.75))


def test_what_cannot_be_explained_is_refused():
    with pytest.raises(ValueError, match=r"must be composed with the picture's backbone"):
        explain(tiny_backbone(seed=1), ask("red"), noise_picture())
    with pytest.raises(ValueError, match=r"must be RGB, got L\. Convert it first"):
        explain(tiny_backbone(), ask("red"), noise_picture().convert("L"))
    raster = Sketch(raster=rasterise(Sketch.from_strokes(STROKES), 64))
    with pytest.raises(ValueError, match=r"need a sketch of strokes, got a raster"):
        stroke_cells(raster, GRID)
