"""The studio: an object on a seamless backdrop under soft lights, as one scene that is refilled.

The scene always has the same structure (slots for surfaces and glass, lights, backdrop), so that a
renderer compiles it once; only buffers change from picture to picture. All is scaled so that the
object's bounding sphere has radius 1, and lights and backdrop turn with the camera.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.catalogue import curves, finish, palette, textures
from assets.catalogue.camera import Camera, Pose, all_points, frame
from assets.catalogue.denoise import Traced
from assets.catalogue.engine import look_at, mitsuba, write, write_mesh
from assets.catalogue.lighting import ENVIRONMENT_SHAPE, View, lights_of
from assets.catalogue.mesh import corner_normals
from assets.catalogue.model import Colourway, Finish, Part

NUM_SURFACES, NUM_GLASSES = 6, 2
LIGHTS = (("key", 2.0), ("fill", 0.6))  # with how often a path looks at them
MAX_DEPTH = 8  # four walls of a glass vessel, then a bounce or two
EXPOSURE = 1.3

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Solid:
    """A part ready for rendering: unshared corners in scaled coordinates, 3 a face.

    Attributes:
        part: What it was made from, scaled; its object has radius 1, which textures follow.
        positions: (3 f, 3) in the picture, which may show the object among others.
        normals: (3 f, 3), smooth but for creases.
    """

    part: Part
    positions: Floats
    normals: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedObject:
    """An object ready for any number of pictures; `scale` took it to radius 1."""

    solids: tuple[Solid, ...]
    scale: float


def prepare(parts: Sequence[Part]) -> PreparedObject:
    """Scale an object to radius 1, standing on the ground, and compute its normals."""
    origin, scale = fit(all_points(parts))
    return PreparedObject(solids=tuple(_solid(p, origin, scale) for p in parts), scale=scale)


def fit(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the point (3,) on the ground and the scale that take points (n, 3) to radius 1."""
    low = points.min(0)
    centre = (low + points.max(0)) / 2
    scale = 1 / max(float(np.linalg.norm(points - centre, axis=1).max()), 1e-9)
    return np.array([centre[0], low[1], centre[2]]), scale


def _solid(part: Part, origin: NDArray[np.float64], scale: float) -> Solid:
    mesh = part.mesh.copy()
    mesh.vertices = (np.asarray(part.mesh.vertices) - origin) * scale
    return Solid(
        part=Part(name=part.name, mesh=mesh, uv=part.uv),
        positions=np.asarray(mesh.vertices[mesh.faces], np.float32).reshape(-1, 3),
        normals=corner_normals(mesh).astype(np.float32).reshape(-1, 3),
    )


def coordinates(solid: Solid, look: finish.Look) -> Floats:
    """Return texture coordinates (3 f, 2) of a part in tiles of a look."""
    side = look.side * _shrink(solid) if look.side == finish.PATTERN_SIDE else look.side
    mesh = solid.part.mesh
    if solid.part.uv == "cylinder":
        uv = finish.cylinder_coordinates(mesh, side)
    else:
        uv = finish.box_coordinates(mesh, follows_grain=look.follows_grain)
    return np.asarray(uv / side, np.float32).reshape(-1, 2)


def _shrink(solid: Solid) -> float:
    """Return how much finer a pattern is on a small part than on one as large as the object."""
    corners = solid.part.mesh.triangles.astype(np.float32)
    extent = np.sort(np.ptp(corners, axis=(0, 1)))[1:].mean()
    return float(np.clip(extent / 1.1, 0.35, 1.0))


