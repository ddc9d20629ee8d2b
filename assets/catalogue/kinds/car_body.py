"""The surfaces of cars: the lower body, cabins, open cockpits, loading beds, fenders."""

from itertools import pairwise

import numpy as np
import trimesh

from assets.catalogue import mesh
from assets.catalogue.curves import Points, Real, rounded_rectangle
from assets.catalogue.kinds.car_plan import Plan
from assets.catalogue.kinds.lofts import Assembly, box, loft, ribbon, vec

SILL_RADIUS = 0.012  # of the body's lower edges, metres


def lower(plan: Plan) -> trimesh.Trimesh:
    """Return the body below the windows: sections along its length, raised over the wheels."""
    end, nose = plan.length / 2, plan.length * plan.style.nose
    z = _stations(plan)
    ahead = np.clip((end - np.abs(z)) / nose, 0, 1)
    inset = 0.55 * nose * (1 - np.sqrt(1 - (1 - ahead) ** 2))
    bottom = plan.floor + inset
    for axle in plan.axles:
        arch = np.sqrt(np.maximum(plan.arch**2 - (z - axle) ** 2, 0))
        bottom = np.maximum(bottom, np.where(arch > 0, plan.wheel + arch, 0))
    half = plan.half - inset - 0.03 * plan.half * (2 * z / plan.length) ** 4
    top = np.maximum(plan.top(z) - 0.8 * inset, bottom + 0.02)
    return loft(_sections(z, half, bottom, top, plan.soft))


def _stations(plan: Plan) -> Points:
    """Return positions along the car, close together at the ends and around the wheels."""
    end, nose = plan.length / 2, plan.length * plan.style.nose
    turns = np.sin(np.linspace(0, np.pi / 2, 7))
    around = [*plan.arch * np.cos(np.linspace(0, np.pi, 17)), -plan.arch - 1e-4, plan.arch + 1e-4]
    pieces = [end - nose * (1 - turns), nose * (1 - turns) - end]
    pieces += [np.linspace(-end + nose, end - nose, 25)]
    pieces += [axle + np.array(around) for axle in plan.axles]
    pieces += [plan.length * np.array([position for position, _ in plan.style.top])]
    z = np.unique(np.clip(np.concatenate(pieces), -end, end))
    return z[np.concatenate([[True], np.diff(z) > 5e-5])]


def _sections(z: Points, half: Points, bottom: Points, top: Points, radius: Real) -> Points:
    """Return rings (n, points, 3): flat sills below, round shoulders above."""
    turn = np.linspace(0, np.pi / 2, 7)
    angle = np.concatenate([turn + k * np.pi / 2 for k in range(4)])
    right = np.repeat([1, -1, -1, 1], 7)
    above = np.repeat([True, True, False, False], 7)
    tall = (top - bottom)[:, None]
    limit = 0.999 * np.minimum(half[:, None], tall / 2)
    soft = np.minimum(np.where(above, radius, SILL_RADIUS), limit)
    x = right * (half[:, None] - soft) + soft * np.cos(angle)
    level = np.where(above, top[:, None] - soft, bottom[:, None] + soft)
    y = level + soft * np.sin(angle)
    return np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], -1)


def _ring(plan: Plan, y: Real, grow: Real = 0.0) -> Points:
    """Return the outline of the glass house at a height, seen from above."""
    t = max(0.0, (y - plan.belt) / (plan.roof - plan.belt))
    front, screen, rear, tail = plan.house
    ahead, behind = front + (screen - front) * t, tail + (rear - tail) * t
    radius = 0.05 if plan.name in ("jeep", "van") else 0.09
    outline = rounded_rectangle((2 * (plan.wall(y) + grow), ahead - behind + 2 * grow), radius, 6)
    return np.column_stack(
        [outline[:, 0], np.full(len(outline), y), outline[:, 1] + (ahead + behind) / 2]
    )


def cabin(car: Assembly, plan: Plan) -> None:
    """Return a glass house with a roof on pillars."""
    rise = plan.roof - plan.belt
    low = plan.belt - (0.05 if plan.name != "sports" else 0.12)
    round_top = 0.5 if plan.name == "beetle" else 0.22
    car.add(
        "windows",
        loft([_ring(plan, y) for y in (low, plan.belt, plan.belt + 0.5 * rise, plan.roof - 0.004)]),
    )
    eaves = plan.roof - 0.16 * rise
    brim = [
        _ring(plan, eaves, 0.002),
        _ring(plan, eaves + 0.004, 0.012),
        _ring(plan, plan.roof, 0.008),
    ]
    middle = brim[-1].mean(axis=0)
    dome = []
    for a in np.linspace(0, np.pi / 2, 7)[1:]:
        shrink = (
            1 - round_top * 1.4 * (1 - np.cos(a))
            if plan.name != "beetle"
            else 0.35 + 0.65 * np.cos(a) ** 0.7
        )
        dome.append(
            (brim[-1] - middle) * (max(shrink, 0.05), 0, max(shrink, 0.05))
            + middle
            + vec(0, round_top * rise * 0.7 * np.sin(a), 0)
        )
    car.add("roof", loft([*brim, *dome]))
    _pillars(car, plan, low, eaves + 0.01)


