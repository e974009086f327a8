"""The head and what is on it, from the skin up: ears, nose, mouth, eyes, brows, beard, glasses."""

import cv2
import numpy as np

from animask.toons.geometry import Rig, curve, head_cloud, loop
from animask.toons.identity import Colour
from animask.toons.paint import Field, blend, bounds, cut, fill, mask, paint, ribbon, ring, tint
from animask.toons.scene import _shade

_SHADOW, _GLOW = (-1.0, -1.25, -1.25), (1.0, 1.0, 0.95)
_FRECKLE_STREAM = 5


def light(rig: Rig) -> np.ndarray:
    """Unit vector to the light."""
    i = rig.identity
    v = np.array([i.light_x, i.light_y, 0.85])
    return np.asarray(v / np.linalg.norm(v))


def head_outline(rig: Rig) -> np.ndarray:
    """The outline of the bare head (n, 2), jaw opened."""
    points = rig.project(rig.drop(head_cloud(rig.identity))).astype(np.float32)
    return cv2.convexHull(points)[:, 0].astype(float)


def paint_ears(picture: np.ndarray, rig: Rig, near: bool) -> None:
    """Those ears that are in front of (near) or behind the outline of the head: the two meet where the root is on it."""
    i = rig.identity
    for side in (-1, 1):
        root = np.array([side * i.head_width * 0.97, i.eye_y + 0.16, -0.1])
        normal = rig.rotation @ np.array([side, 0.0, 0.0])
        if (normal[2] > 0) == near:
            _paint_ear(picture, rig, root, side)


def _paint_ear(picture: np.ndarray, rig: Rig, root: np.ndarray, side: int) -> None:
    i = rig.identity
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
    field = Field(outline.min(0), outline.max(0), _shade(i.skin, 0.97), 16)
    field.add(field.soft(inner, 0.03 * rig.unit), (-0.2, -0.34, -0.34))
    paint(picture, field, outline)
    if i.earrings:
        fill(picture, ring(rig.project(root + rim[6] * (1, 1.05, 1)), 0.045 * rig.unit, 16), (236, 200, 110))


def paint_head(picture: np.ndarray, rig: Rig, hairline: np.ndarray | None) -> None:
    """The skin of the head with its soft shading; `hairline` is the outline of what the hair leaves free, if any."""
    i, p, unit = rig.identity, rig.pose, rig.unit
    outline = head_outline(rig)
    low, high = outline.min(0), outline.max(0)
    field = Field(low, high, i.skin, 72)
    middle = (low + high) / 2
    field.sphere(
        middle, ((high[0] - low[0]) * 0.53, (high[1] - low[1]) * 0.54), light(rig), 0.62 * i.contrast
    )
    field.blobs(*_soft_spots(rig))
    if hairline is not None:
        under = 1 - field.soft(hairline, 0.07 * unit)
        field.add(under * 0.5, (-0.6, -0.75, -0.75))
    _shade_nose(field, rig)
    if i.beard == "stubble":
        area = field.soft(_beard_area(rig), 0.05 * unit) - field.soft(_lip_outline(rig), 0.02 * unit)
        tone = np.log(np.maximum(i.brow_colour, 4)) - np.log(i.skin)
        field.add(np.clip(area, 0, 1) * 0.24, tuple(tone))
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
                (-0.1 - 0.12 * smile, -0.14 - 0.14 * smile, -0.14 - 0.14 * smile),
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
    solid = cv2.convexHull(
        np.concatenate([n["bridge"], n["ridge"], n["ball"], n["wings"], n["base"]]).astype(np.float32)
    )[:, 0]
    body = field.soft(solid.astype(float), 0.022 * unit)
    shift = np.array([-0.07 * np.sign(i.light_x), 0.05]) * unit
    cast = field.soft(solid + shift, 0.04 * unit) * (1 - body)
    field.add(cast * 0.2 * i.contrast, _SHADOW)
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
    field.add(away * 0.13 * i.contrast, _SHADOW)
    glow = np.concatenate([n["ridge"], n["tip"][None] - (0, 0.03 * unit)])
    radii = np.array([[0.03, 0.06], [0.03, 0.08], [0.04, 0.05], [0.045, 0.035]]) * unit
    field.blobs(glow, radii, np.array([[0.04], [0.07], [0.08], [0.12]]) * np.array([_GLOW]))
    field.blobs(n["base"][2][None], np.array([[0.12, 0.03]]) * unit, np.array([[-0.16, -0.2, -0.2]]))


