"""Rigs of sailboats: masts, spars and sails, one function for each rig."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.curves import Points, Real
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.hulls import Hull
from assets.catalogue.kinds.lofts import Assembly, patch, sheet, vec


@dataclass(frozen=True, kw_only=True, slots=True)
class Rig:
    """What a rig is set on: boat, measures, height of the deck, swing of the booms in radians."""

    boat: Assembly
    v: Values
    hull: Hull
    deck: float
    bend: float

    @property
    def height(self) -> float:
        """The mast's length above the deck."""
        return self.v.num("mast") * 0.88

    @property
    def foot(self) -> float:
        """Where the main mast stands."""
        return self.v.num("place") * self.hull.length + 0.06

    def mast(self, z: Real, height: Real) -> "Mast":
        """Step a mast and return it."""
        rake = self.v.num("rake") * height
        top = np.array((0.0, self.deck + height, z - rake))
        self.boat.add(
            "mast",
            mesh.tapered(0.017, 0.009, (0, self.deck - 0.03, z), top, 16),
            mesh.superellipsoid((0.026, 0.026, 0.026), 2, top, 6),
        )
        if self.v.flag("flag"):
            corners = [
                top + vec(0, 0.002, 0),
                top - vec(0, 0.062, 0),
                top - vec(0.02, 0.034, 0.14),
                top - vec(0.02, 0.028, 0.14),
            ]
            self.boat.add("trim", sheet(patch(corners, 6, 6), 0.006))
        return Mast(z=z, deck=self.deck, height=height, rake=rake)

    def aft(self, origin: Points, reach: Real, rise: Real = 0.0) -> Points:
        """Return the end of a spar of length `reach` swung out to the right of astern."""
        return origin + vec(np.sin(self.bend) * reach, rise, -np.cos(self.bend) * reach)

    def sail(self, corners: list[Points], round_edge: Real = 0.04) -> None:
        """Set a sail: corners tack, clew, peak, throat; clew to peak is the free edge."""
        grid = patch(np.array(corners), 18, 14)
        u, w = np.linspace(0, 1, 14)[None, :], np.linspace(0, 1, 18)[:, None]
        side = np.cross(grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0])
        side *= np.sign(side[0]) / np.linalg.norm(side)
        size = np.linalg.norm(grid[0, -1] - grid[0, 0])
        belly = (
            self.v.num("belly")
            * 2.2
            * size
            * np.sin(np.pi * u**0.8)
            * np.sin(np.pi * np.clip(w * 0.96 + 0.02, 0, 1)) ** 0.7
        )
        grid = grid + belly[..., None] * side
        away = (grid[0, -1] - grid[0, 0]) / size
        grid = grid + (round_edge * size * 2 * u**2 * np.sin(np.pi * w))[..., None] * away
        self.boat.add("sails", sheet(grid, 0.007))


@dataclass(frozen=True, kw_only=True, slots=True)
class Mast:
    """A mast: where it stands and how it leans."""

    z: float
    deck: float
    height: float
    rake: float

    def at(self, share: Real) -> Points:
        """Return the point at a share of its length."""
        return np.array((0.0, self.deck + share * self.height, self.z - share * self.rake))


def _triangle(rig: Rig, mast: Mast, reach: Real, low: Real = 0.12, high: Real = 0.97) -> None:
    """Return a triangular sail with its boom."""
    tack = mast.at(low)
    clew = rig.aft(tack, reach, 0.01)
    rig.boat.add("mast", mesh.tapered(0.011, 0.009, tack, rig.aft(tack, 1.04 * reach, 0.01), 12))
    peak = mast.at(high)
    rig.sail([tack, clew, peak + vec(0.004, -0.004, -0.012), peak], 0.09)


def _four(rig: Rig, mast: Mast, reach: Real, low: Real = 0.12, high: Real = 0.74) -> None:
    """Return a gaff sail with boom and gaff."""
    tack, throat = mast.at(low), mast.at(high)
    clew = rig.aft(tack, reach, 0.01)
    peak = rig.aft(throat, 0.62 * reach, 0.42 * reach)
    rig.boat.add("mast", mesh.tapered(0.011, 0.009, tack, rig.aft(tack, 1.04 * reach, 0.01), 12))
    rig.boat.add("mast", mesh.tapered(0.01, 0.007, throat, throat + 1.06 * (peak - throat), 12))
    rig.sail([tack, clew, peak, throat], 0.05)


