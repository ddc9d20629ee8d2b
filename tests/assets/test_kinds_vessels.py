"""Vessels, lamps and candlesticks: sound joints, real variety, finishes that fit every design."""

import numpy as np
import pytest
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from assets.catalogue.kinds import (
    bottle,
    bowl,
    candlestick,
    goblet,
    lamp,
    mug,
    teapot,
    turned,
    vase,
)
from assets.catalogue.model import Kind, Part, Shape
from assets.catalogue.words import finish_phrase

MODULES = (lamp, vase, bottle, mug, teapot, bowl, goblet, candlestick)
KINDS = tuple(module.KIND for module in MODULES)
NUM_SAMPLES = 14
TOUCHING = 0.009  # metres between two surfaces that count as joined
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def designs() -> dict[str, list[tuple[Shape, tuple[Part, ...]]]]:
    return {kind.name: [_design(kind, seed) for seed in range(NUM_SAMPLES)] for kind in KINDS}


def _design(kind: Kind, seed: int) -> tuple[Shape, tuple[Part, ...]]:
    shape = kind.sample(np.random.default_rng(seed))
    return shape, kind.build(shape)


def _labels(mesh: trimesh.Trimesh) -> np.ndarray:
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]])
    size = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1]


def _clouds(part: Part) -> list[np.ndarray]:
    """Return points over each separate surface of a part: corners and middles of large faces."""
    mesh, label = part.mesh, _labels(part.mesh)
    face_label = label[mesh.faces[:, 0]]
    clouds = []
    for value in np.unique(face_label):
        corners = np.asarray(mesh.vertices)[mesh.faces[face_label == value]]
        area = np.linalg.norm(
            np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
        )
        rng = np.random.default_rng(0)
        count = int(np.clip(area.sum() / 2 / 0.006**2, 300, 15_000))
        face = rng.choice(len(corners), count, p=area / area.sum())
        a, b = np.sqrt(rng.random(count)), rng.random(count)
        weights = np.stack([1 - a, a * (1 - b), a * b], axis=1)
        clouds.append(np.einsum("ni,nij->nj", weights, corners[face]))
    return clouds


def _num_groups(parts: tuple[Part, ...]) -> int:
    """Return how many groups of touching surfaces there are; 1 is one sound object."""
    trees = [cKDTree(cloud) for part in parts for cloud in _clouds(part)]
    links = [
        (i, j)
        for i, tree in enumerate(trees)
        for j, other in enumerate(trees[:i])
        if _gap(tree, other) < TOUCHING
    ]
    ends = np.array(links, dtype=int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends)), ends.T), shape=(len(trees), len(trees)))
    return int(connected_components(graph, directed=False)[0])


def _gap(tree: cKDTree, other: cKDTree) -> float:
    if np.any(tree.mins - other.maxes > TOUCHING) or np.any(other.mins - tree.maxes > TOUCHING):
        return np.inf
    small, large = sorted((tree, other), key=lambda candidate: candidate.n)
    return float(np.min(large.query(small.data, distance_upper_bound=2 * TOUCHING)[0]))


@each_kind
def test_meshes_are_closed_finite_and_stand_on_the_floor(kind: Kind, designs) -> None:
    for shape, parts in designs[kind.name]:
        assert 2 <= len(parts) <= 5
        for part in parts:
            assert len(part.mesh.faces) > 0, (shape.words, part.name)
            assert np.isfinite(part.mesh.vertices).all(), (shape.words, part.name)
            assert part.mesh.is_watertight, (shape.words, part.name)
            assert part.mesh.is_winding_consistent, (shape.words, part.name)
        low = min(float(part.mesh.vertices[:, 1].min()) for part in parts)
        assert abs(low) < 0.02, shape.values
        assert low >= -1e-4, shape.values


@each_kind
def test_surfaces_look_outward(kind: Kind, designs) -> None:
    for shape, parts in designs[kind.name][:8]:
        for part in parts:
            assert part.mesh.volume > 0, (shape.words, part.name)


