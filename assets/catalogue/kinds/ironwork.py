"""The park bench: slats on curved iron sides."""

import numpy as np

from assets.catalogue.curves import Points
from assets.catalogue.kinds.furniture import TubeSection, Values, curve, tube
from assets.catalogue.kinds.legs import Meshes
from assets.catalogue.mesh import rounded_box


def park_bench(v: Values) -> dict[str, Meshes]:
    """Build slats on two or three curved iron sides."""
    wide, deep, high = v.num("width"), v.num("depth") + 0.08, v.num("height")
    tall, lean = v.num("back_height"), 0.06 + 0.5 * v.num("rake")
    z = deep / 2
    profile = curve(
        [
            (z, high - 0.02),
            (z * 0.3, high - 0.045),
            (-z * 0.6, high - 0.04),
            (-z - 0.02, high + 0.1),
            (-z - lean, high + tall),
        ],
        40,
    )
    step = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(profile, axis=0).T))])
    count = 7 + v.count("bars")
    seat: Meshes = []
    back: Meshes = []
    for along in np.linspace(0.02, step[-1] - 0.02, count):
        w, y = (float(np.interp(along, step, profile[:, axis])) for axis in (0, 1))
        ahead = [
            float(np.interp(along + 0.01, step, profile[:, axis]))
            - float(np.interp(along - 0.01, step, profile[:, axis]))
            for axis in (0, 1)
        ]
        board = rounded_box((wide, 0.02, step[-1] / count * 0.74), 0.006)
        tilt = np.arctan2(ahead[1], -ahead[0])
        turn = np.array(
            [[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]]
        )
        board.vertices = board.vertices @ turn + (0, y, w)
        (back if y > high + 0.04 else seat).append(board)
    positions = (
        (-wide / 2 + 0.07, wide / 2 - 0.07)
        if wide < 1.3
        else (-wide / 2 + 0.07, 0.0, wide / 2 - 0.07)
    )
    frame = [mesh for x in positions for mesh in _iron_side(v, profile, x, is_outer=bool(x))]
    return {"seat": seat, "back": back, "frame": frame}


def _iron_side(v: Values, profile: Points, x: float, *, is_outer: bool) -> Meshes:
    high, z = v.num("height"), float(profile[0, 0])
    iron = TubeSection(power=5.0, across=1.3, along=1.0)
    bearer = np.column_stack(
        [np.full(len(profile), x), profile[:, 1] - 0.018, profile[:, 0] - 0.006]
    )
    front = curve([(x, 0.0, z + 0.03), (x, 0.4 * high, z - 0.05), (x, high - 0.03, z - 0.01)], 14)
    rear = curve([(x, 0.0, -z - 0.1), (x, 0.5 * high, -z + 0.02), (x, high - 0.05, -z * 0.75)], 14)
    arc = curve([(x, 0.3 * high, z - 0.045), (x, 0.62 * high, 0.0), (x, 0.3 * high, -z - 0.02)], 14)
    built = [tube(path, 0.013, iron) for path in (bearer, front, rear, arc)]
    for mesh in built:
        mesh.vertices[:, 1] = np.maximum(mesh.vertices[:, 1], 0.0)
    if is_outer and v.text("arms") != "none":
        rise = 0.2
        y = high + rise
        back_z = float(np.interp(y, profile[20:, 1], profile[20:, 0]))
        scroll = v.num("scroll") * 0.05
        keys = [
            (x, y - 0.02, back_z - 0.008),
            (x, y, 0.0),
            (x, y - 0.01, z - 0.02),
            (x, y - 0.05, z + scroll),
            (x, high + 0.06, z - 0.01),
            (x, high - 0.03, z - 0.005),
        ]
        built.append(tube(curve(keys, 34), 0.013, iron))
    return built