def paint_nose(picture: np.ndarray, rig: Rig) -> None:
    """The crisp part of the nose: nostrils, wings and, when turned, its profile."""
    i, unit, n = rig.identity, rig.unit, _nose(rig)
    dark = _shade(i.skin, 0.5)
    for k, side in enumerate((-1, 1)):
        tilt = curve(
            n["nostrils"][k]
            + np.array([[-0.4, 0.012 * side / unit], [0, -0.016], [0.4, 0.012]])
            * np.array([i.nose_width * 0.62 * unit, unit]),
            4,
        )
        tint(
            picture, ribbon(tilt, np.sin(np.linspace(0.3, np.pi - 0.3, len(tilt))) * 0.036 * unit), dark, 0.8
        )
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
        tint(picture, ribbon(wing, np.linspace(0.004, 0.026, len(wing)) * unit), _shade(i.skin, 0.6), 0.5)
    far = 1 if rig.pose.yaw > 0 else 0
    strength = float(np.clip((abs(rig.pose.yaw) - 0.15) / 0.5, 0, 1))
    edge = curve(
        np.stack(
            [n["bridge"][far], n["ridge"][1], n["ball"][1 + (1 if far else -1)], n["base"][3 if far else 1]]
        ),
        6,
    )
    tint(
        picture,
        ribbon(edge, np.linspace(0.012, 0.03, len(edge)) * unit),
        _shade(i.skin, 0.62),
        0.55 * strength,
    )


def _mouth_curves(rig: Rig) -> dict[str, np.ndarray]:
    """Local frontal coordinates (7, 2) of the four lip lines, left to right."""
    i, p = rig.identity, rig.pose
    stretch = 1 + 0.28 * max(p.smile, 0) + 0.5 * min(p.smile, 0) - 0.16 * p.mouth_open
    w = i.mouth_width * stretch
    lift = 0.075 * p.smile
    x = np.array([-1, -0.66, -0.3, 0, 0.3, 0.66, 1]) * w
    bow = np.abs(np.array([-1, -0.66, -0.3, 0, 0.3, 0.66, 1]))
    corner = i.mouth_y - lift * bow**1.6 + 0.03 * p.smile * (1 - bow)
    opening = 0.3 * p.mouth_open * (1 - bow**2.4)
    upper_inner = corner - 0.16 * opening
    lower_inner = corner + 0.84 * opening
    pucker = 1 - 0.5 * min(p.smile, 0) - 0.2 * max(p.smile, 0)
    upper = np.array([0.0, 0.62, 1.0, 0.86, 1.0, 0.62, 0.0]) * i.lip_upper * pucker
    lower = np.array([0.0, 0.6, 0.95, 1.0, 0.95, 0.6, 0.0]) * i.lip_lower * pucker
    return {
        "upper_outer": np.stack([x, upper_inner - upper], 1),
        "upper_inner": np.stack([x * 0.97, upper_inner], 1),
        "lower_inner": np.stack([x * 0.97, lower_inner], 1),
        "lower_outer": np.stack([x, lower_inner + lower], 1),
    }


def mouth_lines(rig: Rig) -> dict[str, np.ndarray]:
    """Picture points (7, 2) of the four lip lines, left to right."""
    bulge = 0.06 * np.array([0, 0.6, 1, 1, 1, 0.6, 0])
    return {name: rig.face(line[:, 0], line[:, 1], bulge) for name, line in _mouth_curves(rig).items()}


def _lip_outline(rig: Rig) -> np.ndarray:
    m = mouth_lines(rig)
    return np.concatenate([curve(m["upper_outer"]), curve(m["lower_outer"])[::-1]])


