"""The skin of the head with its soft lights and shadows: ears, nose, mouth, beard."""

import numpy as np

from animask.toons.geometry import Rig, band, curve, hull, loop, steps
from animask.toons.paint import Field, blend, bounds, circle, fill, mask, paint, plain, ring, stroke, tint, tone

SHADOW, GLOW = (-1.0, -1.25, -1.25), (1.0, 1.0, 0.95)
FRECKLE_STREAM = 5


def ear_sides(rig: Rig) -> tuple[list[int], list[int]]:
    """The sides (-1 left, 1 right) of the ears behind and before the head.

    An ear changes places while its root is on the outline of the head, where both orders look the same.
    """
    before = [side for side in (-1, 1) if (rig.rotation @ np.array([side, 0.0, 0.0]))[2] > 0]
    return [side for side in (-1, 1) if side not in before], before


def paint_ear(picture: np.ndarray, rig: Rig, side: int) -> None:
    """One ear with its hollow, and an earring where one is worn."""
    i = rig.identity
    root = np.array([side * i.head_width * 0.97, i.eye_y + 0.16, -0.1])
    out = np.array([0, 0.35, 0.85, 1.05, 0.85, 0.6, 0.3, 0.0])
    down = np.array([-0.75, -1.05, -0.9, -0.4, 0.2, 0.75, 1.0, 0.7])
    rim = np.stack([side * (i.ear_flare + 0.06) * out, i.ear_size * down, -0.22 * out], 1)
    outline = loop(rig.project(root + rim), 4)
    inner = loop(rig.project(root + rim * (0.68, 0.66, 0.68) + (side * 0.012, 0, 0)), 4)
    field = Field(outline, tone(i.skin, 0.97), 16)
    field.add(field.soft(inner, 0.03 * rig.unit), (-0.2, -0.34, -0.34))
    paint(picture, field, outline)
    if i.earrings:
        fill(picture, ring(rig.project(root + rim[6] * (1, 1.05, 1)), 0.045 * rig.unit, 16), (236, 200, 110))


def paint_head(picture: np.ndarray, rig: Rig, hairline: np.ndarray | None) -> None:
    """The skin of the head with its soft shading; `hairline` outlines what the hair leaves free, if any."""
    i, unit = rig.identity, rig.unit
    field = Field(rig.outline, i.skin, 72)
    field.sphere(field.middle, (field.span[0] * 0.53, field.span[1] * 0.54), rig.light, 0.62 * i.contrast)
    field.blobs(*soft_spots(rig))
    if hairline is not None:
        field.add((1 - field.soft(hairline, 0.07 * unit)) * 0.5, (-0.6, -0.75, -0.75))
    shade_nose(field, rig)
    if i.beard == "stubble":
        area = field.soft(beard_area(rig), 0.05 * unit) - field.soft(lip_outline(rig), 0.02 * unit)
        shift = np.log(np.maximum(i.brow_colour, 4)) - np.log(i.skin)
        field.add(np.clip(area, 0, 1) * 0.24, tuple(shift))
    paint(picture, field, rig.outline)
    if i.freckles:
        rng = np.random.default_rng([i.seed, FRECKLE_STREAM])
        side, x, y, radius = rng.uniform([-1, 0.06, 0.0, 0.008], [1, 0.5, 0.26, 0.017], (i.freckles, 4)).T
        centres = rig.face(np.copysign(x, side), i.eye_y + 0.14 + y)
        dots = centres[:, None] + (radius * rig.unit)[:, None, None] * circle(8)
        tint(picture, dots, tone(i.skin, 0.68), 0.6)


