"""The view of a picture: camera, backdrop, and the lights that its seed stands for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.catalogue.camera import Camera

# As Mitsuba stores it: each end column repeats the one before the other end.
ENVIRONMENT_SHAPE = (16, 32)
# Mid tones, sRGB: pale and dark objects both stand out, none as strong as an object's colour.
BACKDROPS: tuple[tuple[float, float, float], ...] = (
    (0.58, 0.60, 0.62),
    (0.66, 0.63, 0.58),
    (0.50, 0.56, 0.60),
    (0.60, 0.55, 0.52),
    (0.52, 0.58, 0.53),
    (0.62, 0.58, 0.62),
    (0.47, 0.48, 0.52),
    (0.66, 0.60, 0.54),
    (0.56, 0.62, 0.64),
    (0.54, 0.52, 0.49),
)
STUDIO_NUMBERS = (
    "backdrop_red",  # sRGB in [0, 1], as the next two
    "backdrop_green",
    "backdrop_blue",
    "key_azimuth",  # degrees from the camera's azimuth, positive towards its right
    "key_elevation",  # degrees
    "fill_azimuth",
    "fill_elevation",
    "key_strength",
    "fill_strength",
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How an object is photographed.

    Attributes:
        camera: Where from.
        backdrop: Colour of ground and wall, sRGB in [0, 1].
        light: Seed of the lights' positions and strengths.
    """

    camera: Camera
    backdrop: tuple[float, float, float]
    light: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lights:
    """The lights of a view; directions are (azimuth, elevation) in degrees.

    Attributes:
        key: Direction of the main softbox; its azimuth is relative to the camera's.
        fill: Direction of the other softbox, likewise, always on the other side.
        key_strength: Irradiance of the object by the main softbox.
        fill_strength: By the other one.
        sky: The room that surfaces reflect, of `ENVIRONMENT_SHAPE`.
    """

    key: tuple[float, float]
    fill: tuple[float, float]
    key_strength: float
    fill_strength: float
    sky: Floats


def lights_of(view: View) -> Lights:
    """Draw the lights of a view from its seed."""
    rng = np.random.default_rng(view.light)
    side = 1.0 if rng.random() < 0.5 else -1.0
    key = (side * rng.uniform(25, 55), rng.uniform(42, 60))
    fill = (-side * rng.uniform(45, 75), rng.uniform(18, 32))
    key_strength = 3.2 * rng.uniform(0.92, 1.08)
    fill_strength = rng.uniform(0.7, 1.0)
    return Lights(
        key=key, fill=fill, key_strength=key_strength, fill_strength=fill_strength, sky=_sky(rng)
    )


def studio_numbers(view: View) -> tuple[float, ...]:
    """Return the backdrop and the lights of a view as numbers, in the order of `STUDIO_NUMBERS`."""
    lights = lights_of(view)
    strengths = lights.key_strength, lights.fill_strength
    return (*view.backdrop, *lights.key, *lights.fill, *strengths)


def _sky(rng: np.random.Generator) -> Floats:
    """Return a dim room: bright ceiling, darker walls with pale panels for metal to reflect."""
    height, width = ENVIRONMENT_SHAPE
    v = (np.arange(height) + 0.5) / height
    rows = np.interp(v, [0, 0.3, 0.5, 0.6, 1], [0.75, 0.5, 0.32, 0.22, 0.15])
    u = (np.arange(width) + rng.random() * width) / width
    panels = 0.55 + 0.9 * (np.cos(2 * np.pi * 3 * u) > 0.45)
    wall = np.exp(-(((v - 0.36) / 0.16) ** 2))[:, None]
    light = rows[:, None] * (1 - wall + wall * panels)
    return np.repeat(light[..., None], 3, 2).astype(np.float32)