class Studio:
    """A Mitsuba scene whose buffers are refilled for each picture; make one for each process."""

    def __init__(self) -> None:
        """Build the scene with empty slots; the first picture takes seconds."""
        self._mi = mitsuba()
        mi = self._mi
        shapes: dict[str, Any] = {f"surface{i}": _empty(_surface()) for i in range(NUM_SURFACES)}
        shapes |= {f"glass{i}": _empty(_glass()) for i in range(NUM_GLASSES)}
        shapes |= {name: _empty({"type": "diffuse"}, emits=w) for name, w in LIGHTS}
        backdrop = {"type": "diffuse", "reflectance": {"type": "rgb", "value": [0.3, 0.3, 0.3]}}
        height, width = ENVIRONMENT_SHAPE
        empty_sky = np.ones((height, width - 2, 3), np.float32)  # Mitsuba adds the end columns
        self._scene = mi.load_dict(
            {
                "type": "scene",
                **shapes,
                "backdrop": _empty(backdrop),
                "sky": {"type": "envmap", "bitmap": mi.Bitmap(empty_sky), "sampling_weight": 1.2},
            },
            optimize=False,
        )
        self._values = mi.traverse(self._scene)
        self._loaded: dict[str, tuple[Finish, list[Solid]] | None] = {}
        path = {"type": "path", "max_depth": MAX_DEPTH, "rr_depth": 3, "hide_emitters": True}
        self._path = mi.load_dict(path)
        self._hits = mi.load_dict({"type": "aov", "aovs": "albedo:albedo,normal:sh_normal"})

    def photograph(
        self, prepared: PreparedObject, colourway: Colourway, view: View, *, size_px: int, spp: int
    ) -> Traced:
        """Path-trace a picture, before noise reduction and tone mapping.

        Args:
            prepared: The object.
            colourway: What its parts wear.
            view: Camera, backdrop and lights.
            size_px: Side of the picture.
            spp: Samples a pixel.

        Raises:
            ValueError: If the object needs more slots than the scene has.
        """
        points = np.concatenate([solid.positions for solid in prepared.solids]).astype(float)
        pose = frame(points, view.camera)
        self._dress(prepared, colourway)
        self._light(view)
        self._values.update()
        sensor = self._sensor(pose, view.camera, size_px)
        # One pass of both costs twice as much; the same seed gives both the same pixel samples.
        light, hits = (
            np.array(
                self._mi.render(
                    self._scene, sensor=sensor, integrator=integrator, spp=spp, seed=view.light
                ),
                np.float32,
            )
            for integrator in (self._path, self._hits)
        )
        return Traced(
            light=light[..., :3] * EXPOSURE,
            albedo=np.nan_to_num(hits[..., :3]),
            normals=np.nan_to_num(hits[..., 3:6]),
        )

    def _sensor(self, pose: Pose, camera: Camera, size_px: int) -> Any:  # noqa: ANN401
        sensor = _sensor(size_px, float(camera.fov))
        values = self._mi.traverse(sensor)
        values["to_world"] = look_at(pose.origin, pose.axes)
        values.update()
        return sensor

    def _dress(self, prepared: PreparedObject, colourway: Colourway) -> None:
        wearers: dict[Finish, list[Solid]] = {}
        for solid in prepared.solids:
            wearers.setdefault(colourway.finish_of(solid.part.name), []).append(solid)
        glasses = {f: s for f, s in wearers.items() if f.material == "glass"}
        surfaces = {f: s for f, s in wearers.items() if f.material != "glass"}
        _check_slots(surfaces, NUM_SURFACES, "surfaces")
        _check_slots(glasses, NUM_GLASSES, "glasses")
        slots = ("surface", NUM_SURFACES, surfaces), ("glass", NUM_GLASSES, glasses)
        for name, limit, worn in slots:
            items = list(worn.items())
            for i in range(limit):
                self._hand_out(f"{name}{i}", items[i] if i < len(items) else None)

    def _hand_out(self, slot: str, item: tuple[Finish, list[Solid]] | None) -> None:
        """Fill a slot, unless it holds the same item since the last picture."""
        before = self._loaded.get(slot)
        self._loaded[slot] = item
        if item is None:
            if before is not None:
                self._set_mesh(slot, *_NOWHERE)
        elif before is None or not _is_same(before, item):
            self._fill_slot(slot, *item)

    def _fill_slot(self, slot: str, worn: Finish, solids: Sequence[Solid]) -> None:
        look = finish.look(worn)
        uv = np.concatenate([coordinates(solid, look) for solid in solids])
        positions = np.concatenate([solid.positions for solid in solids])
        normals = np.concatenate([solid.normals for solid in solids])
        self._set_mesh(slot, positions, normals, uv)
        if worn.material == "glass":
            tint = [float(x) for x in finish.transmittance(worn.colour)]
            self._write(f"{slot}.bsdf.specular_transmittance.value", self._mi.Color3f(*tint))
            return
        surface, inner = look.surface, f"{slot}.bsdf."
        self._write(inner + "base_color.data", look.tile)
        self._write(inner + "specular", surface.specular)
        for name in ("roughness", "metallic", "sheen", "clearcoat", "clearcoat_gloss"):
            self._write(f"{inner}{name}.value", getattr(surface, name))

    def _write(self, name: str, value: object) -> None:
        write(self._values, name, value)

    def _set_mesh(self, slot: str, positions: Floats, normals: Floats, uv: Floats) -> None:
        buffers = {"positions": positions, "normals": normals, "texcoords": uv}
        write_mesh(self._values, f"{slot}.", **buffers)

    def _light(self, view: View) -> None:
        lights = lights_of(view)
        turn = float(view.camera.azimuth)
        key, fill = ((turn + a, e) for a, e in (lights.key, lights.fill))
        self._softbox("key", key, half=1.15, irradiance=lights.key_strength)
        self._softbox("fill", fill, half=1.2, irradiance=lights.fill_strength)
        self._write("sky.data", lights.sky)
        wall = [float(x) for x in palette.linear(np.array(view.backdrop))]
        self._write("backdrop.bsdf.reflectance.value", self._mi.Color3f(*wall))
        self._set_mesh("backdrop", *_backdrop(turn))

    def _softbox(
        self, slot: str, direction: tuple[float, float], *, half: float, irradiance: float
    ) -> None:
        distance = 4.6
        centre, corners = _square(direction, distance, half)
        normals = np.broadcast_to(-centre / distance, corners.shape).astype(np.float32)
        self._set_mesh(slot, corners, normals, np.zeros((6, 2), np.float32))
        warmth = np.array([1.02, 1.0, 0.96]) if slot == "key" else np.array([0.97, 1.0, 1.04])
        radiance = irradiance * distance**2 / (2 * half) ** 2 / np.pi * warmth
        self._write(f"{slot}.emitter.radiance.value", self._mi.Color3f(*map(float, radiance)))


