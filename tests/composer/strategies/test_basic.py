"""BASIC on a tiny CLIP, against its formulas."""

import numpy as np
import pytest
import torch

from composer.kit_parts import ComposerFiles
from composer.prompt import text_parts
from composer.query import Query
from composer.sketch import Sketch
from composer.strategies import load_composer
from composer.strategies.basic import (
    BasicComposer,
    BasicSettings,
    contexts,
    contrastive_components,
)
from composer.strategies.protocol import ComposerError
from composer.strategies.reference import reference_pixels
from composer.strategies.slerp import modality_shift
from composer.strategies.untrained import NUM_FIGURES, drawing_mean, figure
from composer.word_lists import STYLES, SUBJECTS
from tests.composer.tiny import JOINT_DIM, tiny_backbone
from tests.pictures import noise

SKETCH = Query(sketch=Sketch.from_strokes([[[0, 0], [1, 0], [1, 1]]]))
PHOTO = Query(image=noise((64, 64), 90).convert("RGB"))


@pytest.fixture(scope="module")
def composer():
    return BasicComposer(tiny_backbone(), BasicSettings(num_contexts=2, num_components=5))


def seen(query):
    backbone = tiny_backbone()
    return backbone.encode_image(reference_pixels(backbone, query)).features[0]


def test_subjects_vary_along_the_components_and_styles_do_not():
    generator = np.random.default_rng(0)
    scales = np.array([5, 4, 0.1, 0.1])
    subjects = torch.from_numpy((generator.standard_normal((400, 4)) * scales).astype(np.float32))
    styles = torch.from_numpy((generator.standard_normal((400, 4)) * scales).astype(np.float32))
    styles[:, 1] *= 3
    plain = contrastive_components(subjects, styles, alpha=0.0, count=1)
    assert plain[0].abs().argmax() == 0
    rows = contrastive_components(subjects + 7, styles - 3, alpha=0.5, count=2).double()
    assert rows[0].abs().argmax() == 0
    assert rows[1].abs().argmax() in (2, 3)
    torch.testing.assert_close(rows @ rows.T, torch.eye(2).double(), atol=1e-6, rtol=0)
    contrast = torch.cov(subjects.T, correction=0) - 0.5 * torch.cov(styles.T, correction=0)
    values = (rows @ contrast.double() @ rows.T).diagonal()
    expected = torch.linalg.eigvalsh(contrast.double()).flip(0)[:2]
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)


def test_the_words_are_read_among_the_contexts_and_centred_by_styles(composer):
    def in_parts(text, read):
        """Long texts come in parts, each weighed by its tokens."""
        parts = text_parts(tiny_backbone(), text, 6)
        sizes = torch.tensor([float(part.num_tokens) for part in parts])
        means = torch.stack([read(part.text) for part in parts])
        return (sizes[:, None] * means).sum(dim=0) / sizes.sum()

    def around(text):
        prompts = [f"{subject} {text}" for subject in contexts(2)]
        prompts += [f"{text} {subject}" for subject in contexts(2)]
        return torch.stack([bare(prompt) for prompt in prompts]).mean(dim=0)

    def bare(text):
        return tiny_backbone().encode_text([text])[0]

    def expected(read):
        styles = torch.stack([in_parts(style, read) for style in STYLES[::4]]).mean(dim=0)
        return in_parts("red oak", read) - styles

    query = composer.compose(composer.encode(SKETCH), "red oak")
    assert query.fusion is not None
    torch.testing.assert_close(query.fusion.words, expected(around), atol=1e-5, rtol=0)
    plain = BasicComposer(tiny_backbone(), BasicSettings(num_contexts=0, num_components=5))
    words = plain.compose(plain.encode(SKETCH), "red oak").fusion.words
    torch.testing.assert_close(words, expected(bare), atol=1e-5, rtol=0)


def test_drawings_are_centred_by_two_means_of_drawings_and_photos_by_the_gallery(composer):
    drawn, taken = composer.encode(SKETCH).fusion, composer.encode(PHOTO).fusion
    assert (drawn.gallery_share, taken.gallery_share) == (0.5, 1.0)
    figures, gallery = drawing_mean(tiny_backbone()), torch.ones(JOINT_DIM)
    drawings = (figures + gallery - modality_shift(tiny_backbone())) / 2
    torch.testing.assert_close(drawn.reference - 0.5 * gallery, seen(SKETCH) - drawings)
    torch.testing.assert_close(taken.reference, seen(PHOTO))
    assert drawn.projection.shape == (5, JOINT_DIM)


def test_figures_are_always_the_same_and_differ_from_each_other():
    first, again = (np.random.default_rng(3) for _ in range(2))
    strokes = [figure(first).strokes for _ in range(NUM_FIGURES)]
    for mine, theirs in zip(strokes, (figure(again).strokes for _ in strokes), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert len({len(s) for s in strokes}) > 2
    assert torch.equal(drawing_mean(tiny_backbone()), drawing_mean(tiny_backbone()))


def test_a_single_side_has_a_fusion_of_that_side(composer):
    drawn = composer.compose(composer.encode(SKETCH), " ").fusion
    assert (drawn.words, drawn.reference is None) == (None, False)
    said = composer.compose(composer.encode(Query(text="red")), "red").fusion
    assert (said.reference, said.words is None) == (None, False)


def test_the_settings_reach_the_query():
    settings = {"penalty": 0.2, "floor": 1.5, "num_neighbours": 7, "num_components": 0}
    composer = load_composer(
        "basic", tiny_backbone(), ComposerFiles(settings={**settings, "num_contexts": 1})
    )
    fusion = composer.compose(composer.encode(PHOTO), "red").fusion
    assert fusion.projection is None
    for name in ("penalty", "floor", "num_neighbours"):
        assert getattr(fusion, name) == settings[name]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_components": JOINT_DIM + 1}, "`num_components` must lie between 0 and the joint"),
        ({"num_contexts": -1}, "`num_contexts` must lie between 0 and"),
        ({"alpha": -0.1}, "`alpha` must be at least 0"),
        ({"penalty": 0.3}, "`penalty` must be at least 0 and below 0.25"),
        ({"floor": 0.0}, "`floor` must be above 0"),
        ({"num_neighbours": 1000}, "`num_neighbours` must lie"),
        ({"beta": 1}, "settings of basic in the kit are wrong"),
    ],
)
def test_wrong_settings_are_reported(settings, message):
    with pytest.raises(ComposerError, match=message):
        load_composer("basic", tiny_backbone(), ComposerFiles(settings=settings))


def test_the_word_lists_repeat_nothing():
    for words in (SUBJECTS, STYLES):
        assert len(set(words)) == len(words)
        assert all(word == word.strip() and word for word in words)
    assert len(SUBJECTS) > 251  # as many directions as the paper keeps
    assert len(set(contexts(8))) == 8
