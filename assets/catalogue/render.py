"""Pictures and buffers of an object: parts and a view in, arrays out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.catalogue import palette, scene
from assets.catalogue.camera import Camera, frame
from assets.catalogue.denoise import denoised
from assets.catalogue.engine import look_at, mitsuba, write_mesh
from assets.catalogue.lighting import View
from assets.catalogue.model import Colourway, Part
from assets.catalogue.scene import PreparedObject

__all__ = ["Buffers", "Camera", "Render", "View", "buffers", "prepare", "render", "tone_mapped"]

SHOULDER = 0.62  # linear light above which highlights roll off
prepare = scene.prepare


@dataclass(frozen=True, kw_only=True, slots=True)
class Buffers:
    """What is visible at each pixel's centre, rows from the top.

    Attributes:
        part_ids: uint8 (H, W), 0 for the background, i + 1 for `parts[i]`.
        depth: float32 (H, W) along the line of sight in the object's units, inf for background.
        normals: float32 (H, W, 3) in camera space (right, up, towards the viewer), unit length, 0
            for the background.
    """

    part_ids: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Render:
    """A picture, uint8 sRGB (H, W, 3), and the buffers of the same camera."""

    image: NDArray[np.uint8]
    buffers: Buffers


def render(
    parts: Sequence[Part] | PreparedObject, colourway: Colourway, view: View, size_px: int, spp: int
) -> Render:
    """Path-trace an object in the studio.

    Args:
        parts: The object; prepare it once where it is rendered several times.
        colourway: What its parts wear.
        view: Camera, backdrop and lights.
        size_px: Side of the picture.
        spp: Samples a pixel; 12 for training, 25 and more for show.

    Raises:
        ValueError: If there is no part, or a colourway needs more slots than the scene has.
        ImportError: If mitsuba is not installed.
    """
    prepared = parts if isinstance(parts, PreparedObject) else prepare(parts)
    traced = _studio().photograph(prepared, colourway, view, size_px=size_px, spp=spp)
    return Render(
        image=tone_mapped(denoised(traced)), buffers=buffers(prepared, view.camera, size_px)
    )


def buffers(parts: Sequence[Part] | PreparedObject, camera: Camera, size_px: int) -> Buffers:
    """Cast one ray through each pixel's centre.

    Raises:
        ValueError: If there is no part, or more than 255.
    """
    prepared = parts if isinstance(parts, PreparedObject) else prepare(parts)
    if len(prepared.solids) > 255:
        raise ValueError(f"An object has at most 255 parts, got {len(prepared.solids)}.")
    return _surveyor().survey(prepared, camera, size_px)


def tone_mapped(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn linear light (H, W, 3) into sRGB, highlights rolled off.

    Below the shoulder nothing changes, so that colours keep their names.
    """
    room = 1 - SHOULDER
    rolled = SHOULDER + room * (1 - np.exp(-np.maximum(light - SHOULDER, 0) / room))
    mapped = np.where(light > SHOULDER, rolled, light)
    return np.round(palette.encoded(mapped) * 255).astype(np.uint8)


class _Surveyor:
    """A scene of one mesh whose buffers are refilled, rendered by an integrator of first hits."""

    def __init__(self) -> None:
        mi = mitsuba()
        self._mesh = mi.Mesh("object", 3, 1, has_vertex_normals=True)
        self._fill(np.eye(3, dtype=np.float32) * 0.01, np.eye(3, dtype=np.float32))
        self._scene = mi.load_dict({"type": "scene", "object": self._mesh}, optimize=False)
        self._values = mi.traverse(self._scene)
        self._loaded: PreparedObject | None = None
        aovs = "depth:depth,normal:sh_normal,face:prim_index"
        self._integrator = mi.load_dict({"type": "aov", "aovs": aovs})

    def _fill(self, positions: NDArray[np.float32], normals: NDArray[np.float32]) -> None:
        values = mitsuba().traverse(self._mesh)
        write_mesh(values, "", positions=positions, normals=normals)
        values.update()

    def survey(self, prepared: PreparedObject, camera: Camera, size_px: int) -> Buffers:
        mi = mitsuba()
        positions = np.concatenate([solid.positions for solid in prepared.solids])
        normals = np.concatenate([solid.normals for solid in prepared.solids])
        owner = np.repeat(
            np.arange(1, len(prepared.solids) + 1, dtype=np.uint8),
            [len(solid.positions) // 3 for solid in prepared.solids],
        )
        if self._loaded is not prepared:
            write_mesh(self._values, "object.", positions=positions, normals=normals)
            self._values.update()
            self._loaded = prepared
        pose = frame(positions.astype(float), camera)
        sensor = _plain_sensor(size_px, float(camera.fov))
        values = mi.traverse(sensor)
        values["to_world"] = look_at(pose.origin, pose.axes)
        values.update()
        first_hits = np.array(
            mi.render(self._scene, sensor=sensor, integrator=self._integrator, spp=1)
        )
        return _buffers(first_hits, owner, pose.axes, camera, prepared.scale)


def _buffers(
    values: NDArray[np.float32],
    owner: NDArray[np.uint8],
    axes: NDArray[np.float64],
    camera: Camera,
    scale: float,
) -> Buffers:
    distance = values[..., 0]
    is_object = distance > 0
    face = np.where(is_object, values[..., 4], 0).astype(np.int64)
    size = len(distance)
    at = ((np.arange(size) + 0.5) / size * 2 - 1) * np.tan(np.radians(camera.fov) / 2)
    straight = 1 / np.sqrt(1 + at[None] ** 2 + at[:, None] ** 2)
    normals = values[..., 1:4] @ axes.T
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    # A normal turned away from the viewer belongs to the inside of a thin wall.
    normals *= np.where(normals[..., 2:] < -0.3, -1, 1)
    return Buffers(
        part_ids=np.where(is_object, owner[face], 0).astype(np.uint8),
        depth=np.where(is_object, distance * straight / scale, np.inf).astype(np.float32),
        normals=np.where(is_object[..., None], normals, 0).astype(np.float32),
    )


@lru_cache(maxsize=1)
def _studio() -> scene.Studio:
    return scene.Studio()


@lru_cache(maxsize=1)
def _surveyor() -> _Surveyor:
    return _Surveyor()


@lru_cache(maxsize=8)
def _plain_sensor(size_px: int, fov: float) -> Any:  # noqa: ANN401
    film = {
        "type": "hdrfilm",
        "width": size_px,
        "height": size_px,
        "pixel_format": "rgb",
        "component_format": "float32",
        "rfilter": {"type": "box"},
    }
    # One sample a pixel, at its centre.
    sampler = {"type": "stratified", "sample_count": 1, "jitter": False}
    return mitsuba().load_dict(
        {"type": "perspective", "fov": fov, "film": film, "sampler": sampler}
    )