def paint_mouth(picture: np.ndarray, rig: Rig) -> None:
    """Inside of the mouth with teeth and tongue, then the lips."""
    i, p, unit = rig.identity, rig.pose, rig.unit
    m = mouth_lines(rig)
    upper_outer, upper_inner, lower_inner, lower_outer = (
        curve(m[k]) for k in ("upper_outer", "upper_inner", "lower_inner", "lower_outer")
    )
    inside = np.concatenate([upper_inner, lower_inner[::-1]])
    box = bounds(inside, rig.size)
    if box[2] > box[0] and box[3] > box[1] and p.mouth_open > 0.005:
        patch = np.empty((box[3] - box[1], box[2] - box[0], 3), np.uint8)
        patch[:] = (74, 22, 28)
        corner = np.array([box[0], box[1]])
        tongue_y = _mouth_curves(rig)["lower_inner"][3, 1]
        tongue = rig.face(
            np.cos(np.linspace(0, 2 * np.pi, 20)) * i.mouth_width * 0.56,
            tongue_y + 0.02 + 0.09 * np.sin(np.linspace(0, 2 * np.pi, 20)),
        )
        fill(patch, tongue - corner, (196, 88, 92))
        row = _mouth_curves(rig)["upper_inner"]
        depth = 0.085 * np.array([0.3, 0.75, 1, 1, 1, 0.75, 0.3])[:, None] * (0, 1)
        teeth = np.concatenate(
            [
                curve(m["upper_inner"]) - (0, 0.03 * unit),
                curve(rig.face(row[:, 0] * 0.9, (row + depth)[:, 1], 0.03))[::-1],
            ]
        )
        fill(patch, teeth - corner, (244, 240, 232))
        blend(picture, box, mask(box, inside), patch)
    top, bottom = (
        np.concatenate([upper_outer, upper_inner[::-1]]),
        np.concatenate([lower_inner, lower_outer[::-1]]),
    )
    tint(picture, top, _shade(i.lip_colour, 0.86), 0.95)
    field = Field(bottom.min(0), bottom.max(0) + 1, i.lip_colour, 20)
    field.blobs(
        (lower_inner + lower_outer)[18:19] / 2 - (0, 0.006 * unit),
        np.array([[0.1, 0.018]]) * unit,
        np.array([[0.2, 0.28, 0.28]]),
    )
    paint(picture, field, bottom)
    line = curve((m["upper_inner"] + m["lower_inner"]) / 2)
    shut = float(np.clip(1 - p.mouth_open / 0.12, 0, 1))
    tint(
        picture,
        ribbon(line, np.linspace(-1, 1, len(line)) ** 2 * -0.006 * unit + 0.02 * unit),
        _shade(i.lip_colour, 0.42),
        0.85 * shut,
    )
    for end, side in ((0, -1), (-1, 1)):
        dimple = (
            m["upper_inner"][end]
            + np.array([[-0.012 * side, 0.0], [0.012 * side, 0.0], [0.03 * side, -0.02 * p.smile]]) * unit
        )
        tint(picture, ribbon(curve(dimple, 4), 0.018 * unit), _shade(i.skin, 0.5), 0.6)


