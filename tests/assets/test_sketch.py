"""The lines found in buffers, against bodies whose lines are known."""

import numpy as np
import pytest

from assets.catalogue.render import Buffers
from assets.catalogue.sketch import CurveKind, contours
from assets.catalogue.tracing import Cracks, smooth, trace
from tests.assets.synthetic import box, chair_meshes, orthographic


def _length(curves, kind):
    return sum(curve.length for curve in curves if curve.kind is kind)


def test_box_from_the_front_corner_shows_outline_and_three_edges():
    buffers = orthographic([box((1.0, 1.0, 1.0), (0.0, 0.5, 0.0))], azimuth=40.0, elevation=25.0)
    curves = contours(buffers)
    creases = [curve for curve in curves if curve.kind is CurveKind.CREASE]
    assert len(creases) == 3
    meeting = np.vstack([curve.points[[0, -1]] for curve in creases])
    gaps = np.hypot(*(meeting[:, None] - meeting[None]).transpose(2, 0, 1))
    assert ((gaps < 1e-9).sum(1) == 3).sum() == 3, "the three edges share their corner exactly"
    outline = _length(curves, CurveKind.SILHOUETTE)
    pixels = np.argwhere(buffers.part_ids) / buffers.part_ids.shape[0]
    assert 2.0 * np.ptp(pixels, axis=0).max() < outline < 2.0 * np.ptp(pixels, axis=0).sum()


def test_edges_of_a_box_run_straight_where_they_should():
    buffers = orthographic([box((1.0, 1.0, 1.0), (0.0, 0.5, 0.0))], azimuth=40.0, elevation=25.0)
    for curve in contours(buffers):
        if curve.kind is CurveKind.CREASE:
            run = curve.points[-1] - curve.points[0]
            offset = curve.points - curve.points[0]
            away = np.abs(offset[:, 0] * run[1] - offset[:, 1] * run[0]) / np.hypot(*run)
            assert away.max() < 1.2 / 128


def test_depth_step_within_one_part_is_a_silhouette_of_the_nearer_piece():
    near = box((0.3, 1.0, 0.05), (-0.2, 0.5, 0.6))
    far = box((0.8, 0.6, 0.05), (0.1, 0.3, -0.6))
    both = near + far
    curves = contours(orthographic([both], azimuth=0.0, elevation=0.0))
    kinds = {curve.kind for curve in curves}
    assert CurveKind.PART not in kinds
    assert len({curve.region for curve in curves if curve.kind is CurveKind.SILHOUETTE}) >= 2
    crossing = [c for c in curves if c.kind is CurveKind.SILHOUETTE and c.strength < 1.0]
    assert crossing, "the nearer board's edge before the farther one is missing"


def test_touching_parts_share_a_border_without_depth_step():
    curves = contours(
        orthographic(
            [box((1.0, 0.5, 0.5), (0.0, 0.25, 0.0)), box((1.0, 0.5, 0.5), (0.0, 0.75, 0.0))],
            azimuth=0.0,
            elevation=0.0,
        )
    )
    borders = [curve for curve in curves if curve.kind is CurveKind.PART]
    assert sum(curve.length for curve in borders) == pytest.approx(0.76, abs=0.03)


def test_smooth_ball_has_one_closed_outline_and_no_crease():
    ys, xs = np.mgrid[-1:1:128j, -1:1:128j] / 0.7
    squared = xs**2 + ys**2
    z = np.sqrt(np.clip(1.0 - squared, 0.0, 1.0))
    mask = squared < 1.0
    buffers = Buffers(
        part_ids=mask.astype(np.uint8),
        depth=np.where(mask, 5.0 - z, np.inf).astype(np.float32),
        normals=(np.stack([xs, -ys, z], axis=-1) * mask[..., None]).astype(np.float32),
    )
    curves = contours(buffers)
    assert [curve.kind for curve in curves] == [CurveKind.SILHOUETTE]
    assert curves[0].is_closed
    assert curves[0].length == pytest.approx(np.pi * 0.7 * 127 / 128, rel=0.02)
    radius = np.hypot(*(curves[0].points - 0.5).T)
    assert radius.std() < 0.4 / 128, "sub-pixel points lie on the circle"


def test_legs_of_one_part_are_regions_with_axes():
    curves = contours(orthographic(chair_meshes(), size_px=192))
    axes = [curve for curve in curves if curve.kind is CurveKind.AXIS]
    assert len(axes) == 4
    assert {curve.part for curve in axes} == {3}
    assert len({curve.region for curve in axes}) == 4


def test_object_at_the_image_border_and_deterministic():
    buffers = orthographic(chair_meshes())
    cut = Buffers(
        part_ids=buffers.part_ids[20:116, 20:116],
        depth=buffers.depth[20:116, 20:116],
        normals=buffers.normals[20:116, 20:116],
    )
    for curve, repeated in zip(contours(cut), contours(cut), strict=True):
        assert np.array_equal(curve.points, repeated.points)
        assert curve.points.min() >= 0.0
        assert curve.points.max() <= 1.0


def test_nothing_visible_is_refused():
    empty = Buffers(
        part_ids=np.zeros((64, 64), np.uint8),
        depth=np.full((64, 64), np.inf, np.float32),
        normals=np.zeros((64, 64, 3), np.float32),
    )
    with pytest.raises(ValueError, match="at least one part"):
        contours(empty)


def test_trace_walks_every_crack_once_and_stops_at_junctions():
    labels = np.zeros((6, 7), int)
    labels[1:5, 1:6] = 1
    labels[1:5, 3:6] = 2  # two rectangles side by side: a theta
    cracks = Cracks(across=labels[:, 1:] != labels[:, :-1], below=labels[1:] != labels[:-1])
    chains = trace(cracks)
    assert sorted(len(chain.first) for chain in chains) == [4, 8, 10]
    assert sum(len(c.first) for c in chains) == cracks.across.sum() + cracks.below.sum()
    assert {tuple(c.corners[e]) for c in chains for e in (0, -1)} == {(1, 3), (5, 3)}
    for chain in chains:
        values = labels[tuple(chain.first.T)], labels[tuple(chain.second.T)]
        assert (values[0] != values[1]).all()


def test_smooth_keeps_ends_and_flattens_the_staircase():
    stairs = np.array([[(k + 1) // 2, k // 2] for k in range(41)])
    points = smooth(stairs, 1.6)
    assert np.array_equal(points[[0, -1]], stairs[[0, -1]])
    away = np.abs(points[:, 0] - points[:, 1]) / np.sqrt(2)
    assert np.ptp(away[5:-5]) < 0.05
