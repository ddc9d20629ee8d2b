"""The types of cars and the measures of one car."""

from dataclasses import dataclass

import numpy as np

from assets.catalogue.curves import Points, Real, catmull_rom
from assets.catalogue.kinds.furniture import Values


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How a type of car is drawn, in shares of its length (0 is the middle) and of its belt height.

    `top` is the upper edge of the lower body, rows of (z, height); `house` holds where the
    windscreen starts and ends and where the roof and the rear window end, front to back.
    """

    words: str
    top: tuple[tuple[float, float], ...]
    house: tuple[float, float, float, float]
    length: tuple[float, float] = (1.1, 1.3)
    belt: float = 0.36
    cabin: float = 0.2
    wheel: float = 0.125
    nose: float = 0.06
    lean: float = 0.14
    axles: tuple[float, float] = (0.3, -0.3)


STYLES: dict[str, Style] = {
    "hatchback": Style(
        words="a short hatchback tail",
        top=((-0.5, 0.95), (-0.45, 1.0), (0.2, 1.0), (0.36, 0.86), (0.5, 0.74)),
        house=(0.24, 0.06, -0.38, -0.46),
        length=(0.98, 1.14),
    ),
    "sedan": Style(
        words="a separate boot and bonnet",
        top=((-0.5, 0.88), (-0.46, 0.96), (-0.28, 1.0), (0.2, 1.0), (0.3, 0.9), (0.5, 0.8)),
        house=(0.22, 0.07, -0.18, -0.31),
        length=(1.25, 1.45),
    ),
    "estate": Style(
        words="a long estate roof",
        top=((-0.5, 0.98), (0.18, 1.0), (0.3, 0.9), (0.5, 0.8)),
        house=(0.22, 0.1, -0.45, -0.485),
        length=(1.2, 1.4),
    ),
    "van": Style(
        words="a tall van body",
        top=((-0.5, 1.0), (0.3, 1.0), (0.44, 0.92), (0.5, 0.72)),
        house=(0.455, 0.33, -0.47, -0.49),
        length=(1.1, 1.35),
        belt=0.42,
        cabin=0.3,
        lean=0.07,
        axles=(0.31, -0.3),
    ),
    "pickup": Style(
        words="an open loading bed",
        top=((-0.5, 0.62), (-0.17, 0.62), (-0.15, 1.0), (0.22, 1.0), (0.3, 0.94), (0.5, 0.86)),
        house=(0.25, 0.11, -0.11, -0.135),
        length=(1.25, 1.45),
        belt=0.38,
        wheel=0.14,
    ),
    "beetle": Style(
        words="a round beetle shape",
        top=(
            (-0.5, 0.5),
            (-0.42, 0.8),
            (-0.3, 1.0),
            (0.15, 1.0),
            (0.3, 0.92),
            (0.43, 0.74),
            (0.5, 0.5),
        ),
        house=(0.2, 0.08, -0.2, -0.36),
        length=(1.0, 1.15),
        belt=0.37,
        cabin=0.21,
        nose=0.12,
        lean=0.22,
    ),
    "convertible": Style(
        words="an open top",
        top=(
            (-0.5, 0.86),
            (-0.27, 1.0),
            (-0.25, 0.62),
            (0.1, 0.62),
            (0.12, 1.0),
            (0.3, 0.92),
            (0.5, 0.76),
        ),
        house=(0.16, 0.05, 0.0, -0.02),
        length=(1.15, 1.4),
    ),
    "sports": Style(
        words="a low wedge-shaped sporty body",
        top=((-0.5, 1.02), (-0.4, 1.06), (0.1, 0.92), (0.3, 0.72), (0.5, 0.46)),
        house=(0.2, -0.04, -0.2, -0.42),
        length=(1.25, 1.45),
        belt=0.3,
        cabin=0.15,
        wheel=0.135,
        lean=0.2,
    ),
    "jeep": Style(
        words="a boxy off-road body",
        top=((-0.5, 1.0), (0.12, 1.0), (0.14, 0.95), (0.5, 0.92)),
        house=(0.13, 0.09, -0.44, -0.47),
        length=(1.05, 1.2),
        belt=0.44,
        cabin=0.2,
        wheel=0.165,
        nose=0.025,
        lean=0.03,
        axles=(0.31, -0.29),
    ),
}


class Plan:
    """The measures of a car, in metres, worked out once from its values."""

    def __init__(self, v: Values) -> None:
        """Work out the measures."""
        style = STYLES[v.text("style")]
        self.name, self.style = v.text("style"), style
        self.length, self.width = v.num("length"), v.num("width")
        self.half = self.width / 2
        self.hub = self.half - 0.05  # how far axles reach
        self.wheel = style.wheel * v.num("wheel")
        self.arch = 1.17 * self.wheel
        self.floor = 0.55 * self.wheel if self.name != "jeep" else 0.85 * self.wheel
        self.belt = style.belt * v.num("belt")
        self.roof = self.belt + style.cabin * v.num("cabin")
        self.axles = tuple(z * self.length + 0.3 * v.num("shift") for z in style.axles)
        self.soft = v.num("softness") if self.name != "jeep" else 0.03
        self.flares = v.flag("flares")
        front, screen, rear, tail = style.house
        shift, slope = v.num("shift"), v.num("slope")
        self.house = tuple(
            self.length * z
            for z in (front + 0.5 * shift, screen + shift + slope, rear + shift, tail)
        )

    def top(self, z: Points) -> Points:
        """Return the height of the lower body's upper edge at positions z."""
        control = np.array(self.style.top)
        if self.name not in ("pickup", "convertible", "jeep"):
            control = catmull_rom(control, 6)
        return self.belt * np.interp(z / self.length, control[:, 0], control[:, 1])

    def wall(self, y: Real) -> float:
        """Return the half-width of the cabin at a height."""
        t = (y - self.belt) / (self.roof - self.belt)
        return (self.half - 0.035) * (1 - self.style.lean * t)
