"""The primitives are closed, turned outward, of the size asked for, smooth but for creases."""

import numpy as np
import pytest
import trimesh

from assets.catalogue import curves
from assets.catalogue import mesh as m

BENT_PATH = [(0, 0, 0), (0, 1, 0), (1, 1, 0)]
L_SHAPE = [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)]

SOLIDS = {
    "rounded_box": lambda: m.rounded_box((1, 0.5, 0.3), 0.05, (0, 1, 0)),
    "divided_box": lambda: m.rounded_box((1, 0.5, 0.3), 0.05, divisions=4),
    "cylinder": lambda: m.cylinder(0.3, 1, bevel=0.05),
    "tapered": lambda: m.tapered(0.1, 0.2, (0, 0, 0), (0.3, 1, 0.2)),
    "revolve": lambda: m.revolve([(0.2, 0), (0.3, 0.5), (0.1, 1)], smooth=True),
    "ring": lambda: m.revolve([(0.2, 0), (0.3, 0), (0.3, 0.1), (0.2, 0.1), (0.2, 0)]),
    "sweep": lambda: m.sweep(BENT_PATH, 0.1),
    "sweep_outline": lambda: m.sweep(BENT_PATH, curves.rounded_rectangle((0.2, 0.1), 0.02)),
    "cushion": lambda: m.cushion((1, 0.2, 1)),
    "extrude": lambda: m.extrude(L_SHAPE, 0.2, 0.02),
    "shell": lambda: m.shell([(0, 0), (0.3, 0), (0.35, 0.1), (0.3, 0.5)], 0.03),
    "smooth_shell": lambda: m.shell([(0, 0), (0.2, 0), (0.35, 0.1), (0.3, 0.5)], 0.03, smooth=True),
    "torus": lambda: m.torus_arc(0.5, 0.1),
    "torus_arc": lambda: m.torus_arc(0.5, 0.1, 0, 180),
    "superellipsoid": lambda: m.superellipsoid((1, 1, 1)),
    "mirrored": lambda: m.mirrored(m.tapered(0.1, 0.2, (0, 0, 0), (0, 1, 0.2))),
    "twist": lambda: m.twist(m.rounded_box((1, 1, 1), 0.1, divisions=6), 60),
    "bend": lambda: m.bend(m.rounded_box((1, 0.5, 0.1), 0.03, divisions=8), 60),
    "taper": lambda: m.taper(m.rounded_box((1, 1, 1)), (0.5, 0.5)),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_are_closed_and_turned_outward(name: str) -> None:
    mesh = SOLIDS[name]()
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert np.isfinite(m.corner_normals(mesh)).all()


def test_sizes_are_what_was_asked_for() -> None:
    box = m.rounded_box((1, 0.5, 0.3), 0.05, (0, 1, 0))
    assert np.allclose(box.bounds, [[-0.5, 0.75, -0.15], [0.5, 1.25, 0.15]])
    pillow = m.cushion((0.6, 0.2, 0.4), (0, 0.5, 0))
    assert np.allclose(pillow.bounds, [[-0.3, 0.4, -0.2], [0.3, 0.6, 0.2]])
    rod = m.cylinder(0.1, 2, (1, 0, 0), axis="x")
    assert np.allclose(rod.bounds, [[0, -0.1, -0.1], [2, 0.1, 0.1]], atol=1e-3)


def test_volumes_agree_with_geometry() -> None:
    assert m.cylinder(0.5, 2).volume == pytest.approx(np.pi * 0.25 * 2, rel=0.01)
    assert m.extrude(L_SHAPE, 0.5).volume == pytest.approx(1.5)
    assert m.torus_arc(0.5, 0.1).volume == pytest.approx(2 * np.pi**2 * 0.5 * 0.01, rel=0.03)


def test_a_smooth_profile_keeps_to_the_ground() -> None:
    mesh = m.revolve([(0.1, 0), (0.4, 0.01), (0.3, 0.5), (0.1, 1)], smooth=True)
    assert mesh.bounds[0, 1] >= 0


def test_a_shell_is_hollow() -> None:
    cup = m.shell([(0, 0), (0.3, 0), (0.3, 0.6)], 0.03)
    solid = m.revolve([(0, 0), (0.3, 0), (0.3, 0.6)])
    assert 0.1 < cup.volume / solid.volume < 0.4
    on_axis = np.abs(cup.vertices[:, [0, 2]]).max(1) < 1e-6
    assert cup.vertices[on_axis, 1].max() == pytest.approx(0.03, abs=0.01)


def test_normals_are_smooth_on_a_ball_and_sharp_on_a_box() -> None:
    ball = m.superellipsoid((2, 2, 2), 2.0)
    smooth = m.corner_normals(ball)
    assert np.abs(smooth - ball.vertices[ball.faces]).max() < 0.05
    crate = trimesh.creation.box((1, 1, 1))
    assert np.allclose(m.corner_normals(crate), crate.face_normals[:, None])


def test_bending_leans_both_ends_towards_the_axis() -> None:
    bent = m.bend(m.rounded_box((1, 0.1, 0.05), 0.01, divisions=10), 90)
    middle = np.abs(bent.vertices[:, 0]) < 0.05
    assert bent.vertices[~middle, 2].max() > bent.vertices[middle, 2].max() + 0.1


def test_mirroring_and_merging_keep_faces_outward() -> None:
    leg = m.tapered(0.02, 0.03, (0.4, 0, 0.4), (0.35, 0.4, 0.35))
    pair = m.merge([leg, m.mirrored(leg)])
    assert len(pair.faces) == 2 * len(leg.faces)
    assert pair.volume == pytest.approx(2 * leg.volume)
    assert pair.bounds[0, 0] == pytest.approx(-pair.bounds[1, 0])


def test_triangulation_covers_a_hollow_outline() -> None:
    outline = np.array(L_SHAPE, float)
    corners = outline[curves.triangulate(outline)]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(3.0)
