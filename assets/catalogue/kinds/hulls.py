"""Hulls of sailboats and the cradles they stand on."""

from dataclasses import dataclass

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.curves import Points
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, box, loft, sheet, slab


@dataclass(frozen=True, kw_only=True, slots=True)
class Hull:
    """Lines of a hull along s in [0, 1], stern to bow; its lowest point lies at y = 0."""

    form: str
    length: float
    beam: float
    depth: float
    sheer: float

    @classmethod
    def of(cls, v: Values) -> "Hull":
        """Read the measures of a shape."""
        form = v.text("hull")
        stretch = {"tub": 0.78, "clipper": 1.12, "longship": 1.15}.get(form, 1.0)
        beam = {"tub": 1.25, "clipper": 0.85, "longship": 0.85}.get(form, 1.0) * v.num("beam")
        depth = {"tub": 1.25, "longship": 0.85}.get(form, 1.0) * v.num("depth")
        return cls(
            form=form,
            length=stretch * v.num("length"),
            beam=beam,
            depth=depth,
            sheer=v.num("sheer"),
        )

    def z(self, s: Points) -> Points:
        """Return the position along the boat."""
        return (s - 0.5) * self.length

    def half(self, s: Points) -> Points:
        """Return the half-beam at the sheer."""
        stern = {"double": 0.02, "longship": 0.02, "tub": 0.72, "clipper": 0.5}.get(self.form, 0.7)
        bow = np.clip((s - 0.5) / 0.5, 0, 1)
        aft = np.clip((0.5 - s) / 0.5, 0, 1)
        fine = 2.6 if self.form == "tub" else 2.0
        return self.beam * np.maximum(0.02, (1 - bow**fine) * (1 - (1 - stern) * aft**2.2))

    def top(self, s: Points) -> Points:
        """Return the height of the sheer."""
        away = 2 * s - 1
        curl = 2.6 * np.abs(away) ** 4 if self.form == "longship" else 0.0
        rise = np.where(away > 0, 1.0, 0.5 if self.form != "double" else 0.9)
        return self.depth + self.sheer * (rise * away**2 + curl)

    def keel(self, s: Points) -> Points:
        """Return the height of the keel line."""
        away = 2 * s - 1
        bow = {"clipper": 0.85, "longship": 1.5, "double": 0.6}.get(self.form, 0.45)
        aft = {"clipper": 0.55, "longship": 1.5, "double": 0.6}.get(self.form, 0.18)
        power = 3.0 if self.form in ("longship", "clipper") else 4.0
        return self.depth * np.where(
            away > 0, bow * np.abs(away) ** power, aft * np.abs(away) ** power
        )

    def surface(self) -> trimesh.Trimesh:
        """Return the closed hull, its deck flat from side to side."""
        s = np.concatenate([np.linspace(0, 1, 37)])
        angle = np.linspace(0, np.pi, 25)
        side = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.75
        low = np.sin(angle) ** 0.8
        top, keel = self.top(s), np.minimum(self.keel(s), self.top(s) - 0.02)
        x = self.half(s)[:, None] * side
        y = top[:, None] - (top - keel)[:, None] * low
        return loft(np.stack([x, y, np.broadcast_to(self.z(s)[:, None], x.shape)], -1))

    def deck(self) -> trimesh.Trimesh:
        """Return a thin deck just inside the sheer."""
        s = np.linspace(0.012, 0.985, 30)
        u = np.linspace(-0.93, 0.93, 7)
        x = self.half(s)[:, None] * u
        y = np.broadcast_to((self.top(s) + 0.002)[:, None], x.shape)
        return sheet(np.stack([x, y, np.broadcast_to(self.z(s)[:, None], x.shape)], -1), 0.012)

    def rail(self) -> Points:
        """Return the sheer line of the right side, stern to bow."""
        s = np.linspace(0, 1, 33)
        return np.stack([self.half(s), self.top(s) + 0.006, self.z(s)], -1)


