"""Seats and tables: sound joints, real variety, finishes that fit every design."""

from collections.abc import Iterable

import numpy as np
import pytest
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from assets.catalogue.kinds import armchair, bench, chair, sofa, stool, table
from assets.catalogue.model import Kind, Part, Shape
from assets.catalogue.words import finish_phrase

KINDS = tuple(module.KIND for module in (chair, armchair, sofa, stool, bench, table))
NUM_SAMPLES = 10
TOUCHING = 0.012  # metres between two surfaces that count as joined
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def designs() -> dict[str, list[tuple[Shape, tuple[Part, ...]]]]:
    return {kind.name: [_design(kind, seed) for seed in range(NUM_SAMPLES)] for kind in KINDS}


def _design(kind: Kind, seed: int) -> tuple[Shape, tuple[Part, ...]]:
    shape = kind.sample(np.random.default_rng(seed))
    return shape, kind.build(shape)


def _pieces(parts: Iterable[Part]) -> list[trimesh.Trimesh]:
    """Return the separate surfaces of all parts."""
    pieces = []
    for part in parts:
        mesh = part.mesh
        edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]])
        size = len(mesh.vertices)
        graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
        label = connected_components(graph, directed=False)[1][mesh.faces[:, 0]]
        pieces += [
            trimesh.Trimesh(mesh.vertices, mesh.faces[label == value], process=False)
            for value in np.unique(label)
        ]
    return pieces


def _surface_points(mesh: trimesh.Trimesh) -> np.ndarray:
    """Return points over a surface, about a centimetre apart, from a fixed seed."""
    corners = mesh.triangles
    area = (
        np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        / 2
    )
    rng = np.random.default_rng(0)
    count = int(np.clip(area.sum() / 0.012**2, 200, 8_000))
    face = rng.choice(len(corners), count, p=area / area.sum())
    a, b = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - a, a * (1 - b), a * b], axis=1)
    return np.einsum("ni,nij->nj", weights, corners[face])


def _num_groups(parts: Iterable[Part]) -> int:
    """Return how many groups of touching surfaces there are; 1 is one sound object."""
    clouds = [cKDTree(_surface_points(mesh)) for mesh in _pieces(parts)]
    links = [
        (i, j)
        for i, cloud in enumerate(clouds)
        for j, other in enumerate(clouds[:i])
        if np.min(cloud.query(other.data, distance_upper_bound=2 * TOUCHING)[0]) < TOUCHING
    ]
    ends = np.array(links).reshape(-1, 2)
    size = len(clouds)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(size, size))
    return int(connected_components(graph, directed=False)[0])


@each_kind
def test_meshes_are_finite_and_stand_on_the_floor(kind: Kind, designs) -> None:
    for shape, parts in designs[kind.name]:
        points = np.concatenate([part.mesh.vertices for part in parts])
        assert np.isfinite(points).all()
        assert all(len(part.mesh.faces) > 0 for part in parts)
        assert -1e-4 <= points[:, 1].min() < 4e-3, shape
        assert 0.25 < np.ptp(points[:, 1]) < 1.4, shape
        assert 2 <= len({part.name for part in parts}) == len(parts) <= 5


@each_kind
def test_every_surface_touches_the_rest(kind: Kind, designs) -> None:
    for shape, parts in designs[kind.name][:4]:
        assert _num_groups(parts) == 1, shape


def test_a_floating_leg_is_noticed(designs) -> None:
    _, parts = designs["stool"][0]
    adrift = [Part(name=p.name, mesh=p.mesh.copy()) for p in parts]
    adrift[0].mesh.apply_translation((0, 0.1, 0))
    assert _num_groups(adrift) > 1


@each_kind
def test_surfaces_are_closed_and_face_outwards(kind: Kind, designs) -> None:
    for shape, parts in designs[kind.name][:3]:
        for piece in _pieces(parts):
            assert piece.volume > 0, shape


@each_kind
def test_sampling_and_building_are_deterministic(kind: Kind) -> None:
    (shape, first), (repeated, second) = _design(kind, 7), _design(kind, 7)
    assert shape == repeated
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.mesh.vertices, b.mesh.vertices)
        np.testing.assert_array_equal(a.mesh.faces, b.mesh.faces)


@each_kind
def test_designs_differ(kind: Kind) -> None:
    shapes = [kind.sample(np.random.default_rng(seed)) for seed in range(200)]
    choices = {
        tuple((k, v) for k, v in shape.values.items() if isinstance(v, str | bool | int))
        for shape in shapes
    }
    assert len(choices) > 120
    assert len({shape.words for shape in shapes}) > 60
    assert all(1 <= len(shape.words) <= 6 for shape in shapes)


@each_kind
def test_colourways_fit_every_design(kind: Kind, designs) -> None:
    named = [{name for name, _ in way.finishes} for way in kind.colourways]
    known = [{name for name, _ in (*way.finishes, *way.others)} for way in kind.colourways]
    for _, parts in designs[kind.name]:
        names = {part.name for part in parts}
        assert all(parts <= names for parts in named)
        assert all(names <= all_names for all_names in known)


@each_kind
def test_colourways_are_distinct_and_sayable(kind: Kind) -> None:
    leading = {tuple(finish for _, finish in way.finishes[:2]) for way in kind.colourways}
    assert len(leading) == len(kind.colourways) == 8
    for way in kind.colourways:
        for _, finish in (*way.finishes, *way.others):
            finish_phrase(finish.colour, finish.material, finish.pattern)
    patterned = [any(f.pattern != "plain" for _, f in way.finishes) for way in kind.colourways]
    assert sum(patterned) <= 3
