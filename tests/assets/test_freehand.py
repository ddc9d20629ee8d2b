"""The freehand model: what every drawing must keep, and how skill shows."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import KDTree

from assets.catalogue import freehand
from assets.catalogue.freehand import draw, draw_in_place, rasterise
from assets.catalogue.sketch import Curve, CurveKind, contours
from assets.catalogue.strokes import corners, simplify
from tests.assets.synthetic import chair_meshes, orthographic


@pytest.fixture(scope="module")
def chair():
    return contours(orthographic(chair_meshes(), size_px=192))


@pytest.fixture(scope="module")
def drawings(chair):
    """Ten drawings of one chair at each skill."""
    return [_drawings(chair, skill) for skill in (0, 1, 2)]


def _drawings(curves, skill, num=10):
    return [draw(curves, skill=skill, rng=np.random.default_rng([skill, k])) for k in range(num)]


def _truth(curves):
    points = np.vstack([c.points for c in curves if c.kind is not CurveKind.AXIS])
    low, high = points.min(0), points.max(0)
    return (points - 0.5 * (low + high)) * 204.0 / (high - low).max() + 127.5


@pytest.mark.parametrize("skill", [0, 1, 2])
def test_strokes_are_integers_in_the_box_and_fill_it(drawings, skill):
    for strokes in drawings[skill]:
        points = np.vstack(strokes)
        assert np.issubdtype(points.dtype, np.integer)
        assert points.min() >= 0
        assert points.max() <= 255
        size = np.ptp(points, axis=0)
        assert size.max() == pytest.approx(204, abs=2)
        assert all(len(stroke) >= 2 for stroke in strokes)
        assert all((np.diff(stroke, axis=0) != 0).any(1).all() for stroke in strokes)
        assert np.allclose(0.5 * (points.min(0) + points.max(0)), 127.5, atol=1.5)


def test_a_drawing_is_its_generator(chair):
    drawing, repeated, other = (
        draw(chair, skill=1, rng=np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    assert all(np.array_equal(a, b) for a, b in zip(drawing, repeated, strict=True))
    assert len(drawing) != len(other) or any(
        a.shape != b.shape or (a != b).any() for a, b in zip(drawing, other, strict=True)
    )


def test_practised_hands_draw_more_and_nearer_to_what_is_seen(chair, drawings):
    truth = KDTree(_truth(chair))
    errors, counts = [], []
    for drawn in drawings:
        errors.append(np.mean([truth.query(np.vstack(d))[0].mean() for d in drawn]))
        counts.append(np.mean([len(d) for d in drawn]))
    assert errors[0] > 1.25 * errors[1]
    assert errors[1] > 1.25 * errors[2]
    assert errors[2] < 4.0
    assert counts[0] < counts[2]


def test_drawings_stay_recognisable(chair, drawings):
    truth = _truth(chair)
    for skill, reach in ((0, 26.0), (1, 18.0), (2, 12.0)):
        drawn = [KDTree(np.vstack(d)) for d in drawings[skill]]
        covered = [(tree.query(truth)[0] < reach).mean() for tree in drawn]
        assert np.mean(covered) > 0.8


def test_strokes_are_few_and_long_as_people_draw(drawings):
    every = [strokes for drawn in drawings for strokes in drawn]
    assert 4 <= np.median([len(strokes) for strokes in every]) <= 16
    lengths = [np.hypot(*np.diff(stroke, axis=0).T).sum() for s in every for stroke in s]
    assert np.median(lengths) > 45.0
    assert np.mean(np.array(lengths) < 8.0) < 0.1


def test_parallel_lines_and_narrow_outlines_are_drawn_once():
    y = np.linspace(0.1, 0.9, 60)
    slats = [
        Curve(
            points=np.stack([np.full(60, x), y], axis=1),
            kind=CurveKind.SILHOUETTE,
            strength=1.0,
            part=1,
            region=1,
        )
        for x in (0.3, 0.305, 0.7)
    ]
    lengths = [
        sum(np.hypot(*np.diff(s, axis=0).T).sum() for s in strokes)
        for strokes in _drawings(slats, 0)
    ]
    assert np.median(lengths) < 2.4 * 204


def test_corners_and_simplify_find_the_square():
    side = np.linspace(0.0, 40.0, 21)
    square = np.vstack(
        [
            np.stack([side, 0 * side], 1),
            np.stack([0 * side + 40.0, side], 1)[1:],
            np.stack([40.0 - side, 0 * side + 40.0], 1)[1:],
        ]
    )
    assert simplify(square, 1.0) == [0, 20, 40, 60]
    assert corners(square, 1.0, 45.0) == [20, 40]


def test_rasterise_is_ink_on_white_at_every_size():
    stroke = np.array([[64, 128], [192, 128]])
    for size_px in (64, 256, 512):
        image = rasterise([stroke], size_px, 3.0)
        assert image.shape == (size_px, size_px)
        assert image.dtype == np.uint8
        assert image[0, 0] == 255
        assert image[size_px // 2, size_px // 2] < 60
        ink = (255.0 - image).sum() / 255.0
        assert ink == pytest.approx(3.0 * 0.5 * size_px, rel=0.2)


@pytest.mark.parametrize("skill", [-1, 3])
def test_unknown_skill_is_refused(chair, skill):
    with pytest.raises(ValueError, match="0, 1 or 2"):
        draw(chair, skill=skill, rng=np.random.default_rng(0))


def test_no_curves_are_refused():
    with pytest.raises(ValueError, match="at least one curve"):
        draw((), skill=1, rng=np.random.default_rng(0))


@pytest.mark.parametrize("skill", [0, 1, 2])
def test_a_drawing_in_place_lies_where_the_picture_shows_the_lines(chair, skill):
    points = np.vstack([c.points for c in chair]) * 255
    moved = [replace(c, points=0.6 * c.points + (0.05, 0.3)) for c in chair]
    for curves, lines in ((chair, points), (moved, 0.6 * points + (0.05 * 255, 0.3 * 255))):
        strokes = draw_in_place(curves, skill=skill, rng=np.random.default_rng(3))
        away, _ = KDTree(lines).query(np.vstack(strokes))
        assert np.median(away) < 2.5


def test_only_proportions_are_kept_in_place_the_hand_still_slips(chair):
    rough, fine = (
        draw_in_place(chair, skill=skill, rng=np.random.default_rng(3)) for skill in (0, 2)
    )
    assert len(rough) < len(fine)
    lines = KDTree(np.vstack([c.points for c in chair]) * 255)
    assert lines.query(np.vstack(rough))[0].mean() > lines.query(np.vstack(fine))[0].mean()
    with pytest.raises(ValueError, match="`skill` must be 0, 1 or 2"):
        draw_in_place(chair, skill=3, rng=np.random.default_rng(3))


def test_a_stroke_of_one_point_is_gone_over_again_too():
    hand, rng = freehand.HANDS[0], np.random.default_rng(0)
    again = freehand._again(np.array([[5.0, 5.0]]), hand, rng)
    assert np.isfinite(again).all()
    assert np.abs(again - 5.0).max() < 20.0