def put_hulls(boat: Assembly, v: Values, hull: Hull) -> float:
    """Add hull or hulls, deck, rails, keel and stand; return how high the hull was lifted."""
    if hull.form == "cat":
        narrow = Hull(
            form="dinghy",
            length=hull.length,
            beam=0.42 * hull.beam,
            depth=hull.depth,
            sheer=hull.sheer,
        )
        for side in (-1, 1):
            x = side * 1.15 * hull.beam
            boat.add("hull", mesh.moved(narrow.surface(), (x, 0, 0)))
            boat.add("trim", mesh.moved(narrow.deck(), (x, 0, 0)))
        boat.add(
            "deck",
            box((2.3 * hull.beam, 0.022, 0.5 * hull.length), (0, hull.depth + 0.014, -0.04), 0.006),
        )
        for z in (-0.27, 0.19):
            boat.add(
                "mast",
                mesh.tapered(
                    0.014,
                    0.014,
                    (-1.25 * hull.beam, hull.depth + 0.014, z * hull.length),
                    (1.25 * hull.beam, hull.depth + 0.014, z * hull.length),
                    12,
                ),
            )
        return 0.0
    lift = _stand(boat, v, hull)
    up = (0, lift, 0)
    boat.add("hull", mesh.moved(hull.surface(), up))
    boat.add("deck", mesh.moved(hull.deck(), up))
    rail = hull.rail()
    boat.add(
        "hull",
        *(mesh.moved(mesh.sweep(rail * (side, 1, 1), 0.0115, segments=10), up) for side in (-1, 1)),
    )
    if hull.form not in ("double", "longship"):
        end = rail[0]
        boat.add("hull", mesh.moved(mesh.tapered(0.0115, 0.0115, end * (-1, 1, 1), end, 10), up))
        boat.add(
            "trim",
            box(
                (0.016, hull.depth * 0.85, 0.06),
                (0, lift + 0.52 * hull.depth, -hull.length / 2 - 0.018),
                0.006,
            ),
        )
        boat.add(
            "trim",
            mesh.tapered(
                0.009,
                0.007,
                (0, lift + hull.depth * 0.9, -hull.length / 2 - 0.02),
                (0, lift + hull.top(np.array([0.0]))[0] + 0.03, -0.36 * hull.length),
                10,
            ),
        )
    if hull.form == "clipper":
        tip = rail[-1]
        boat.add(
            "mast",
            mesh.tapered(
                0.014,
                0.008,
                (0, lift + tip[1] - 0.01, tip[2] - 0.12),
                (0, lift + tip[1] + 0.05, tip[2] + 0.17),
                12,
            ),
        )
    return lift


def _stand(boat: Assembly, v: Values, hull: Hull) -> float:
    """Return a cradle under hulls with a keel; a flat-bottomed hull needs none."""
    if hull.form == "tub" or (hull.form == "dinghy" and not v.flag("keel")):
        boat.add("hull", box((1.0 * hull.beam, 0.03, 0.5 * hull.length), (0, 0.015, 0), 0.01))
        return 0.004
    fin = 0.09 if v.flag("keel") and hull.form in ("clipper", "dinghy") else 0.02
    lift = 0.05 + fin
    if fin > 0.05:
        outline = [(-0.12, lift + 0.02), (-0.09, 0.05), (0.05, 0.05), (0.13, lift + 0.02)]
        boat.add("trim", slab(np.array(outline), 0.024, 0.008, axis="x"))
    for z in (-0.2, 0.2):
        grip = 0.75 * hull.beam
        high = lift + 0.5 * hull.depth
        outline = np.array(
            [
                (-0.8 * hull.beam, 0),
                (0.8 * hull.beam, 0),
                (1.02 * hull.beam, high),
                (grip, high),
                (0.2 * grip, lift + 0.02),
                (-0.2 * grip, lift + 0.02),
                (-grip, high),
                (-1.02 * hull.beam, high),
            ]
        )
        boat.add("mast", slab(outline, 0.026, 0.004, at=z * hull.length))
    boat.add("mast", box((0.05, 0.03, 0.44 * hull.length), (0, 0.015, 0), 0.006))
    return lift
