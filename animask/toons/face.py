"""The skin of the head: ears, soft lights and shadows, nose, freckles."""

import numpy as np

from animask.toons.beard import beard_area
from animask.toons.geometry import Rig, curve, hull, loop, steps
from animask.toons.mouth import lip_outline
from animask.toons.paint import Field, fill, paint, ribbon, ring, tint, tints, tone

_SHADOW, _GLOW = (-1.0, -1.25, -1.25), (1.0, 1.0, 0.95)
_FRECKLE_STREAM = 5


def ear_sides(rig: Rig) -> tuple[list[int], list[int]]:
    """The sides (-1 left, 1 right) of the ears behind and before the head.

    An ear changes places while its root is on the outline of the head, where both orders look the same.
    """
    depth = {side: float((rig.rotation @ np.array([side, 0.0, 0.0]))[2]) for side in (-1, 1)}
    return [side for side in depth if depth[side] <= 0], [side for side in depth if depth[side] > 0]


def paint_ear(picture: np.ndarray, rig: Rig, side: int) -> None:
    """One ear with its hollow, and an earring where one is worn."""
    i = rig.identity
    root = np.array([side * i.head_width * 0.97, i.eye_y + 0.16, -0.1])
    e, flare = i.ear_size, i.ear_flare + 0.06
    shape = np.array(
        [
            [0, -0.75],
            [0.35, -1.05],
            [0.85, -0.9],
            [1.05, -0.4],
            [0.85, 0.2],
            [0.6, 0.75],
            [0.3, 1.0],
            [0.0, 0.7],
        ]
    )
    rim = np.stack([side * flare * shape[:, 0], e * shape[:, 1], -0.22 * shape[:, 0]], 1)
    outline = loop(rig.project(root + rim), 4)
    inner = loop(rig.project(root + rim * (0.68, 0.66, 0.68) + (side * 0.012, 0, 0)), 4)
    field = Field(outline.min(0), outline.max(0), tone(i.skin, 0.97), 16)
    field.add(field.soft(inner, 0.03 * rig.unit), (-0.2, -0.34, -0.34))
    paint(picture, field, outline)
    if i.earrings:
        fill(picture, ring(rig.project(root + rim[6] * (1, 1.05, 1)), 0.045 * rig.unit, 16), (236, 200, 110))


def paint_head(picture: np.ndarray, rig: Rig, hairline: np.ndarray | None) -> None:
    """The skin of the head with its soft shading; `hairline` outlines what the hair leaves free, if any."""
    i, unit = rig.identity, rig.unit
    outline = rig.outline
    low, high = outline.min(0), outline.max(0)
    field = Field(low, high, i.skin, 72)
    middle = (low + high) / 2
    field.sphere(middle, ((high[0] - low[0]) * 0.53, (high[1] - low[1]) * 0.54), rig.light, 0.62 * i.contrast)
    field.blobs(*_soft_spots(rig))
    if hairline is not None:
        under = 1 - field.soft(hairline, 0.07 * unit)
        field.add(under * 0.5, (-0.6, -0.75, -0.75))
    _shade_nose(field, rig)
    if i.beard == "stubble":
        area = field.soft(beard_area(rig), 0.05 * unit) - field.soft(lip_outline(rig), 0.02 * unit)
        shift = np.log(np.maximum(i.brow_colour, 4)) - np.log(i.skin)
        field.add(np.clip(area, 0, 1) * 0.24, tuple(shift))
    paint(picture, field, outline)
    _freckle(picture, rig)


