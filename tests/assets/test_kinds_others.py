from collections.abc import Sequence

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from assets.catalogue import words
from assets.catalogue.curves import rounded_rectangle
from assets.catalogue.kinds import bookcase, cabinet, car, clock, handbag, sailboat
from assets.catalogue.kinds.lofts import boxes, hoop, inset, loft, ribbon, sheet, slab, standing
from assets.catalogue.model import Kind, Part

KINDS = [module.KIND for module in (clock, bookcase, cabinet, handbag, car, sailboat)]
NUM_SAMPLES = 6
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def _bodies(part: Part) -> np.ndarray:
    """Return which separate surface each face of a part belongs to."""
    faces = part.mesh.faces
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    count = len(part.mesh.vertices)
    links = coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
    return connected_components(links, directed=False)[1][faces[:, 0]]


def _samples(triangles: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points on triangles at most `spacing` apart, and the triangle of each."""
    longest = np.linalg.norm(triangles - np.roll(triangles, 1, 1), axis=2).max(1)
    steps = np.maximum(1, np.ceil(longest / spacing)).astype(int)
    points, owners = [], []
    for k in np.unique(steps):
        i, j = (grid.ravel() / k for grid in np.indices((k + 1, k + 1)))
        inside = i + j <= 1 + 1e-9
        weights = np.stack([1 - i - j, i, j], 1)[inside]
        chosen = np.flatnonzero(steps == k)
        points.append((weights @ triangles[chosen]).reshape(-1, 3))
        owners.append(np.repeat(chosen, len(weights)))
    return np.concatenate(points), np.concatenate(owners)


def loose_bodies(parts: Sequence[Part], share: float = 0.008) -> list[str]:
    """Name and places of surfaces that touch nothing, within `share` of the object's size."""
    triangles = np.concatenate([part.mesh.triangles for part in parts])
    bodies, names = [], []
    for part in parts:
        bodies_of_part = _bodies(part)
        _, bodies_of_part = np.unique(bodies_of_part, return_inverse=True)
        bodies.append(bodies_of_part + len(names))
        names += [part.name] * (bodies_of_part.max() + 1)
    body = np.concatenate(bodies)
    low = triangles.min((0, 1))
    pitch = share * (triangles.max((0, 1)) - low).max()
    points, owner = _samples(triangles, 0.8 * pitch)
    cell = np.floor((points - low) / pitch).astype(np.int64) + 1
    sides = cell.max(0) + 2
    pairs = np.unique(np.ravel_multi_index(cell.T, sides) * len(names) + body[owner])
    cells, owners = pairs // len(names), pairs % len(names)
    links = [np.stack([owners[:-1], owners[1:]])[:, cells[:-1] == cells[1:]]]
    for offset in np.ndindex(3, 3, 3):
        step = np.dot(np.array(offset) - 1, [sides[1] * sides[2], sides[2], 1])
        at = np.searchsorted(cells, cells + step)
        at = np.minimum(at, len(cells) - 1)
        hit = cells[at] == cells + step
        links.append(np.stack([owners[hit], owners[at[hit]]]))
    row, column = np.concatenate(links, 1)
    graph = coo_matrix((np.ones(len(row)), (row, column)), shape=(len(names),) * 2)
    label = connected_components(graph, directed=False)[1]
    main = np.bincount(label).argmax()
    loose = np.flatnonzero(label != main)
    return [f"{names[i]} at {triangles[body == i].mean((0, 1)).round(3)}" for i in loose]


def _parts(kind: Kind, seed: int) -> tuple[Part, ...]:
    return kind.build(kind.sample(np.random.default_rng(seed)))


@each_kind
def test_parts_touch_stand_on_the_floor_and_carry_the_named_finishes(kind):
    for seed in range(NUM_SAMPLES):
        parts = _parts(kind, seed)
        names = [part.name for part in parts]
        assert 2 <= len(parts) <= 5
        assert len(set(names)) == len(names)
        for part in parts:
            assert len(part.mesh.faces) > 0
            assert np.isfinite(part.mesh.vertices).all()
        lowest = min(part.mesh.bounds[0, 1] for part in parts)
        assert -1e-4 <= lowest <= 1e-3
        assert loose_bodies(parts) == [], f"design {seed}"
        for colourway in kind.colourways:
            assert {name for name, _ in colourway.finishes} <= set(names)


def test_a_floating_part_is_found():
    parts = _parts(clock.KIND, 0)
    parts[-1].mesh.vertices += (0.0, 1.0, 0.0)
    assert loose_bodies(parts)


@each_kind
def test_sample_and_build_are_deterministic(kind):
    assert kind.sample(np.random.default_rng(3)) == kind.sample(np.random.default_rng(3))
    for first, second in zip(_parts(kind, 3), _parts(kind, 3), strict=True):
        assert first.name == second.name
        np.testing.assert_array_equal(first.mesh.vertices, second.mesh.vertices)


@each_kind
def test_designs_differ_in_structure_and_words(kind):
    shapes = [kind.sample(np.random.default_rng(seed)) for seed in range(300)]
    assert len({shape.words for shape in shapes}) >= 30
    structure = {
        tuple(value for value in shape.values.values() if isinstance(value, str | bool))
        for shape in shapes
    }
    assert len(structure) >= 60


@each_kind
def test_words_name_no_colour_material_or_kind(kind):
    taken = {*words.COLOURS, *words.MATERIALS, *words.WOOD_TONES, *words.METAL_TONES, kind.name}
    for seed in range(200):
        for phrase in kind.sample(np.random.default_rng(seed)).words:
            # Glass doors are panes, whatever their finish: the one material that names a shape.
            phrase_words = set(phrase.replace("glass door", "door").replace("-", " ").split())
            assert not phrase_words & taken, phrase


@each_kind
def test_colourways_are_sayable_and_told_apart_by_two_finishes(kind):
    for colourway in kind.colourways:
        for _, finish in (*colourway.finishes, *colourway.others):
            words.finish_phrase(finish.colour, finish.material, finish.pattern)
    firsts = {tuple(finish for _, finish in way.finishes[:2]) for way in kind.colourways}
    assert len(firsts) == len(kind.colourways)
    colours = {finish.colour for way in kind.colourways for _, finish in way.finishes}
    assert len(colours) >= 9


@pytest.mark.parametrize(
    ("made", "volume"),
    [
        (boxes([(1, 2, 3)], [(0, 0, 0)], 0.0), 6.0),
        (loft([[(0, 0, z), (1, 0, z), (1, 1, z), (0, 1, z)] for z in (0, 2)]), 2.0),
        (slab([(0, 0), (2, 0), (2, 1), (0, 1)], 0.5, axis="x", at=3), 1.0),
        (slab([(0, 0), (2, 0), (2, 2), (1, 1), (0, 2)], 0.5, axis="y"), 1.5),
        (hoop([(0, 0), (4, 0), (4, 4), (0, 4)], 1.0, 1.0, 0.0), 12.0),
        (sheet(np.indices((5, 5, 1))[..., 0].transpose(1, 2, 0), 0.25), 4.0),
    ],
    ids=["boxes", "loft", "slab", "notched slab", "hoop", "sheet"],
)
def test_solids_have_the_volume_of_their_outline(made, volume):
    assert made.is_watertight
    assert made.volume == pytest.approx(volume, rel=1e-6)


def test_standing_and_ribbon_are_closed():
    pot = standing([(0.2, 0.1, 0.0), (0.3, 0.2, 0.4), (0.25, 0.15, 0.4), (0.15, 0.05, 0.05)])
    strap = ribbon([(0, 0, 0), (0, 1, 0), (0, 2, 0.5)], 0.2, 0.02)
    assert pot.is_watertight
    assert strap.is_watertight
    assert strap.volume > 0


def test_inset_corners_shrink_instead_of_turning_inside_out():
    outline = rounded_rectangle((2.0, 1.0), 0.05)
    moved = inset(outline, 0.2)
    edge, after = np.roll(outline, -1, 0) - outline, np.roll(moved, -1, 0) - moved
    assert (edge * after).sum(1).min() > -1e-9
    np.testing.assert_allclose(np.abs(moved).max(0), (0.8, 0.3), atol=0.01)
