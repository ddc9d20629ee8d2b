"""Looks (numbers for the renderer) of finishes (words), and texture coordinates of parts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from assets.catalogue import palette, textures
from assets.catalogue.model import Finish, Real

PATTERN_SIDE = 0.95  # side of a pattern's tile; the object's bounding sphere has radius 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Surface:
    """How a material reflects: parameters of Mitsuba's `principled`, and its texture's scale.

    Attributes:
        side: Of the texture's tile; the object's bounding sphere has radius 1.
        follows_grain: Whether the texture runs along the longest side of each piece, rather than
            upright.
    """

    roughness: float
    side: float
    metallic: float = 0.0
    specular: float = 0.5
    sheen: float = 0.0
    clearcoat: float = 0.0
    clearcoat_gloss: float = 0.9
    follows_grain: bool = False


SURFACES: dict[str, Surface] = {
    "wood": Surface(roughness=0.42, side=0.7, specular=0.4, follows_grain=True),
    "fabric": Surface(roughness=0.95, side=0.8, specular=0.1, sheen=0.5),
    "leather": Surface(roughness=0.36, side=0.8, specular=0.55),
    "metal": Surface(roughness=0.25, side=0.7, metallic=1.0, follows_grain=True),
    "glass": Surface(roughness=0.1, side=1.0),
    "ceramic": Surface(roughness=0.12, side=1.0, specular=0.75, clearcoat=0.5),
    "plastic": Surface(roughness=0.27, side=1.0, specular=0.55),
    "marble": Surface(roughness=0.15, side=1.3, specular=0.6),
    "wicker": Surface(roughness=0.65, side=0.9, specular=0.3),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A finish, ready for a renderer: its surface, its tile, and the tile's side."""

    surface: Surface
    tile: textures.Tile
    side: float
    follows_grain: bool


@lru_cache(maxsize=64)
def look(finish: Finish) -> Look:
    """Return the look of a finish.

    Raises:
        KeyError: If a word is not in the lexicon.
    """
    surface = SURFACES[finish.material]
    has_pattern = finish.pattern != "plain"
    return Look(
        surface=surface,
        tile=_tile(finish),
        side=PATTERN_SIDE if has_pattern else surface.side,
        follows_grain=surface.follows_grain and not has_pattern,
    )


def transmittance(colour: str) -> NDArray[np.float64]:
    """Return the linear tint (3,) of light that crosses one side of a glass wall."""
    c = palette.reflectance(colour)
    if colour == "clear":
        return np.array([0.965, 0.985, 0.98])
    return np.clip((c / c.max()) ** 0.42 * (0.62 + 0.38 * c.max() ** 0.5), 0.02, 1)


def _tile(finish: Finish) -> textures.Tile:
    main, other = palette.reflectance(finish.colour), palette.companion(finish.colour)
    mask = textures.pattern_mask(finish.pattern)[..., None]
    base = main * (1 - mask) + other * mask
    is_bare_wood = finish.colour in ("oak", "walnut")
    vein = other if main.mean() < 0.3 else 0.35 * main + 0.02
    makers: dict[str, Callable[[], textures.Tile]] = {
        "wood": lambda: textures.wood(base, 1.0 if is_bare_wood else 0.22),
        "fabric": lambda: textures.weave(base),
        "leather": lambda: textures.leather(base),
        "metal": lambda: textures.brushed(base),
        "marble": lambda: textures.marble(base, vein),
        "wicker": lambda: textures.wicker(base),
        "ceramic": lambda: textures.smooth(base, 0.012),
        "plastic": lambda: textures.smooth(base),
        "glass": lambda: textures.smooth(base),
    }
    return makers[finish.material]()


def box_coordinates(mesh: trimesh.Trimesh, *, follows_grain: bool) -> NDArray[np.float64]:
    """Project a mesh from the six sides of a box.

    Each face takes its side from its own normal. With grain, v runs along the longest side of the
    connected piece a face belongs to, pieces being shifted against one another; without, v is
    height on upright faces and depth on lying ones.

    Returns:
        (faces, 3, 2) coordinates (u, v) in the mesh's units.
    """
    corners = mesh.vertices[mesh.faces]
    facing = np.abs(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    side = facing.argmax(1)
    if not follows_grain:
        axes = np.array([[2, 1], [0, 2], [0, 1]])[side]
        return np.take_along_axis(corners, axes[:, None].repeat(3, 1), 2)
    piece, longest = _pieces(mesh)
    grain = np.where(longest[piece] == side, (side + 1) % 3, longest[piece])
    across = 3 - side - grain
    axes = np.stack([across, grain], 1)
    flat = np.take_along_axis(corners, axes[:, None].repeat(3, 1), 2)
    shift = np.stack([piece * 0.37 + side * 0.21, piece * 0.61 + side * 0.43], 1) % 1
    return flat + shift[:, None]


def cylinder_coordinates(mesh: trimesh.Trimesh, side: Real) -> NDArray[np.float64]:
    """Wrap a mesh about the y axis, a whole number of tiles around it; lying faces as from above.

    Returns:
        (faces, 3, 2) coordinates (u, v) in the mesh's units, for a tile of the given side.
    """
    corners = np.asarray(mesh.vertices[mesh.faces])
    centre = (mesh.bounds[0] + mesh.bounds[1]) / 2
    x, z = corners[..., 0] - centre[0], corners[..., 2] - centre[2]
    middle = np.arctan2(x.mean(1), z.mean(1))[:, None]
    angle = np.arctan2(x, z)
    angle += 2 * np.pi * np.round((middle - angle) / (2 * np.pi))
    radius = np.hypot(x, z)
    angle = np.where(radius < 1e-6, middle, angle)
    repeats = max(1, round(2 * np.pi * float(np.percentile(radius, 70)) / side))
    around = angle / (2 * np.pi) * repeats * side
    height = corners[..., 1]
    choices = np.stack(
        [np.stack(pair, -1) for pair in ((around, height), (x, z), (radius, height))]
    )
    edges = choices[:, :, 1:] - choices[:, :, :1]
    area = np.abs(edges[..., 0, 0] * edges[..., 1, 1] - edges[..., 0, 1] * edges[..., 1, 0])
    # A face seen edge-on by a projection would get no area, and no direction for its relief.
    chosen = (area * np.array([[3.0], [1.0], [1.0]])).argmax(0)
    return choices[chosen, np.arange(len(corners))]


def _pieces(mesh: trimesh.Trimesh) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the connected piece of each face and the longest axis of each piece."""
    a, b, c = mesh.faces.T
    links = (np.ones(2 * len(a)), (np.concatenate([a, b]), np.concatenate([b, c])))
    count = len(mesh.vertices)
    num_pieces, label = connected_components(coo_matrix(links, (count, count)), directed=False)
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(num_pieces))
    points = np.asarray(mesh.vertices)[order]
    extent = np.maximum.reduceat(points, starts) - np.minimum.reduceat(points, starts)
    return label[a].astype(np.int64), extent.argmax(1)