def _soft_spots(rig: Rig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, radii and strengths of the soft lights and shadows of a face."""
    i, p, c = rig.identity, rig.pose, rig.identity.contrast
    smile = max(0.0, p.smile)
    cheek_y = i.nose_y + 0.1 - 0.05 * smile
    spots: list[tuple[float, float, float, float, tuple[float, float, float]]] = []
    for side in (-1, 1):
        spots += [
            (side * i.eye_x, i.eye_y - 0.05, 0.2, 0.13, (-0.1 * c, -0.14 * c, -0.12 * c)),  # eye socket
            (side * i.eye_x, i.eye_y + 0.14, 0.13, 0.04, (-0.05 * c, -0.07 * c, -0.05 * c)),
            (side * (i.eye_x + 0.1), cheek_y, 0.15, 0.12, (0.02, -0.17 * i.blush, -0.13 * i.blush)),
            (side * (i.eye_x + 0.06), cheek_y - 0.12, 0.12, 0.07, (0.07, 0.07, 0.06)),
            (
                side * (i.mouth_width + 0.06),
                i.mouth_y - 0.03,
                0.05,
                0.08,
                (-0.04 - 0.16 * smile, -0.05 - 0.2 * smile, -0.05 - 0.2 * smile),
            ),
        ]
    spots += [
        (0.0, i.mouth_y + 0.17, 0.16, 0.04, (-0.16 * c, -0.2 * c, -0.19 * c)),  # under the lower lip
        (0.0, i.mouth_y - 0.12, 0.035, 0.05, (-0.06, -0.08, -0.08)),  # the groove of the upper lip
        (0.0, i.chin_y * 0.92, 0.14, 0.08, (0.07, 0.07, 0.06)),
        (0.08 * np.sign(i.light_x), -0.38, 0.28, 0.16, (0.06, 0.06, 0.06)),  # forehead
    ]
    table = np.array([s[:4] for s in spots])
    centres = rig.project(rig.drop(rig.profile.lift(table[:, 0], table[:, 1])))
    return centres, table[:, 2:] * rig.unit, np.array([s[4] for s in spots])


def _nose(rig: Rig) -> dict[str, np.ndarray]:
    """Picture points of the nose: bridge, tip, wings and nostrils."""
    i = rig.identity
    y, w, d = i.nose_y, i.nose_width, i.nose_depth
    lift = rig.profile.lift
    return {
        "bridge": rig.project(lift([-0.055, 0.055], i.eye_y - 0.02, 0.02)),
        "ridge": rig.project(
            lift(
                [0.0, 0.0, 0.0],
                np.array([i.eye_y, (i.eye_y + y) / 2, y - 0.04]),
                np.array([0.03, 0.6 * d, d]),
            )
        ),
        "tip": rig.project(lift(0.0, y, d)),
        "ball": rig.project(
            lift(
                [-0.5 * w, 0.0, 0.5 * w, 0.3 * w, -0.3 * w],
                y + np.array([0, -0.06, 0, 0.05, 0.05]),
                d * np.array([0.72, 0.95, 0.72, 0.85, 0.85]),
            )
        ),
        "wings": rig.project(lift([-w, w], y + 0.03, 0.12 * d)),
        "base": rig.project(
            lift(
                [-0.8 * w, -0.3 * w, 0.0, 0.3 * w, 0.8 * w],
                y + np.array([0.075, 0.08, 0.1, 0.08, 0.075]),
                d * np.array([0.2, 0.5, 0.62, 0.5, 0.2]),
            )
        ),
        "nostrils": rig.project(lift([-0.48 * w, 0.48 * w], y + 0.072, 0.42 * d)),
    }


def _shade_nose(field: Field, rig: Rig) -> None:
    i, unit, n = rig.identity, rig.unit, _nose(rig)
    solid = hull(np.concatenate([n["bridge"], n["ridge"], n["ball"], n["wings"], n["base"]]))
    body = field.soft(solid, 0.022 * unit)
    shift = np.array([-0.07 * np.sign(i.light_x), 0.05]) * unit
    cast = field.soft(solid + shift, 0.04 * unit) * (1 - body)
    field.add(cast * 0.25 * i.contrast, _SHADOW)
    away = field.soft(
        np.concatenate(
            [
                n["ridge"],
                [n["base"][2]],
                [n["wings"][0 if i.light_x > 0 else 1]],
                [n["bridge"][0 if i.light_x > 0 else 1]],
            ]
        ),
        0.025 * unit,
    )
    field.add(away * 0.18 * i.contrast, _SHADOW)
    glow = np.concatenate([n["ridge"], n["tip"][None] - (0, 0.03 * unit)])
    radii = np.array([[0.03, 0.06], [0.03, 0.08], [0.04, 0.05], [0.045, 0.035]]) * unit
    field.blobs(glow, radii, np.array([[0.04], [0.07], [0.08], [0.12]]) * np.array([_GLOW]))
    field.blobs(n["base"][2][None], np.array([[0.12, 0.03]]) * unit, np.array([[-0.16, -0.2, -0.2]]))


def paint_nose(picture: np.ndarray, rig: Rig) -> None:
    """The crisp part of the nose: nostrils, wings and, when turned, its profile."""
    i, unit, n = rig.identity, rig.unit, _nose(rig)
    dark = tone(i.skin, 0.5)
    for k, side in enumerate((-1, 1)):
        tilt = curve(
            n["nostrils"][k]
            + np.array([[-0.4, 0.012 * side / unit], [0, -0.016], [0.4, 0.012]])
            * np.array([i.nose_width * 0.62 * unit, unit]),
            4,
        )
        tint(picture, ribbon(tilt, np.sin(steps(0.3, np.pi - 0.3, len(tilt))) * 0.036 * unit), dark, 0.8)
        wing = curve(
            np.stack(
                [
                    n["wings"][k] + (0, -0.05 * unit),
                    n["wings"][k] + (side * 0.012 * unit, 0.0),
                    n["base"][0 if side < 0 else 4],
                ]
            ),
            5,
        )
        tint(picture, ribbon(wing, steps(0.004, 0.026, len(wing)) * unit), tone(i.skin, 0.6), 0.5)
    far = 1 if rig.pose.yaw > 0 else 0
    strength = float(np.clip((abs(rig.pose.yaw) - 0.15) / 0.5, 0, 1))
    edge = curve(
        np.stack([n["bridge"][far], n["ridge"][1], n["ball"][1 + (1 if far else -1)], n["base"][3 if far else 1]]),
        6,
    )
    tint(picture, ribbon(edge, steps(0.012, 0.03, len(edge)) * unit), tone(i.skin, 0.62), 0.55 * strength)


def _freckle(picture: np.ndarray, rig: Rig) -> None:
    i = rig.identity
    if not i.freckles:
        return
    rng = np.random.default_rng([i.seed, _FRECKLE_STREAM])
    dots = []
    for side, x, y, r in rng.uniform([-1, 0.06, 0.0, 0.008], [1, 0.5, 0.26, 0.017], (i.freckles, 4)):
        centre = rig.face(np.copysign(x, side), i.eye_y + 0.14 + y)
        dots.append(ring(centre, r * rig.unit, 8))
    tints(picture, dots, tone(i.skin, 0.68), 0.6)