@each_kind
def test_parts_form_one_touching_assembly(kind: Kind, designs) -> None:
    for shape, parts in designs[kind.name][:6]:
        assert _num_groups(parts) == 1, shape.values


def test_a_lifted_part_is_seen_as_loose(designs) -> None:
    _, parts = designs["mug"][0]
    lifted = parts[1].mesh.copy()
    lifted.apply_translation((0.5, 0, 0))
    assert _num_groups((parts[0], Part(name="handle", mesh=lifted))) == 2


@each_kind
def test_sampling_and_building_repeat_exactly(kind: Kind, designs) -> None:
    shape, parts = designs[kind.name][3]
    again, same_parts = _design(kind, 3)
    assert again == shape
    for part, same in zip(parts, same_parts, strict=True):
        assert np.array_equal(part.mesh.vertices, same.mesh.vertices)


@each_kind
def test_designs_differ_from_one_another(kind: Kind) -> None:
    shapes = [kind.sample(np.random.default_rng(seed)) for seed in range(200)]
    assert len({tuple(shape.values.values()) for shape in shapes}) == 200
    options = {tuple(v for v in s.values.values() if isinstance(v, str)) for s in shapes}
    assert len(options) > 100
    assert len({shape.words for shape in shapes}) > 50


@each_kind
def test_words_are_few_and_name_no_finish(kind: Kind) -> None:
    for seed in range(100):
        words = kind.sample(np.random.default_rng(seed)).words
        assert 1 <= len(words) <= 3
        assert not {"glass", "ceramic", "metal", "wood", "plastic"} & set(" ".join(words).split())


@each_kind
def test_colourways_name_parts_that_every_design_has(kind: Kind, designs) -> None:
    pairs = [
        [finish_phrase(f.colour, f.material, f.pattern) for _, f in way.finishes[:2]]
        for way in kind.colourways
    ]
    assert len({tuple(pair) for pair in pairs}) == 8
    assert all(first != second for first, second in pairs)
    for way in kind.colourways:
        for _, finish in way.others:
            finish_phrase(finish.colour, finish.material, finish.pattern)
        for _, parts in designs[kind.name]:
            assert {name for name, _ in way.finishes} <= {part.name for part in parts}


@pytest.mark.parametrize("name", ["mug", "vase", "bowl", "goblet"])
def test_vessels_have_an_open_mouth_and_a_wall(name: str, designs) -> None:
    for shape, parts in designs[name][:8]:
        if shape.values.get("extra") == "lid":
            continue
        body = parts[0].mesh
        points = np.asarray(body.vertices)
        on_axis = points[np.hypot(points[:, 0], points[:, 2]) < 1e-9, 1]
        depth = points[:, 1].max() - on_axis.max()
        assert depth > 0.4 * np.ptp(points[:, 1]), shape.words  # the inside reaches far down
        assert np.ptp(on_axis) > 1e-3, shape.words  # and has a floor of its own


def test_a_square_bottle_ends_in_a_round_neck() -> None:
    section = turned.RingSection(squareness=7.0, full_at=0.5, round_at=0.6)
    line = np.array([(1.0, 0.0), (1.0, 0.5), (0.3, 0.6), (0.3, 1.0)])
    assert section.reach(line, 0.9, 45) == pytest.approx(section.reach(line, 0.9, 0))
    assert section.reach(line, 0.2, 45) > 1.2 * section.reach(line, 0.2, 0)


def test_a_loft_holds_the_volume_of_its_meridian() -> None:
    cylinder = turned.loft(np.array([(0.0, 0.0), (0.5, 0.0), (0.5, 2.0), (0.0, 2.0)]))
    assert cylinder.volume == pytest.approx(np.pi * 0.25 * 2, rel=0.01)


def test_smooth_curves_never_leave_their_knots() -> None:
    knots = [(1.0, 0.0), (0.2, 0.5), (0.2, 0.6), (0.9, 1.0)]
    radius = turned.smooth(knots)[:, 0]
    assert radius.min() >= 0.2 - 1e-9
    assert radius.max() <= 1.0 + 1e-9