@lru_cache(maxsize=8)
def _sensor(size_px: int, fov: float) -> Any:  # noqa: ANN401
    film = {
        "type": "hdrfilm",
        "width": size_px,
        "height": size_px,
        "pixel_format": "rgb",
        "component_format": "float32",
        "rfilter": {"type": "box"},
    }
    return mitsuba().load_dict(
        {"type": "perspective", "fov": fov, "film": film, "sampler": {"type": "multijitter"}}
    )


def _is_same(a: tuple[Finish, list[Solid]], b: tuple[Finish, list[Solid]]) -> bool:
    alike = len(a[1]) == len(b[1]) and all(x is y for x, y in zip(a[1], b[1], strict=True))
    return a[0] == b[0] and alike


def _check_slots(worn: Mapping[Finish, object], limit: int, name: str) -> None:
    if len(worn) > limit:
        raise ValueError(f"A colourway wears at most {limit} {name}, got {len(worn)}.")


_NOWHERE = (
    np.array([[0, -9, 0], [0.01, -9, 0], [0, -9, 0.01]], np.float32),
    np.array([[0, 1, 0]] * 3, np.float32),
    np.array([[0, 0], [1, 0], [0, 1]], np.float32),
)


def _empty(bsdf: dict[str, Any], *, emits: float = 0.0) -> Any:  # noqa: ANN401
    mi = mitsuba()
    props = mi.Properties()
    props["mesh_bsdf"] = mi.load_dict(bsdf)
    if emits:
        radiance = {"type": "rgb", "value": [1.0, 1.0, 1.0]}
        props["mesh_emitter"] = mi.load_dict(
            {"type": "area", "radiance": radiance, "sampling_weight": emits}
        )
    mesh = mi.Mesh("slot", 3, 1, props=props, has_vertex_normals=True, has_vertex_texcoords=True)
    values = mi.traverse(mesh)
    write_mesh(
        values, "", **dict(zip(("positions", "normals", "texcoords"), _NOWHERE, strict=True))
    )
    values.update()
    return mesh


