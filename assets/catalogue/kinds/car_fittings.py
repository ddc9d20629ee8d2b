"""Fittings of cars: wheels, bumpers, lights, grilles, mirrors, racks, spoilers."""

import numpy as np

from assets.catalogue import mesh
from assets.catalogue.curves import Vector
from assets.catalogue.kinds.car_plan import Plan
from assets.catalogue.kinds.furniture import Values
from assets.catalogue.kinds.lofts import Assembly, box


def wheels(car: Assembly, plan: Plan) -> None:
    """Put wheels with hubs on axles, and flared arches where there are any."""
    thick = 0.11 if plan.name != "jeep" else 0.13
    r = plan.wheel
    tyre = mesh.cylinder(r, thick, (0, r, 0), "x", 0.024)
    dish = mesh.cylinder(0.62 * r, 0.024, (0, r, 0), "x", 0.008)
    cap = mesh.cylinder(0.2 * r, 0.03, (0, r, 0), "x", 0.008)
    arch = mesh.rotated(mesh.torus_arc(1.2 * r, 0.018, 8, 172, (0, r, 0)), 90)
    for axle in plan.axles:
        car.add("wheels", mesh.tapered(0.02, 0.02, (-plan.hub, r, axle), (plan.hub, r, axle), 12))
        for side in (-1, 1):
            x = side * (plan.half - thick / 2 + 0.014)
            face = x + side * thick / 2
            car.add("wheels", mesh.moved(tyre, (x, 0, axle)))
            car.add("trim", mesh.moved(dish, (face - side * 0.006, 0, axle)))
            car.add("trim", mesh.moved(cap, (face, 0, axle)))
            if plan.flares and plan.name != "beetle":
                car.add("body", mesh.moved(arch, (side * (plan.half - 0.006), 0, axle)))


def front_and_tail(car: Assembly, v: Values, plan: Plan) -> None:
    """Put bumpers and lights at both ends and a grille at the front."""
    end = plan.length / 2
    nose = float(plan.top(np.array([0.46 * plan.length]))[0])
    y = plan.floor + 0.62 * (nose - plan.floor)
    bumper = plan.floor + 0.055
    for sign in (1, -1):
        z = sign * (end + 0.002)
        if v.text("bumper") == "bar":
            car.add(
                "trim",
                mesh.cylinder(0.024, plan.width * 0.94, (0, bumper, z + sign * 0.008), "x", 0.012),
            )
        elif v.text("bumper") == "soft":
            car.add(
                "trim", box((plan.width * 0.97, 0.07, 0.07), (0, bumper, z - sign * 0.012), 0.025)
            )
        else:
            car.add(
                "trim",
                *(
                    box(
                        (plan.width * 0.3, 0.05, 0.06),
                        (x * plan.width * 0.31, bumper, z - sign * 0.01),
                        0.02,
                    )
                    for x in (-1, 1)
                ),
            )
        depth = (
            (end - plan.length * plan.style.nose * 0.15) if plan.name != "beetle" else end - 0.03
        )
        for x in (-1, 1):
            spot = (
                x * 0.66 * plan.half,
                y + 0.012
                if sign > 0
                else plan.floor + 0.6 * (plan.belt * plan.style.top[0][1] - plan.floor),
                sign * depth,
            )
            _light(car, v.text("lights"), spot, sign)
    if plan.name in ("beetle", "sports"):
        return
    wide, low = 0.62 * plan.half, y - 0.03
    for k in range(v.count("bars")):
        tall = (y + 0.05 - low) / v.count("bars")
        car.add(
            "trim", box((wide, 0.5 * tall, 0.03), (0, low + (k + 0.5) * tall, end - 0.006), 0.005)
        )


def _light(car: Assembly, style: str, spot: Vector, sign: int) -> None:
    if style == "round":
        car.add("trim", mesh.cylinder(0.046 if sign > 0 else 0.032, 0.05, spot, "z", 0.014))
    elif style == "square":
        car.add("trim", box((0.1, 0.056, 0.05), spot, 0.014))
    else:
        car.add("trim", box((0.044, 0.085, 0.05), spot, 0.016))


