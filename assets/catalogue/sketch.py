"""The lines an object shows: occluding contours, part borders and creases, from its buffers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from assets.catalogue.tracing import Chain, Cracks, smooth, trace

if TYPE_CHECKING:
    from assets.catalogue.render import Buffers

_JUMP = 0.035  # of the object's depth range: less than a table leg, more than a thin cushion's step
_CREASE_DEGREES = 24.0
_REACH_PX = 2  # bevels spread a crease over a few pixels; normals are compared across them
_MIN_SEED_PX = 10
_MIN_REGION_PX = 6
_MIN_CHAIN_PX = 4
_SMOOTH_PX = 1.6
_THIN = 0.045  # of the image: what is narrower may be drawn as one line


class CurveKind(StrEnum):
    """What a line stands for; `AXIS` is the middle of a thin limb, not a visible line."""

    SILHOUETTE = "silhouette"
    PART = "part"
    CREASE = "crease"
    AXIS = "axis"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A visible line between two junctions.

    Attributes:
        points: (n, 2) x and y in the unit square, y down; a closed curve repeats its first point.
        kind: what the line stands for.
        strength: in [0, 1]; how plainly it shows (1: against the background).
        part: id of the nearer part as in `Buffers.part_ids` (1 is the first part).
        region: the connected visible piece of the nearer part, so that two legs differ.
    """

    points: Float[np.ndarray, "n 2"]
    kind: CurveKind
    strength: float
    part: int
    region: int

    @property
    def length(self) -> float:
        """Length in units of the image side."""
        return float(np.hypot(*np.diff(self.points, axis=0).T).sum())

    @property
    def is_closed(self) -> bool:
        """Whether the curve returns to its start."""
        return len(self.points) > 2 and bool((self.points[0] == self.points[-1]).all())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scene:
    """Cropped, padded buffers and what is derived from them."""

    parts: Int[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    normals: Float[np.ndarray, "h w 3"]
    regions: Int[np.ndarray, "h w"]
    borders: Cracks
    size_px: int
    corner: tuple[int, int]
    depth_range: float


def contours(buffers: Buffers) -> tuple[Curve, ...]:
    """Extract the visible lines of an object.

    Part borders and depth jumps split the image into regions; within a region, pieces of calm
    normals joined by a band of turning normals meet in a crease. All lines run between pixels and
    are smoothed to sub-pixel polylines which end exactly at shared junctions.

    Args:
        buffers: square part ids, depth and camera-space normals, of 128 to 512 px.

    Raises:
        ValueError: if no part is visible.
    """
    if not buffers.part_ids.any():
        raise ValueError("`buffers.part_ids` must show at least one part, got background only.")
    scene = _scene(buffers)
    facets = _facets(scene)
    edges = Cracks(
        across=scene.borders.across | (facets[:, 1:] != facets[:, :-1]),
        below=scene.borders.below | (facets[1:] != facets[:-1]),
    )
    curves = [_curve(chain, scene) for chain in trace(edges)]
    return tuple(curve for curve in curves if curve is not None) + _axes(scene)


def _scene(buffers: Buffers) -> _Scene:
    """Crop to the object with a margin of one pixel and split it into regions."""
    ys, xs = (np.flatnonzero(buffers.part_ids.any(axis)) for axis in (1, 0))
    window = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    parts = np.pad(buffers.part_ids[window].astype(np.int64), 1)
    depth = np.pad(buffers.depth[window].astype(np.float64), 1, constant_values=np.inf)
    normals = np.pad(buffers.normals[window].astype(np.float32), ((1, 1), (1, 1), (0, 0)))
    depth_range = max(float(np.ptp(depth[parts > 0])), 1e-6)
    occluded = _occlusions(parts, depth, normals, _JUMP * depth_range)
    pieces = _components(occluded, parts > 0)
    regions, borders = _without_specks(pieces, occluded, parts)
    return _Scene(
        parts=parts,
        depth=depth,
        normals=normals,
        regions=regions,
        borders=borders,
        size_px=buffers.part_ids.shape[0],
        corner=(int(xs[0]) - 1, int(ys[0]) - 1),
        depth_range=depth_range,
    )


def _between(labels: np.ndarray) -> Cracks:
    return Cracks(across=labels[:, 1:] != labels[:, :-1], below=labels[1:] != labels[:-1])


def _occlusions(parts: np.ndarray, depth: np.ndarray, normals: np.ndarray, jump: float) -> Cracks:
    finite = np.where(np.isfinite(depth), depth, 1e6)
    facing = np.maximum(np.abs(normals[..., 2]), 0.05)
    slope = [np.abs(normals[..., axis]) / facing for axis in (0, 1)]
    return Cracks(
        across=_separated(parts, finite, slope[0], jump),
        below=_separated(parts.T, finite.T, slope[1].T, jump).T,
    )


def _separated(parts: np.ndarray, depth: np.ndarray, slope: np.ndarray, jump: float) -> np.ndarray:
    """True where (y, x) and (y, x + 1) differ in part, or in depth by more than slopes explain.

    The size of a pixel in depth units is not known, so it is measured: steps over slopes.
    """
    step = np.diff(depth, axis=1)
    same = (parts[:, 1:] == parts[:, :-1]) & (parts[:, 1:] > 0)
    farther = np.where(step > 0, slope[:, 1:], slope[:, :-1])
    sloped = same & (farther > 0.1)
    pixel = float(np.median(np.abs(step[sloped]) / farther[sloped])) if sloped.any() else 0.0
    before = np.pad(step, ((0, 0), (1, 0)))[:, :-1]
    after = np.pad(step, ((0, 0), (0, 1)))[:, 1:]
    beyond = np.minimum(np.abs(step - before), np.abs(step - after))
    hidden = (beyond > jump) & (np.abs(step) > jump + 3.0 * pixel * farther)
    return (parts[:, 1:] != parts[:, :-1]) | (same & hidden)


def _without_specks(
    pieces: np.ndarray, occluded: Cracks, parts: np.ndarray
) -> tuple[np.ndarray, Cracks]:
    """Give pieces of a few pixels to a neighbour of their part, if there is one.

    Returns:
        Regions, and the cracks between them; steps that end within a region stay.
    """
    small = np.bincount(pieces.ravel())[pieces] < _MIN_REGION_PX
    kept = np.where(small, 0, pieces)
    regions = np.where(small & (parts > 0), _grow(kept, parts, 6), kept)
    large, between = ~small, _between(regions)
    return regions, Cracks(
        across=between.across | (occluded.across & large[:, 1:] & large[:, :-1]),
        below=between.below | (occluded.below & large[1:] & large[:-1]),
    )


def _components(cracks: Cracks, inside: np.ndarray) -> Int[np.ndarray, "h w"]:
    """Label what hangs together without crossing a crack: 1.. inside, 0 outside."""
    index = np.arange(inside.size).reshape(inside.shape)
    right = ~cracks.across & inside[:, 1:] & inside[:, :-1]
    down = ~cracks.below & inside[1:] & inside[:-1]
    rows = np.concatenate([index[:, :-1][right], index[:-1][down]])
    cols = np.concatenate([index[:, 1:][right], index[1:][down]])
    graph = coo_array((np.ones(len(rows), np.int8), (rows, cols)), shape=(inside.size,) * 2)
    _, labels = connected_components(graph, directed=False)
    _, dense = np.unique(np.where(inside.ravel(), labels + 1, 0), return_inverse=True)
    return dense.reshape(inside.shape) + (0 if not inside.all() else 1)


def _facets(scene: _Scene) -> Int[np.ndarray, "h w"]:
    """Split regions into smooth pieces; a bent band belongs to the piece it touches first."""
    straight = np.minimum(_straightness(scene, 0), _straightness(scene, 1))
    calm = (straight > np.cos(np.radians(0.3 * _CREASE_DEGREES))) & (scene.regions > 0)
    pieces = _components(scene.borders, calm)
    sizes = np.bincount(pieces.ravel())
    grown = _grow(np.where(sizes[pieces] >= _MIN_SEED_PX, pieces, 0), scene.regions, 40)
    return np.where(grown > 0, grown, -scene.regions)


def _straightness(scene: _Scene, axis: int) -> Float[np.ndarray, "h w"]:
    """Return the least cosine between a normal and those _REACH_PX away, within the region."""
    least = np.ones(scene.regions.shape, np.float32)
    for shift in (-_REACH_PX, _REACH_PX):
        inside = np.roll(scene.regions, shift, axis) == scene.regions
        cosine = np.einsum("hwc,hwc->hw", np.roll(scene.normals, shift, axis), scene.normals)
        least = np.where(inside, np.minimum(least, cosine), least)
    return least


def _grow(seeds: np.ndarray, fields: np.ndarray, num_steps: int) -> np.ndarray:
    """Grow labels over unlabelled pixels of the same field, one pixel a step."""
    grown, field = seeds.ravel().copy(), fields.ravel()
    width = seeds.shape[1]
    bare = np.flatnonzero((grown == 0) & (field > 0))  # the padding keeps neighbours inside
    for _ in range(num_steps):
        labels = np.zeros(len(bare), grown.dtype)
        for shift in (width, -width, 1, -1):
            beside = bare + shift
            offered = np.where(field[beside] == field[bare], grown[beside], 0)
            labels = np.where(labels == 0, offered, labels)
        if not labels.any():
            break
        grown[bare] = labels
        bare = bare[labels == 0]
    return grown.reshape(seeds.shape)


def _curve(chain: Chain, scene: _Scene) -> Curve | None:
    """Name a chain after the nearer of its two sides; None when it is too faint or short."""
    first, second = tuple(chain.first.T), tuple(chain.second.T)
    nearer = scene.depth[first] <= scene.depth[second]
    region = _most(np.where(nearer, scene.regions[first], scene.regions[second]))
    part = _most(np.where(nearer, scene.parts[first], scene.parts[second]))
    kind, strength = _judge(chain, scene)
    num_steps = len(chain.first)
    if strength <= 0.0 or num_steps < 2:
        return None
    if num_steps < _MIN_CHAIN_PX and kind is CurveKind.CREASE:
        return None
    points = (smooth(chain.corners, _SMOOTH_PX)[:, ::-1] + scene.corner) / scene.size_px
    return Curve(points=points, kind=kind, strength=strength, part=part, region=region)


def _judge(chain: Chain, scene: _Scene) -> tuple[CurveKind, float]:
    first, second = tuple(chain.first.T), tuple(chain.second.T)
    if (min_part := np.minimum(scene.parts[first], scene.parts[second])).mean() < 0.5:
        return CurveKind.SILHOUETTE, 1.0
    angle = _angle_across(chain, scene)
    if not _lies_on(scene.borders, chain):
        return CurveKind.CREASE, min(angle / 120.0, 1.0) if angle >= _CREASE_DEGREES else 0.0
    step = np.abs(scene.depth[first] - scene.depth[second])[min_part > 0]
    jump = float(np.median(step)) / scene.depth_range
    if jump > 2.0 * _JUMP or (scene.parts[first] == scene.parts[second]).mean() > 0.5:
        return CurveKind.SILHOUETTE, float(np.clip(0.5 + jump, 0.0, 0.95))
    return CurveKind.PART, float(np.clip(0.45 + angle / 180.0, 0.0, 0.9))


def _lies_on(cracks: Cracks, chain: Chain) -> bool:
    ys, xs = chain.first.T
    runs_right = chain.second[:, 0] > ys  # a crack below its first pixel
    marked = np.concatenate(
        [
            cracks.below[ys[runs_right], xs[runs_right]],
            cracks.across[ys[~runs_right], xs[~runs_right]],
        ]
    )
    return bool(marked.mean() > 0.5)


def _angle_across(chain: Chain, scene: _Scene) -> float:
    """Return mean angle in degrees between the normals a little to either side of the chain."""
    away = chain.second - chain.first
    limit = np.asarray(scene.parts.shape) - 1
    near = tuple(np.clip(chain.first - _REACH_PX * away, 0, limit).T)
    far = tuple(np.clip(chain.second + _REACH_PX * away, 0, limit).T)
    cosine = np.clip((scene.normals[near] * scene.normals[far]).sum(-1), -1.0, 1.0)
    known = (scene.parts[near] > 0) & (scene.parts[far] > 0)
    return float(np.degrees(np.arccos(cosine[known])).mean()) if known.any() else 0.0


def _axes(scene: _Scene) -> tuple[Curve, ...]:
    """Return middle lines of thin limbs, which people often draw as a single line."""
    curves = []
    for region in range(1, int(scene.regions.max()) + 1):
        ys, xs = np.nonzero(scene.regions == region)
        if len(ys) < 24:
            continue
        points = _middle(np.stack([xs, ys], axis=1) + 0.5 + scene.corner, scene.size_px)
        if points is not None:
            part = int(scene.parts[ys[0], xs[0]])
            curves.append(
                Curve(points=points, kind=CurveKind.AXIS, strength=0.8, part=part, region=region)
            )
    return tuple(curves)


def _middle(pixels: np.ndarray, size_px: int) -> np.ndarray | None:
    """Return centre line of a long thin set of pixels along its principal axis, else None."""
    centre = pixels.mean(0)
    _, vectors = np.linalg.eigh(np.cov((pixels - centre).T))
    along, across = (pixels - centre) @ vectors[:, 1], (pixels - centre) @ vectors[:, 0]
    length = float(np.ptp(along))
    width = len(pixels) / max(length, 1.0)
    if width > _THIN * size_px or length < 4.0 * width:
        return None
    bins = ((along - along.min()) / (length + 1e-6) * 8).astype(int)
    counts = np.bincount(bins, minlength=8)
    if counts.min() == 0:
        return None
    means = np.stack([np.bincount(bins, v, 8) / counts for v in (along, across)], axis=1)
    spread = np.bincount(bins, across**2, 8) / counts - means[:, 1] ** 2
    if spread.max() > (0.6 * width) ** 2 + 1.0:
        return None  # a fork or a ring, not a limb
    means[0, 0], means[-1, 0] = along.min(), along.max()
    return (centre + means @ vectors[:, ::-1].T) / size_px


def _most(values: np.ndarray) -> int:
    return int(np.bincount(values).argmax())