def _eye_frame(rig: Rig, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre and tilt direction (unit) of an eye in frontal coordinates; x grows outward in the eye's own axes."""
    i = rig.identity
    return np.array([side * i.eye_x, i.eye_y]), np.array([np.cos(i.eye_tilt), -np.sin(i.eye_tilt)])


def _eye_points(rig: Rig, side: int, local: np.ndarray, height: float = 0.0) -> np.ndarray:
    """Points (n, 2) in an eye's own axes (outward, down) to picture points."""
    centre, tilt = _eye_frame(rig, side)
    x = local[:, 0] * tilt[0] - local[:, 1] * tilt[1]
    y = local[:, 0] * tilt[1] + local[:, 1] * tilt[0]
    return rig.face(centre[0] + side * x, centre[1] + y, height)


def lids(rig: Rig, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lid lines (7, 2) in the eye's own axes, inner corner first."""
    i, p = rig.identity, rig.pose
    blink = p.blink_l if side < 0 else p.blink_r
    t = np.array([-1, -0.62, -0.25, 0.1, 0.45, 0.78, 1])
    arc = np.sqrt(np.maximum(0, 1 - np.abs(t) ** 2.2))
    squint = 0.22 * max(p.smile, 0.0)
    low = 0.62 * i.eye_height * arc * (1 - squint)
    gaze = 0.22 * p.gaze_y
    high = -i.eye_height * arc * (1.02 - 0.35 * squint - gaze + 0.14 * p.brow)
    high = high * (1 - blink) + (low - 0.004) * blink
    low = low * (1 - 0.1 * blink)
    return np.stack([t * i.eye_width, high], 1), np.stack([t * i.eye_width, np.maximum(low, high)], 1)


def pupil(rig: Rig, side: int) -> np.ndarray:
    """The pupil's place (2,) in the eye's own axes."""
    i, p = rig.identity, rig.pose
    return np.array([side * 0.42 * i.eye_width * p.gaze_x, 0.42 * i.eye_height * p.gaze_y - 0.012])


def paint_eye(picture: np.ndarray, rig: Rig, side: int) -> None:
    """White, iris, pupil and highlight inside the lids, then lids and lashes."""
    i, unit = rig.identity, rig.unit
    high, low = lids(rig, side)
    upper, lower = curve(_eye_points(rig, side, high)), curve(_eye_points(rig, side, low))
    opening = np.concatenate([upper, lower[::-1]])
    _paint_lid(picture, rig, side, upper)
    box = bounds(opening, rig.size)
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    patch = _eyeball(rig, side, box, upper)
    blend(picture, box, mask(box, opening), patch)
    taper = np.sin(np.linspace(0.35, 2.6, len(upper)))
    tint(picture, ribbon(upper, (0.022 + 0.028 * i.lash) * unit * taper), (34, 24, 26), 0.95)
    tint(picture, ribbon(lower, 0.012 * unit), _shade(i.skin, 0.45), 0.6)
    if i.lash > 0.55:
        tip = _eye_points(rig, side, high[-2:-1] + np.array([[0.045, -0.035]]) * i.lash)
        wing = np.concatenate([upper[-9:-8], upper[-2:-1], tip])
        tint(picture, ribbon(curve(wing, 4), np.linspace(0.05, 0.004, 9) * i.lash * unit), (34, 24, 26), 0.95)


def _eyeball(rig: Rig, side: int, box: tuple[int, int, int, int], upper: np.ndarray) -> np.ndarray:
    i, unit = rig.identity, rig.unit
    x0, y0, x1, y1 = box
    corner = np.array([x0, y0])
    patch = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
    patch[:] = (246, 243, 240)
    centre = pupil(rig, side)
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    unit_ring = np.stack([np.cos(angle), np.sin(angle)], 1)

    def disc(radius: float, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        return (
            _eye_points(rig, side, centre + np.array([side * shift[0], shift[1]]) + radius * unit_ring, 0.01)
            - corner
        )

    r = i.iris_size
    fill(patch, disc(r * 1.05), _shade(i.iris, 0.45))
    fill(patch, disc(r * 0.92), i.iris)
    fill(patch, disc(r * 0.6, (0.0, 0.25 * r)), _shade(i.iris, 1.35))
    fill(patch, disc(r * 0.5), (18, 14, 16))
    shadow = np.concatenate([upper + (0, -0.2 * unit), (upper + (0, 0.045 * unit))[::-1]]) - corner
    tint_patch = _band(patch, shadow)
    glint = np.sign(i.light_x) * 0.36 * r
    fill(tint_patch, disc(r * 0.24, (glint, -0.34 * r)), (255, 255, 255))
    fill(tint_patch, disc(r * 0.11, (-glint, 0.36 * r)), (226, 230, 236))
    return tint_patch


def _band(patch: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """The patch with the shadow of the upper lid on it."""
    height, width = patch.shape[:2]
    box = (0, 0, width, height)
    dark = (patch * np.array([0.68, 0.66, 0.7])).astype(np.uint8)
    blend(patch, box, mask(box, polygon), dark, 0.75)
    return patch


def _paint_lid(picture: np.ndarray, rig: Rig, side: int, upper: np.ndarray) -> None:
    """The skin above the eye: a lid that is seen more the more it is shut, and its crease."""
    i = rig.identity
    t = np.array([-1.02, -0.62, -0.25, 0.1, 0.45, 0.78, 1.04])
    arc = np.sqrt(np.maximum(0, 1.1 - np.abs(t) ** 2.2))
    crease = curve(
        _eye_points(
            rig,
            side,
            np.stack([t * i.eye_width * 1.04, -i.eye_height * arc * 1.34 - 0.01 * rig.pose.brow], 1),
        )
    )
    tint(picture, np.concatenate([crease, upper[::-1]]), _shade(i.skin, 0.86), 0.7)
    tint(
        picture,
        ribbon(crease, 0.016 * rig.unit * np.sin(np.linspace(0.3, 2.9, len(crease)))),
        _shade(i.skin, 0.58),
        0.6,
    )


def brow_points(rig: Rig, side: int) -> np.ndarray:
    """Frontal coordinates (5, 2) of a brow, inner end first."""
    i, p = rig.identity, rig.pose
    t = np.linspace(-1, 1, 5)
    x = i.eye_x + t * i.eye_width * 1.16 + 0.015
    raised = 0.075 * p.brow * (1 + 0.25 * t) if p.brow > 0 else 0.055 * p.brow * (1 - 0.6 * t)
    y = i.eye_y - i.brow_gap - i.brow_arch * (1 - (t - 0.25) ** 2) - 0.1 * i.brow_tilt * t - raised
    return np.stack([side * x, y], 1)


def paint_brow(picture: np.ndarray, rig: Rig, side: int) -> None:
    """One tapered brow."""
    i = rig.identity
    line = brow_points(rig, side)
    points = curve(rig.face(line[:, 0], line[:, 1], 0.02))
    t = np.linspace(0, 1, len(points))
    width = i.brow_thickness * rig.unit * (0.75 + 0.5 * np.sin(np.pi * t) - 0.62 * t**2)
    tint(picture, ribbon(points, width * 1.2), i.brow_colour, 0.35)
    tint(picture, ribbon(points, width), i.brow_colour, 0.9)


def _freckle(picture: np.ndarray, rig: Rig) -> None:
    i = rig.identity
    rng = np.random.default_rng([i.seed, _FRECKLE_STREAM])
    for side, x, y, r in rng.uniform([-1, 0.06, 0.0, 0.008], [1, 0.5, 0.26, 0.017], (i.freckles, 4)):
        centre = rig.face(np.copysign(x, side), i.eye_y + 0.14 + y)
        tint(picture, ring(centre, r * rig.unit, 8), _shade(i.skin, 0.68), 0.6)


def _beard_area(rig: Rig) -> np.ndarray:
    """Outline of the bearded skin: along the cheeks under the nose, and down past the chin."""
    i = rig.identity
    az = np.radians([-84, -70, -48, -26, -10, 0])
    y = np.array([0.22, 0.42, i.mouth_y - 0.06, i.nose_y + 0.16, i.nose_y + 0.12, i.nose_y + 0.135])
    left = rig.profile.around(az, y, 1.02)
    top = np.concatenate([left, (left * (-1, 1, 1))[-2::-1]])
    top = curve(rig.edge(rig.drop(top)))
    return np.concatenate([top, top[::-1][[0, -1]] + (0, 3 * rig.unit)])


def paint_beard(picture: np.ndarray, rig: Rig) -> None:
    """Full beard, goatee or moustache, with strands."""
    i, unit = rig.identity, rig.unit
    colour = _shade(i.brow_colour, 1.1)
    if i.beard in ("full", "goatee"):
        cloud = rig.drop(
            rig.profile.around(
                np.linspace(0, 2 * np.pi, 32)[None], np.linspace(0.2, i.chin_y, 9)[:, None]
            ).reshape(-1, 3)
        )
        grown = (cloud - (0, 0.4, 0)) * (1.05, 1.13, 1.06) + (0, 0.4, 0)
        outline = cv2.convexHull(rig.project(grown).astype(np.float32))[:, 0].astype(float)
        box = bounds(outline, rig.size)
        if box[2] <= box[0] or box[3] <= box[1]:
            return
        area = _beard_area(rig) if i.beard == "full" else _goatee(rig)
        cover = np.minimum(mask(box, outline), mask(box, area))
        cut(cover, box, _lip_outline(rig))
        field = Field(outline.min(0), outline.max(0), colour, 40)
        middle = (outline.min(0) + outline.max(0)) / 2
        field.sphere(middle - (0, 0.3 * unit), (0.85 * unit, 1.1 * unit), light(rig), 0.8)
        blend(picture, box, cover, field.patch(box), 0.94)
    if i.beard in ("full", "goatee", "moustache"):
        w = i.mouth_width
        for side in (-1, 1):
            x = side * np.array([0.0, 0.3, 0.75, 1.15]) * w
            y = (
                i.mouth_y
                - i.lip_upper
                - np.array([0.035, 0.045, 0.02, -0.06])
                - 0.03 * rig.pose.smile * np.array([0, 0.2, 0.7, 1])
            )
            hair = curve(rig.face(x, y, 0.08))
            tint(
                picture, ribbon(hair, np.linspace(0.085, 0.01, len(hair)) * unit), _shade(colour, 0.92), 0.95
            )


def _goatee(rig: Rig) -> np.ndarray:
    i = rig.identity
    x = np.array([-1.05, -1.2, -1.0, 0, 1.0, 1.2, 1.05, 0.5, 0, -0.5]) * i.mouth_width * 0.85
    y = i.mouth_y + np.array([-0.05, 0.15, 0.6, 0.8, 0.6, 0.15, -0.05, 0.1, 0.1, 0.1])
    return loop(
        rig.project(
            rig.drop(rig.profile.lift(x, np.minimum(y, i.chin_y), 0.03))
            + np.stack([0 * x, np.maximum(0, y - i.chin_y), 0 * x], 1)
        )
    )


def paint_glasses(picture: np.ndarray, rig: Rig) -> None:
    """Frames on a plane before the eyes, with bows to the ears."""
    i, unit = rig.identity, rig.unit
    power = 2.0 if i.glasses == "round" else 3.6
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    shape = np.stack([np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)], 1)
    front = float(rig.profile.lift(i.eye_x * 0.6, i.eye_y)[2]) + 0.1
    width, height = 0.27, 0.23 if i.glasses != "square" else 0.2
    for side in (-1, 1):
        x, y = side * (i.eye_x + 0.015) + width * shape[:, 0], i.eye_y + 0.02 + height * shape[:, 1]
        rim = rig.project(np.stack([x, y, front - 0.25 * np.abs(x) ** 2], 1))
        tint(picture, rim, (214, 232, 244), 0.14)
        shine = rim[[24, 27, 30, 33]] * 0.8 + rim.mean(0) * 0.2
        tint(
            picture, np.concatenate([shine, rim[[30, 22]] * 0.45 + rim.mean(0) * 0.55]), (255, 255, 255), 0.16
        )
        thick = (
            np.full(41, 0.035)
            if i.glasses != "half"
            else np.where(np.sin(np.append(angle, 0)) < 0.1, 0.045, 0.012)
        )
        _stroke(picture, np.concatenate([rim, rim[:1]]), thick * unit, i.glasses_colour)
        hinge = np.array([side * (i.eye_x + 0.28), i.eye_y - 0.05, front - 0.25 * (i.eye_x + 0.28) ** 2])
        temple = np.array([side * i.head_width * 1.0, i.eye_y - 0.02, 0.0])
        if (rig.rotation @ np.array([side, 0, 0.35]))[2] > 0:
            _stroke(picture, rig.project(np.linspace(hinge, temple, 4)), 0.034 * unit, i.glasses_colour)
    bridge = np.array([[-1, -0.03, 0], [0, -0.075, 0.03], [1, -0.03, 0]]) * (i.eye_x - 0.25, 1, 1) + (
        0,
        i.eye_y,
        front,
    )
    _stroke(picture, curve(rig.project(bridge), 4), 0.034 * unit, i.glasses_colour)


def _stroke(picture: np.ndarray, points: np.ndarray, width: np.ndarray | float, colour: Colour) -> None:
    tint(picture, ribbon(points, width), colour, 1.0)