def door_fittings(car: Assembly, v: Values, plan: Plan) -> None:
    """Return handles and mirrors."""
    y = plan.belt - 0.055 - 0.02 * (plan.name == "sports")
    for side in (-1, 1):
        for k in range(v.count("doors")):
            z = (-0.06 - 0.17 * k + 0.04 * v.count("doors")) * plan.length
            car.add("trim", box((0.022, 0.018, 0.06), (side * plan.half, y, z), 0.006))
        z = plan.house[0] - 0.06 if plan.name != "van" else plan.house[0] - 0.1
        car.add(
            "body",
            mesh.tapered(
                0.009,
                0.009,
                (side * (plan.half - 0.06), plan.belt - 0.02, z),
                (side * (plan.half + 0.022), plan.belt + 0.03, z),
                8,
            ),
        )
        car.add(
            "body",
            mesh.superellipsoid(
                (0.05, 0.042, 0.03), 3, (side * (plan.half + 0.028), plan.belt + 0.034, z), 8
            ),
        )


def _no_extra(car: Assembly, plan: Plan) -> None:
    pass


def _rack(car: Assembly, plan: Plan) -> None:
    ahead, behind = plan.house[1] - 0.05, plan.house[2] + 0.05
    if ahead - behind < 0.12:
        ahead, behind = ahead + 0.05, behind - 0.04
    y, x = plan.roof + 0.05, 0.62 * plan.wall(plan.roof)
    for side in (-1, 1):
        car.add("trim", mesh.tapered(0.01, 0.01, (side * x, y, behind), (side * x, y, ahead), 8))
        for z in (behind + 0.02, ahead - 0.02):
            car.add(
                "trim",
                mesh.tapered(0.009, 0.009, (side * x, plan.roof - 0.02, z), (side * x, y, z), 8),
            )
    for z in np.linspace(behind + 0.02, ahead - 0.02, 4):
        car.add("trim", mesh.tapered(0.008, 0.008, (-x, y, z), (x, y, z), 8))


def _spoiler(car: Assembly, plan: Plan) -> None:
    high = plan.name in ("hatchback", "estate", "van", "jeep")
    z = plan.house[2] - 0.005 if high else -0.44 * plan.length
    base = plan.roof - 0.01 if high else float(plan.top(np.array([z]))[0]) - 0.03
    y = base + (0.05 if high else 0.11)
    wing = mesh.rotated(mesh.rounded_box((1.5 * plan.half, 0.022, 0.12), 0.01), 8, "x")
    car.add("roof", mesh.moved(wing, (0, y, z)))
    for side in (-1, 1):
        car.add(
            "roof",
            box(
                (0.022, y - base + 0.02, 0.06),
                (side * 0.55 * plan.half, (y + base) / 2, z + 0.01),
                0.006,
            ),
        )


def _spare(car: Assembly, plan: Plan) -> None:
    r = 0.82 * plan.wheel
    y, z = plan.floor + 0.04 + 1.05 * r, -plan.length / 2 - 0.03
    car.add("wheels", mesh.cylinder(r, 0.085, (0, y, z), "z", 0.022))
    car.add("trim", mesh.cylinder(0.55 * r, 0.03, (0, y, z - 0.038), "z", 0.01))


def _sunroof(car: Assembly, plan: Plan) -> None:
    middle = (plan.house[1] + plan.house[2]) / 2
    y = (
        plan.roof + 0.22 * 0.7 * (plan.roof - plan.belt)
        if plan.name != "beetle"
        else plan.roof + 0.34 * (plan.roof - plan.belt)
    )
    wide, deep = 0.9 * plan.wall(plan.roof), max(0.1, 0.4 * (plan.house[1] - plan.house[2]))
    car.add("windows", box((wide, 0.03, deep), (0, y, middle), 0.01))


FITTED = {
    "none": _no_extra,
    "rack": _rack,
    "spoiler": _spoiler,
    "spare": _spare,
    "sunroof": _sunroof,
}