def soft_spots(rig: Rig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, radii and strengths of the soft lights and shadows of a face."""
    i, c = rig.identity, rig.identity.contrast
    smile = max(0.0, rig.pose.smile)
    cheek_y = i.nose_y + 0.1 - 0.05 * smile
    fold = (-0.04 - 0.16 * smile, -0.05 - 0.2 * smile, -0.05 - 0.2 * smile)
    spots: list[tuple[float, ...]] = []  # x, y, their radii, red, green, blue
    for side in (-1, 1):
        spots += [
            (side * i.eye_x, i.eye_y - 0.05, 0.2, 0.13, -0.1 * c, -0.14 * c, -0.12 * c),  # eye socket
            (side * i.eye_x, i.eye_y + 0.14, 0.13, 0.04, -0.05 * c, -0.07 * c, -0.05 * c),
            (side * (i.eye_x + 0.1), cheek_y, 0.15, 0.12, 0.02, -0.17 * i.blush, -0.13 * i.blush),
            (side * (i.eye_x + 0.06), cheek_y - 0.12, 0.12, 0.07, 0.07, 0.07, 0.06),
            (side * (i.mouth_width + 0.06), i.mouth_y - 0.03, 0.05, 0.08, *fold),
        ]
    spots += [
        (0.0, i.mouth_y + 0.17, 0.16, 0.04, -0.16 * c, -0.2 * c, -0.19 * c),  # under the lower lip
        (0.0, i.mouth_y - 0.12, 0.035, 0.05, -0.06, -0.08, -0.08),  # the groove of the upper lip
        (0.0, i.chin_y * 0.92, 0.14, 0.08, 0.07, 0.07, 0.06),
        (0.08 * np.sign(i.light_x), -0.38, 0.28, 0.16, 0.06, 0.06, 0.06),  # forehead
    ]
    places, radii, strengths = np.split(np.array(spots), [2, 4], axis=1)
    return rig.project(rig.drop(rig.profile.lift(*places.T))), radii * rig.unit, strengths


def nose(rig: Rig) -> dict[str, np.ndarray]:
    """Picture points of the nose: bridge, tip, wings and nostrils."""
    i = rig.identity
    y, w, d = i.nose_y, i.nose_width, i.nose_depth
    ridge, ridge_depth = np.array([i.eye_y, (i.eye_y + y) / 2, y - 0.04]), np.array([0.03, 0.6 * d, d])
    ball, ball_depth = np.array([0, -0.06, 0, 0.05, 0.05]), np.array([0.72, 0.95, 0.72, 0.85, 0.85])
    base, base_depth = np.array([0.075, 0.08, 0.1, 0.08, 0.075]), np.array([0.2, 0.5, 0.62, 0.5, 0.2])
    return {
        "bridge": rig.face([-0.055, 0.055], i.eye_y - 0.02, 0.02),
        "ridge": rig.face(0.0, ridge, ridge_depth),
        "tip": rig.face(0.0, y, d),
        "ball": rig.face([-0.5 * w, 0.0, 0.5 * w, 0.3 * w, -0.3 * w], y + ball, d * ball_depth),
        "wings": rig.face([-w, w], y + 0.03, 0.12 * d),
        "base": rig.face([-0.8 * w, -0.3 * w, 0.0, 0.3 * w, 0.8 * w], y + base, d * base_depth),
        "nostrils": rig.face([-0.48 * w, 0.48 * w], y + 0.072, 0.42 * d),
    }


def shade_nose(field: Field, rig: Rig) -> None:
    """The soft part of the nose: the shadow it casts, its dark side, its glow and what is under it."""
    i, unit, n = rig.identity, rig.unit, nose(rig)
    solid = hull(np.concatenate([n["bridge"], n["ridge"], n["ball"], n["wings"], n["base"]]))
    shift = np.array([-0.07 * np.sign(i.light_x), 0.05]) * unit
    cast = field.soft(solid + shift, 0.04 * unit) * (1 - field.soft(solid, 0.022 * unit))
    field.add(cast * 0.25 * i.contrast, SHADOW)
    dark = 0 if i.light_x > 0 else 1
    away = np.concatenate([n["ridge"], n["base"][2:3], n["wings"][[dark]], n["bridge"][[dark]]])
    field.add(field.soft(away, 0.025 * unit) * 0.18 * i.contrast, SHADOW)
    glow = np.concatenate([n["ridge"], n["tip"][None] - (0, 0.03 * unit)])
    radii = np.array([[0.03, 0.06], [0.03, 0.08], [0.04, 0.05], [0.045, 0.035]]) * unit
    field.blobs(glow, radii, np.array([[0.04], [0.07], [0.08], [0.12]]) * np.array([GLOW]))
    field.blobs(n["base"][2:3], np.array([[0.12, 0.03]]) * unit, np.array([[-0.16, -0.2, -0.2]]))


def paint_nose(picture: np.ndarray, rig: Rig) -> None:
    """The crisp part of the nose: nostrils, wings and, when turned, its profile."""
    i, unit, n = rig.identity, rig.unit, nose(rig)
    for k, side in enumerate((-1, 1)):
        tilt = np.array([[-0.4, 0.012 * side / unit], [0, -0.016], [0.4, 0.012]])
        nostril = curve(n["nostrils"][k] + tilt * np.array([i.nose_width * 0.62 * unit, unit]), 4)
        taper = np.sin(steps(0.3, np.pi - 0.3, len(nostril)))
        stroke(picture, nostril, taper * 0.036 * unit, tone(i.skin, 0.5), 0.8)
        top, out = n["wings"][k] + (0, -0.05 * unit), n["wings"][k] + (side * 0.012 * unit, 0.0)
        wing = curve(np.stack([top, out, n["base"][0 if side < 0 else 4]]), 5)
        stroke(picture, wing, steps(0.004, 0.026, len(wing)) * unit, tone(i.skin, 0.6), 0.5)
    bridge, ball, base = (1, 2, 3) if rig.pose.yaw > 0 else (0, 0, 1)  # the far ones
    edge = curve(np.stack([n["bridge"][bridge], n["ridge"][1], n["ball"][ball], n["base"][base]]), 6)
    strength = float(np.clip((abs(rig.pose.yaw) - 0.15) / 0.5, 0, 1))
    stroke(picture, edge, steps(0.012, 0.03, len(edge)) * unit, tone(i.skin, 0.62), 0.55 * strength)


def flat_lips(rig: Rig) -> dict[str, np.ndarray]:
    """Local frontal coordinates (7, 2) of the four lip lines, left to right."""
    i, p = rig.identity, rig.pose
    stretch = 1 + 0.28 * max(p.smile, 0) + 0.5 * min(p.smile, 0) - 0.16 * p.mouth_open
    across = np.array([-1, -0.66, -0.3, 0, 0.3, 0.66, 1])
    x, bow = across * (i.mouth_width * stretch), np.abs(across)
    corner = i.mouth_y - 0.075 * p.smile * bow**1.6 + 0.03 * p.smile * (1 - bow)
    opening = 0.3 * p.mouth_open * (1 - bow**2.4)
    upper_inner, lower_inner = corner - 0.16 * opening, corner + 0.84 * opening
    pucker = 1 - 0.5 * min(p.smile, 0) - 0.2 * max(p.smile, 0)
    upper = np.array([0.0, 0.62, 1.0, 0.86, 1.0, 0.62, 0.0]) * i.lip_upper * pucker
    lower = np.array([0.0, 0.6, 0.95, 1.0, 0.95, 0.6, 0.0]) * i.lip_lower * pucker
    return {
        "upper_outer": np.stack([x, upper_inner - upper], 1),
        "upper_inner": np.stack([x * 0.97, upper_inner], 1),
        "lower_inner": np.stack([x * 0.97, lower_inner], 1),
        "lower_outer": np.stack([x, lower_inner + lower], 1),
    }


def lips(rig: Rig) -> dict[str, np.ndarray]:
    """Picture points (7, 2) of the four lip lines, left to right."""
    bulge = 0.06 * np.array([0, 0.6, 1, 1, 1, 0.6, 0])
    return {name: rig.face(line[:, 0], line[:, 1], bulge) for name, line in flat_lips(rig).items()}


def lip_outline(rig: Rig) -> np.ndarray:
    """Picture points (N, 2) around both lips, outside."""
    lines = lips(rig)
    return band(curve(lines["upper_outer"]), curve(lines["lower_outer"]))


def paint_mouth(picture: np.ndarray, rig: Rig) -> None:
    """Inside of the mouth with teeth and tongue, then the lips, the line between them and the corners."""
    i, p, unit, lines = rig.identity, rig.pose, rig.unit, lips(rig)
    upper_outer, upper_inner, lower_inner, lower_outer = map(curve, lines.values())
    if p.mouth_open > 0.005:
        paint_inside(picture, rig, upper_inner, lower_inner)
    tint(picture, band(upper_outer, upper_inner), tone(i.lip_colour, 0.86), 0.95)
    bottom = band(lower_inner, lower_outer)
    field = Field(bottom, i.lip_colour, 20)
    gloss = (lines["lower_inner"][3:4] + lines["lower_outer"][3:4]) / 2 - (0, 0.006 * unit)
    field.blobs(gloss, np.array([[0.1, 0.018]]) * unit, np.array([[0.2, 0.28, 0.28]]))
    paint(picture, field, bottom)
    shut = float(np.clip(1 - p.mouth_open / 0.12, 0, 1))
    line = curve((lines["upper_inner"] + lines["lower_inner"]) / 2)
    stroke(picture, line, (0.02 - 0.006 * steps(-1, 1, len(line)) ** 2) * unit, tone(i.lip_colour, 0.42), 0.85 * shut)
    for end, side in ((0, -1), (-1, 1)):
        fold = np.array([[-0.012 * side, 0.0], [0.012 * side, 0.0], [0.03 * side, -0.02 * p.smile]]) * unit
        stroke(picture, curve(lines["upper_inner"][end] + fold, 4), 0.018 * unit, tone(i.skin, 0.5), 0.45)


def paint_inside(picture: np.ndarray, rig: Rig, upper: np.ndarray, lower: np.ndarray) -> None:
    """The dark of the mouth, the tongue and the upper teeth, seen through the inner lines of the lips."""
    inside, flat = band(upper, lower), flat_lips(rig)
    box = bounds(inside, rig.size)
    cover = mask(box, inside)
    patch = plain(cover, (74, 22, 28))
    hump = circle(20) * (rig.identity.mouth_width * 0.56, 0.09) + (0, flat["lower_inner"][3, 1] + 0.02)
    fill(patch, rig.face(*hump.T) - box[:2], (196, 88, 92))
    x, y = flat["upper_inner"].T
    biting = curve(rig.face(x * 0.9, y + 0.085 * np.array([0.3, 0.75, 1, 1, 1, 0.75, 0.3]), 0.03))
    fill(patch, band(upper - (0, 0.03 * rig.unit), biting) - box[:2], (244, 240, 232))
    blend(picture, box, cover, patch)


def beard_area(rig: Rig) -> np.ndarray:
    """Outline of the bearded skin: along the cheeks under the nose, and down past the chin."""
    i = rig.identity
    y = np.array([0.22, 0.42, i.mouth_y - 0.06, i.nose_y + 0.16, i.nose_y + 0.12, i.nose_y + 0.135])
    left = rig.profile.around(np.radians([-84, -70, -48, -26, -10, 0]), y, 1.02)
    top = curve(rig.edge(rig.drop(band(left, (left * (-1, 1, 1))[:-1]))))
    return np.concatenate([top, top[::-1][[0, -1]] + (0, 3 * rig.unit)])


def goatee_area(rig: Rig) -> np.ndarray:
    """Outline of the bearded chin, around the mouth."""
    i = rig.identity
    x = np.array([-1.05, -1.15, -0.95, 0, 0.95, 1.15, 1.05, 0.5, 0, -0.5]) * i.mouth_width * 0.85
    y = i.mouth_y + np.array([-0.05, 0.15, 0.5, 0.66, 0.5, 0.15, -0.05, 0.1, 0.1, 0.1])
    # the chin is too narrow for its own roundness to carry the beard: hang it on a wider one
    depth = rig.profile.at(np.minimum(y, i.chin_y))[1] * np.sqrt(1 - (x / i.jaw_width) ** 2)
    return loop(rig.project(rig.drop(np.stack([x, y, depth + 0.03], 1))))


def paint_beard(picture: np.ndarray, rig: Rig) -> None:
    """Full beard, goatee or moustache, with strands."""
    i, unit = rig.identity, rig.unit
    if i.beard in ("none", "stubble"):
        return
    colour = tone(i.brow_colour, 1.1)
    if i.beard != "moustache":
        cloud = rig.profile.around(steps(0, 2 * np.pi, 32), steps(0.2, i.chin_y, 9)[:, None]).reshape(-1, 3)
        grown = (rig.drop(cloud) - (0, 0.4, 0)) * (1.05, 1.13, 1.06) + (0, 0.4, 0)
        outline = hull(rig.project(grown))
        box = bounds(outline, rig.size)
        area = beard_area(rig) if i.beard == "full" else goatee_area(rig)
        cover = np.minimum(mask(box, outline), mask(box, area))
        fill(cover, lip_outline(rig), (0,), *box[:2])
        field = Field(outline, colour, 40)
        field.sphere(field.middle - (0, 0.3 * unit), (0.85 * unit, 1.1 * unit), rig.light, 0.8)
        blend(picture, box, cover, field.patch(box), 0.94)
    y = i.mouth_y - i.lip_upper - np.array([0.035, 0.045, 0.02, -0.06])
    y = y - 0.03 * rig.pose.smile * np.array([0, 0.2, 0.7, 1])
    for side in (-1, 1):
        hair = curve(rig.face(side * np.array([0.0, 0.3, 0.75, 1.15]) * i.mouth_width, y, 0.08))
        stroke(picture, hair, steps(0.1, 0.015, len(hair)) * unit, tone(colour, 0.92), 0.95)