def _jib(rig: Rig, mast: Mast, high: Real, reach: Real = 1.0) -> None:
    """Return a headsail on a stay from the bow."""
    bow = np.array(
        (
            0.0,
            rig.deck - rig.hull.depth + rig.hull.top(np.array([1.0]))[0] + 0.012,
            0.485 * rig.hull.length,
        )
    )
    if rig.hull.form == "clipper":
        bow = bow + vec(0, 0.035, 0.16)
    if rig.hull.form == "cat":
        bow = np.array((0.0, rig.deck + 0.02, 0.19 * rig.hull.length + 0.1))
        rig.boat.add(
            "mast",
            mesh.tapered(0.012, 0.009, (0, rig.deck + 0.014, 0.0), bow + vec(0, 0, 0.01), 12),
        )
    head = mast.at(high)
    rig.boat.add("mast", mesh.tapered(0.005, 0.005, bow - vec(0, 0.012, 0), head, 8))
    tack, peak = bow + 0.06 * (head - bow), bow + 0.95 * (head - bow)
    clew = np.array(
        (
            0.08 * reach + 0.5 * np.sin(rig.bend) * reach * 0.3,
            mast.at(0.16)[1],
            mast.z + (bow[2] - mast.z) * (1 - reach) * 0.6 + 0.01,
        )
    )
    rig.sail([tack, clew, peak + vec(0.004, -0.006, -0.01), peak], 0.0)


def _bermuda(rig: Rig) -> None:
    _triangle(rig, rig.mast(rig.foot + 0.14 * rig.hull.length, rig.height), 0.62 * rig.hull.length)


def _sloop(rig: Rig) -> None:
    mast = rig.mast(rig.foot, rig.height)
    _triangle(rig, mast, 0.5 * rig.hull.length)
    _jib(rig, mast, 0.6 + 0.38 * rig.v.num("jib"), rig.v.num("jib"))


def _gaff(rig: Rig) -> None:
    mast = rig.mast(rig.foot, 0.85 * rig.height)
    _four(rig, mast, 0.52 * rig.hull.length)
    if rig.v.flag("twin"):
        _jib(rig, mast, 0.92, rig.v.num("jib"))


def _square(rig: Rig) -> None:
    mast = rig.mast(rig.foot - 0.03, 0.85 * rig.height)
    half = (0.36 if rig.v.flag("twin") else 0.42) * rig.hull.length
    turn = 1.05 + rig.bend
    way = np.array((np.cos(turn), 0.0, np.sin(turn)))
    tiers = ((0.2, 0.9),) if not rig.v.flag("twin") else ((0.18, 0.58), (0.63, 0.94))
    for k, (low, high) in enumerate(tiers):
        wide = half * (1 - 0.22 * k)
        top, bottom = mast.at(high) + vec(0.02, 0, 0), mast.at(low) + vec(0.02, 0, 0)
        for spot in (top, bottom):
            rig.boat.add(
                "mast",
                mesh.tapered(0.01, 0.01, spot - 1.05 * wide * way, spot + 1.05 * wide * way, 12),
            )
        rig.sail(
            [
                bottom - wide * way,
                bottom + wide * way,
                top + 0.92 * wide * way,
                top - 0.92 * wide * way,
            ],
            0.0,
        )


def _lateen(rig: Rig) -> None:
    mast = rig.mast(rig.foot + 0.04, 0.66 * rig.height)
    hang = mast.at(0.94)
    slope = np.array((0.03, 0.75, -0.66)) if rig.v.flag("twin") else np.array((0.03, 0.55, -0.83))
    long = 1.05 * rig.hull.length
    low, high = hang - 0.42 * long * slope, hang + 0.62 * long * slope
    low[1] = max(low[1], rig.deck + 0.07)
    rig.boat.add("mast", mesh.tapered(0.011, 0.008, low, high, 12))
    clew = rig.aft(np.array((0.0, rig.deck + 0.1, mast.z)), 0.5 * rig.hull.length)
    rig.sail([low, clew, high + vec(0.004, -0.008, -0.004), high], 0.03)