def _pillars(car: Assembly, plan: Plan, low: Real, high: Real) -> None:
    front, _, rear, tail = plan.house
    foot, head = _ring(plan, low), _ring(plan, high)
    for corner in (3, 8, 15, 20):
        is_rear = foot[corner, 2] < (front + tail) / 2
        thick = 0.024 if is_rear else 0.017
        inward = 0.25 * thick * np.sign(foot[corner]) * (1, 0, 0)
        car.add(
            "roof",
            mesh.tapered(thick, thick * 0.9, foot[corner] - inward, head[corner] - inward, 12),
        )
    spots = {
        "van": (0.16, -0.1),
        "estate": (-0.02, -0.22),
        "hatchback": (-0.14,),
        "jeep": (-0.12,),
    }.get(plan.name, (-0.05,))
    quarter = plan.name in ("hatchback", "estate", "van", "jeep")
    for side in (-1, 1):
        for z in spots:
            at = z * plan.length
            path = np.array(
                [(side * (plan.wall(y) + 0.002), y, at) for y in np.linspace(low, high, 4)]
            )
            car.add("roof", ribbon(path, 0.024, 0.014, (0, 0, 1)))
        if quarter:
            wide = 0.07 * plan.length if plan.name != "van" else 0.12 * plan.length
            path = np.array(
                [
                    (
                        side * (plan.wall(y) + 0.001),
                        y,
                        tail + (rear - tail) * (y - low) / (high - low) + wide / 2 + 0.05,
                    )
                    for y in np.linspace(low, high, 4)
                ]
            )
            car.add("roof", ribbon(path, wide / 2, 0.012, (0, 0, 1)))


def cockpit(car: Assembly, plan: Plan) -> None:
    """Build an open cockpit: windscreen, seats, folded top and steering wheel."""
    front, screen = plan.house[:2]
    floor, back = 0.6 * plan.belt, -0.27 * plan.length
    ahead = 0.13 * plan.length
    _walls(car, plan, back, ahead, floor)
    for side in (-1, 1):
        for z in (-0.02 * plan.length, -0.19 * plan.length):
            seat = (side * 0.42 * plan.half, floor + 0.03, z)
            car.add("roof", box((0.17, 0.07, 0.15), seat, 0.025))
            rest = mesh.rotated(mesh.rounded_box((0.17, 0.17, 0.05), 0.024), -10, "x")
            car.add("roof", mesh.moved(rest, (seat[0], floor + 0.11, z - 0.07)))
    car.add(
        "roof",
        mesh.moved(
            mesh.superellipsoid((1.75 * plan.half, 0.075, 0.13), 3.0),
            (0, plan.belt + 0.012, back - 0.03),
        ),
    )
    high = plan.belt + 0.7 * (plan.roof - plan.belt)
    half = 0.82 * plan.half
    foot_z, head_z = front - 0.02, screen
    corners = [
        (-half, plan.belt - 0.02, foot_z),
        (-0.86 * half, high, head_z),
        (0.86 * half, high, head_z),
        (half, plan.belt - 0.02, foot_z),
    ]
    path = np.concatenate(
        [np.linspace(a, b, 8)[:-1] for a, b in pairwise(corners)] + [[corners[-1]]]
    )
    car.add("trim", mesh.sweep(path, 0.011, segments=10))
    pane = [
        np.array([(-x, y, z), (x, y, z)])
        for x, y, z in ((half, plan.belt - 0.02, foot_z), (0.86 * half, high, head_z))
    ]
    middle = np.array([(pane[0][0] + pane[0][1]) / 2, (pane[1][0] + pane[1][1]) / 2])
    car.add(
        "windows",
        ribbon(np.linspace(middle[0], middle[1], 5), np.linspace(half, 0.86 * half, 5), 0.01),
    )
    wheel = mesh.rotated(mesh.torus_arc(0.055, 0.009), -30, "x")
    hub = (-0.42 * plan.half, plan.belt - 0.005, 0.075 * plan.length)
    car.add(
        "trim",
        mesh.moved(wheel, hub),
        mesh.tapered(0.01, 0.01, hub, (hub[0], hub[1] - 0.06, ahead + 0.02), 8),
    )
    car.add(
        "trim",
        mesh.tapered(
            0.007, 0.007, (hub[0] - 0.055, hub[1], hub[2]), (hub[0] + 0.055, hub[1], hub[2]), 8
        ),
    )


def _walls(car: Assembly, plan: Plan, back: Real, ahead: Real, floor: Real) -> None:
    """Return thin sides around an open part of the body."""
    tall = plan.belt - floor + 0.06
    for side in (-1, 1):
        car.add(
            "body",
            box(
                (0.05, tall, ahead - back + 0.02),
                (side * (plan.half - 0.03), plan.belt - tall / 2, (ahead + back) / 2),
                0.016,
            ),
        )


def bed(car: Assembly, plan: Plan) -> None:
    """Build the sides and the tailgate of a loading bed."""
    back, ahead, floor = -0.49 * plan.length, -0.14 * plan.length, 0.6 * plan.belt
    _walls(car, plan, back, ahead, floor)
    tall = plan.belt - floor + 0.06
    car.add(
        "body", box((plan.width - 0.07, tall, 0.05), (0, plan.belt - tall / 2, back + 0.012), 0.016)
    )
    car.add("trim", box((0.2, 0.028, 0.012), (0, plan.belt - 0.06, back - 0.012), 0.004))


def fenders(car: Assembly, plan: Plan) -> None:
    """Build round fenders over the wheels."""
    blob = mesh.superellipsoid((0.15, 0.6 * plan.wheel, 2.75 * plan.wheel), 2.4)
    points = np.array(blob.vertices)
    points[:, 1] -= 1.15 * plan.wheel * (np.abs(points[:, 2]) / (1.37 * plan.wheel)) ** 2
    arch = trimesh.Trimesh(points, blob.faces, process=False)
    for axle in plan.axles:
        for side in (-1, 1):
            car.add("body", mesh.moved(arch, (side * (plan.half - 0.005), 2.12 * plan.wheel, axle)))