def _surface() -> dict[str, Any]:
    """Return the one bsdf all surfaces share, with every lobe it will ever need."""
    size = textures.SIZE
    return {
        "type": "principled",
        "base_color": _bitmap(np.full((size, size, 3), 0.5)),
        "roughness": 0.5,
        "metallic": 0.1,
        "specular": 0.5,
        "sheen": 0.3,
        "sheen_tint": 0.5,
        "clearcoat": 0.3,
        "clearcoat_gloss": 0.9,
    }


def _glass() -> dict[str, Any]:
    tint = {"type": "rgb", "value": [0.9, 0.9, 0.9]}
    return {"type": "thindielectric", "specular_transmittance": tint}


def _bitmap(values: NDArray[np.float64]) -> dict[str, Any]:
    bitmap = mitsuba().Bitmap(np.ascontiguousarray(values, np.float32))
    return {"type": "bitmap", "bitmap": bitmap, "raw": True}


def _square(
    direction: tuple[float, float], distance: float, half: float
) -> tuple[NDArray[np.float64], Floats]:
    """Return centre and corners (6, 3) of two triangles facing the object from a direction."""
    a, e = np.radians(direction)
    towards = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.array([np.cos(a), 0, -np.sin(a)])
    up = np.cross(towards, right)
    centre = distance * towards
    corner = [centre + half * (i * right + j * up) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    # Anticlockwise seen from behind: the front faces the object.
    return centre, np.array([corner[i] for i in (0, 2, 1, 0, 3, 2)], np.float32)


@lru_cache(maxsize=1)
def _backdrop_profile() -> NDArray[np.float64]:
    floor = [(11.0, -0.0005), (-2.6, -0.0005)]
    bend = curves.arc(3.0, -90, -180, 20) + np.array([-2.6, 2.9995])
    return np.concatenate([floor, bend[1:], [(-5.6, 14.0)]])


@lru_cache(maxsize=16)
def _backdrop(azimuth: float) -> tuple[Floats, Floats, Floats]:
    """Return a floor that bends up into a wall, behind the object as seen from `azimuth`."""
    profile = _backdrop_profile()
    x = np.array([-16.0, 16.0])
    z, y = profile.T
    grid = np.stack(np.broadcast_arrays(x[None], y[:, None], z[:, None]), -1)
    along = np.gradient(profile, axis=0)
    tangent = along / np.linalg.norm(along, axis=1, keepdims=True)
    normal = np.stack([np.zeros(len(z)), -tangent[:, 0], tangent[:, 1]], 1)
    normals = np.repeat(normal[:, None], 2, 1)
    quad = [(slice(None, -1), 0), (slice(None, -1), 1), (slice(1, None), 1), (slice(1, None), 0)]
    order = [quad[i] for i in (0, 1, 2, 0, 2, 3)]
    a = np.radians(azimuth)
    turn = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    points = np.stack([grid[i] for i in order], 1).reshape(-1, 3) @ turn
    facing = np.stack([normals[i] for i in order], 1).reshape(-1, 3) @ turn
    return (
        points.astype(np.float32),
        facing.astype(np.float32),
        np.zeros((len(points), 2), np.float32),
    )
