"""The storage bench: a panelled box with a padded lid, and a back where it has one."""

import numpy as np

from assets.catalogue.kinds.furniture import SQUARE, Slab, Values, outline, rounded_path, tube
from assets.catalogue.kinds.legs import Meshes, Stance, feet
from assets.catalogue.mesh import moved, rounded_box, superellipsoid


def storage_bench(v: Values) -> dict[str, Meshes]:
    """Build the pieces of a storage bench."""
    wide, deep, high = v.num("width"), v.num("depth"), v.num("height")
    lid = Slab(low=high - 0.06, high=high, edge=0.026, crown=0.01).build(outline(wide, deep, 18.0))
    floor, top = 0.05, high - 0.05
    frame: Meshes = [
        rounded_box((wide - 0.03, top - floor, deep - 0.03), 0.008, (0, (top + floor) / 2, 0))
    ]
    count = v.count("panels")
    step = (wide - 0.08) / count
    for i in range(count):
        x, y = (i + 0.5 - count / 2) * step, (top + floor) / 2
        half, tall, z = step / 2 - 0.02, (top - floor) / 2 - 0.035, deep / 2 - 0.013
        loop = np.array(
            [
                (x - half, y - tall, z),
                (x + half, y - tall, z),
                (x + half, y + tall, z),
                (x - half, y + tall, z),
                (x - half, y - tall, z),
            ]
        )
        frame.append(tube(rounded_path(loop, 0.015), 0.009, SQUARE))
        frame.append(
            moved(superellipsoid((0.024, 0.024, 0.03), 2.0, steps=5), (x, y + tall * 0.55, z))
        )
    stance = Stance(front=wide - 0.12, back=wide - 0.12, depth=deep - 0.12, height=floor + 0.01)
    frame += feet("bun" if v.flag("rolls") else "straight", stance, 0.032)
    back: Meshes = []
    if v.flag("lidded"):
        tall = v.num("back_height")
        back.append(
            rounded_box(
                (wide - 0.02, tall + 0.1, 0.03),
                0.01,
                (0, high - 0.1 + tall / 2 + 0.05, -deep / 2 + 0.012),
            )
        )
        back.append(
            rounded_box((wide + 0.01, 0.045, 0.05), 0.014, (0, high + tall, -deep / 2 + 0.014))
        )
        for i in range(count + 1):
            x = (i - count / 2) * step * 0.98
            back.append(
                rounded_box((0.045, tall, 0.02), 0.006, (x, high + tall / 2, -deep / 2 + 0.032))
            )
    return {"seat": [lid], "back": back, "frame": frame}
