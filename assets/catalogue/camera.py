"""The camera of a picture, and the framing of an object."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.catalogue.model import Part, Real

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A camera looking at an object, all angles in degrees.

    Attributes:
        azimuth: From the object's front (+z), positive towards +x.
        elevation: Above the horizon.
        roll: About the line of sight.
        fov: Full angle of the square picture.
        margin: Share of the picture's side that stays free on each side of the object.
    """

    azimuth: Real
    elevation: Real
    roll: Real = 0.0
    fov: Real = 30.0
    margin: Real = 0.12


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """A framed camera: its position (3,) and its axes (3, 3), rows right, up, backward."""

    origin: Points
    axes: Points


def axes_of(camera: Camera) -> Points:
    """Return the unit rows right, up, backward (towards the viewer) of a camera."""
    azimuth, elevation, roll = np.radians([camera.azimuth, camera.elevation, camera.roll])
    backward = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )
    right = np.array([np.cos(azimuth), 0, -np.sin(azimuth)])
    up = np.cross(backward, right)
    c, s = np.cos(roll), np.sin(roll)
    return np.stack([c * right + s * up, c * up - s * right, backward])


def frame(points: Points, camera: Camera) -> Pose:
    """Place a camera so that points (n, 3) fill the picture up to its margin, centred."""
    axes = axes_of(camera)
    x, y, z = (points @ axes.T).T
    slope = np.tan(np.radians(camera.fov) / 2) * (1 - 2 * camera.margin)
    sides = [(v + slope * z).max() for v in (x, -x, y, -y)]
    # The eye at (ex, ey, ez) sees x - ex <= slope (ez - z), and so on for the four sides.
    reach_x, reach_y = (sides[0] + sides[1]) / 2, (sides[2] + sides[3]) / 2
    eye = [(sides[0] - sides[1]) / 2, (sides[2] - sides[3]) / 2, max(reach_x, reach_y) / slope]
    return Pose(origin=np.array(eye) @ axes, axes=axes)


def all_points(parts: Sequence[Part]) -> Points:
    """Return the vertices (n, 3) of all parts.

    Raises:
        ValueError: If there is no part.
    """
    if not parts:
        raise ValueError("An object has at least one part, got none.")
    return np.concatenate([np.asarray(part.mesh.vertices) for part in parts])