def _junk(rig: Rig) -> None:
    spots = (
        [(rig.foot, 1.0, 0.46)]
        if not rig.v.flag("twin")
        else [(0.2 * rig.hull.length, 0.72, 0.3), (-0.12 * rig.hull.length, 0.95, 0.36)]
    )
    for z, tall, wide in spots:
        mast = rig.mast(z, tall * 0.8 * rig.height)
        reach, bars = wide * rig.hull.length, 5
        lines = []
        for k in range(bars + 1):
            t = k / bars
            luff = mast.at(0.14 + 0.78 * t) + vec(0.012, 0, 0)
            luff = luff - rig.aft(np.zeros(3), 0.18 * reach * (1 - 0.3 * t))
            spread = 1.2 * reach * (1 - 0.28 * t**2)
            lines.append((luff, rig.aft(luff, spread, (0.03 + 0.3 * t**1.5) * reach)))
        for luff, leech in lines:
            rig.boat.add("mast", mesh.tapered(0.008, 0.007, luff, leech, 10))
        for (a, b), (d, c) in pairwise(lines):
            grid = patch([a, b, c, d], 7, 8)
            w = np.linspace(0, 1, 7)[:, None] * np.ones((1, 8))
            grid[..., 0] += 0.02 * np.sin(np.pi * w)
            rig.boat.add("sails", sheet(grid, 0.007))


def _ketch(rig: Rig) -> None:
    mast = rig.mast(rig.foot + 0.05 * rig.hull.length, rig.height)
    _triangle(rig, mast, 0.38 * rig.hull.length)
    _triangle(
        rig,
        rig.mast(-0.3 * rig.hull.length, (0.55 + 0.15 * rig.v.num("jib")) * rig.height),
        0.26 * rig.hull.length,
        0.14,
    )
    if rig.v.flag("twin"):
        _jib(rig, mast, 0.94, rig.v.num("jib"))


def _schooner(rig: Rig) -> None:
    fore = rig.mast(0.18 * rig.hull.length, 0.82 * rig.height)
    main = rig.mast(-0.12 * rig.hull.length, 0.92 * rig.height)
    _four(rig, fore, 0.25 * rig.hull.length)
    _four(rig, main, 0.4 * rig.hull.length)
    if rig.v.flag("twin"):
        _jib(rig, fore, 0.92, 0.8)


def _spinnaker(rig: Rig) -> None:
    mast = rig.mast(rig.foot - 0.04, rig.height)
    _triangle(rig, mast, 0.46 * rig.hull.length, high=0.98)
    head = mast.at(0.95) + vec(0.012, 0, 0.012)
    end = np.array((0.02, rig.deck + 0.2 * rig.height, mast.z + 0.5 * rig.hull.length))
    pole = mast.at(0.2)
    rig.boat.add("mast", mesh.tapered(0.009, 0.008, pole, end, 10))
    clew = mast.at(0.16) + vec(0.3 * rig.hull.length, 0, 0.05)
    u, w = np.linspace(0, 1, 16)[None, :, None], np.linspace(0, 1, 20)[:, None, None]
    wide = np.sin(0.5 * np.pi * np.clip(1.02 - w, 0, 1)) ** 0.65
    foot = end + u * (clew - end)
    middle = (end + clew) / 2
    grid = head * w + (1 - w) * middle + (foot - middle) * wide
    out = np.array((0.45, 0.12, 0.85))
    grid = grid + (0.2 + 1.2 * rig.v.num("belly")) * rig.hull.length * out * np.sin(
        np.pi * np.clip(w, 0, 1)
    ) ** 0.8 * (0.35 + 0.65 * np.sin(np.pi * u))
    rig.boat.add("sails", sheet(grid, 0.007))


SET = {
    "bermuda": _bermuda,
    "sloop": _sloop,
    "gaff": _gaff,
    "square": _square,
    "lateen": _lateen,
    "junk": _junk,
    "ketch": _ketch,
    "schooner": _schooner,
    "spinnaker": _spinnaker,
}
