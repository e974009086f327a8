"""Eyes with their lids, brows, and glasses before them."""

import numpy as np

from animask.toons.geometry import Rig, band, curve, steps
from animask.toons.paint import blend, bounds, circle, fill, mask, plain, stroke, tint, tone

LASHES = (34, 24, 26)


def eye_points(rig: Rig, side: int, local: np.ndarray, height: float = 0.0) -> np.ndarray:
    """Points (n, 2) in an eye's own, tilted axes (outward, down) to picture points."""
    i = rig.identity
    cos, sin = np.cos(i.eye_tilt), -np.sin(i.eye_tilt)
    out, down = local.T
    return rig.face(side * i.eye_x + side * (out * cos - down * sin), i.eye_y + (out * sin + down * cos), height)


def lids(rig: Rig, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lid lines (7, 2) in the eye's own axes, inner corner first."""
    i, p = rig.identity, rig.pose
    blink = p.blink_l if side < 0 else p.blink_r
    t = np.array([-1, -0.62, -0.25, 0.1, 0.45, 0.78, 1])
    arc = np.sqrt(np.maximum(0, 1 - np.abs(t) ** 2.2))
    squint = 0.22 * max(p.smile, 0.0)
    low = 0.62 * i.eye_height * arc * (1 - squint)
    high = -i.eye_height * arc * (1.02 - 0.35 * squint - 0.22 * p.gaze_y + 0.14 * p.brow)
    high = high * (1 - blink) + (low - 0.004) * blink
    low = np.maximum(low * (1 - 0.1 * blink), high)
    return np.stack([t * i.eye_width, high], 1), np.stack([t * i.eye_width, low], 1)


def pupil(rig: Rig, side: int) -> np.ndarray:
    """The pupil's place (2,) in the eye's own axes."""
    i, p = rig.identity, rig.pose
    return np.array([side * 0.42 * i.eye_width * p.gaze_x, 0.42 * i.eye_height * p.gaze_y - 0.012])


def paint_eye(picture: np.ndarray, rig: Rig, side: int) -> None:
    """White, iris, pupil and highlight inside the lids, then lids and lashes."""
    i, unit = rig.identity, rig.unit
    high, low = lids(rig, side)
    upper, lower = curve(eye_points(rig, side, high)), curve(eye_points(rig, side, low))
    paint_lid(picture, rig, side, upper)
    paint_eyeball(picture, rig, side, upper, lower)
    taper = np.sin(steps(0.35, 2.6, len(upper)))
    stroke(picture, upper, (0.022 + 0.028 * i.lash) * unit * taper, LASHES, 0.95)
    stroke(picture, lower, 0.012 * unit, tone(i.skin, 0.45), 0.6)
    if i.lash > 0.55:
        tip = eye_points(rig, side, high[-2:-1] + np.array([[0.045, -0.035]]) * i.lash)
        wing = curve(np.concatenate([upper[-9:-8], upper[-2:-1], tip]), 4)
        stroke(picture, wing, steps(0.05, 0.004, 9) * i.lash * unit, LASHES, 0.95)


def paint_eyeball(picture: np.ndarray, rig: Rig, side: int, upper: np.ndarray, lower: np.ndarray) -> None:
    """White, iris, pupil, the shadow of the lid and two highlights between the lids."""
    i, opening = rig.identity, band(upper, lower)
    box = bounds(opening, rig.size)
    cover, corner = mask(box, opening), np.array(box[:2])
    patch = plain(cover, (246, 243, 240))
    glint = side * np.sign(i.light_x) * 0.36
    # radius and place in iris radii: rim, iris, its bright lower half, pupil, highlight, second highlight
    radius = np.array([1.05, 0.92, 0.6, 0.5, 0.24, 0.11]) * i.iris_size
    place = np.array([[0, 0], [0, 0], [0, 0.25], [0, 0], [glint, -0.34], [-glint, 0.36]]) * i.iris_size
    local = pupil(rig, side) + place[:, None] + radius[:, None, None] * circle(28)
    discs = eye_points(rig, side, local.reshape(-1, 2), 0.01).reshape(6, 28, 2) - corner
    inks = (tone(i.iris, 0.45), i.iris, tone(i.iris, 1.35), (18, 14, 16), (255, 255, 255), (226, 230, 236))
    for disc, ink in zip(discs[:4], inks[:4], strict=True):
        fill(patch, disc, ink)
    shade = np.array([[0.0, -0.2], [0.0, 0.045]]) * rig.unit - corner
    dark = (patch * np.array([0.68, 0.66, 0.7])).astype(np.uint8)
    whole = (0, 0, cover.shape[1], cover.shape[0])
    blend(patch, whole, mask(whole, band(upper + shade[0], upper + shade[1])), dark, 0.75)
    for disc, ink in zip(discs[4:], inks[4:], strict=True):
        fill(patch, disc, ink)
    blend(picture, box, cover, patch)


def paint_lid(picture: np.ndarray, rig: Rig, side: int, upper: np.ndarray) -> None:
    """The skin above the eye: a lid that is seen more the more it is shut, and its crease."""
    i = rig.identity
    t = np.array([-1.02, -0.62, -0.25, 0.1, 0.45, 0.78, 1.04])
    arc = np.sqrt(np.maximum(0, 1.1 - np.abs(t) ** 2.2))
    local = np.stack([t * i.eye_width * 1.04, -i.eye_height * arc * 1.34 - 0.01 * rig.pose.brow], 1)
    crease = curve(eye_points(rig, side, local))
    tint(picture, band(crease, upper), tone(i.skin, 0.92), 0.6)
    stroke(picture, crease, 0.016 * rig.unit * np.sin(steps(0.1, 3.05, len(crease))), tone(i.skin, 0.6), 0.5)


def brow_points(rig: Rig, side: int) -> np.ndarray:
    """Picture points (5, 2) of a brow, inner end first."""
    i, p = rig.identity, rig.pose
    t = steps(-1, 1, 5)
    x = i.eye_x + t * i.eye_width * 1.16 + 0.015
    raised = 0.075 * p.brow * (1 + 0.25 * t) if p.brow > 0 else 0.055 * p.brow * (1 - 0.6 * t)
    y = i.eye_y - i.brow_gap - i.brow_arch * (1 - (t - 0.25) ** 2) - 0.1 * i.brow_tilt * t - raised
    return rig.face(side * x, y, 0.02)


def paint_brow(picture: np.ndarray, rig: Rig, side: int) -> None:
    """One tapered brow."""
    i, points = rig.identity, curve(brow_points(rig, side))
    t = steps(0, 1, len(points))
    width = i.brow_thickness * rig.unit * (0.75 + 0.5 * np.sin(np.pi * t) - 0.62 * t**2)
    stroke(picture, points, width * 1.2, i.brow_colour, 0.35)
    stroke(picture, points, width, i.brow_colour, 0.9)


def paint_glasses(picture: np.ndarray, rig: Rig) -> None:
    """Frames on a plane before the eyes, joined by a bridge."""
    i, unit, front = rig.identity, rig.unit, lens_depth(rig)
    points = circle(40)
    shape = np.sign(points) * np.abs(points) ** (2 / (2.0 if i.glasses == "round" else 3.6))
    width, height = 0.27, 0.23 if i.glasses != "square" else 0.2
    thick = np.full(41, 0.035)
    if i.glasses == "half":
        thick = np.where(np.append(points[:, 1], 0) < 0.1, 0.045, 0.012)
    for side in (-1, 1):
        x, y = side * (i.eye_x + 0.015) + width * shape[:, 0], i.eye_y + 0.02 + height * shape[:, 1]
        rim = rig.project(np.stack([x, y, front - 0.25 * np.abs(x) ** 2], 1))
        tint(picture, rim, (214, 232, 244), 0.07)
        shine = rim[[24, 27, 30, 33]] * 0.8 + rim.mean(0) * 0.2
        tint(picture, np.concatenate([shine, rim[[30, 22]] * 0.45 + rim.mean(0) * 0.55]), (255, 255, 255), 0.1)
        stroke(picture, np.concatenate([rim, rim[:1]]), thick * unit, i.glasses_colour)
    x = i.eye_x - 0.25
    bridge = np.array([[-x, i.eye_y - 0.03, front], [0, i.eye_y - 0.075, 0.03 + front], [x, i.eye_y - 0.03, front]])
    stroke(picture, curve(rig.project(bridge), 4), 0.034 * unit, i.glasses_colour)


def lens_depth(rig: Rig) -> float:
    """How far before the skull's middle the lenses stand."""
    return float(rig.profile.lift(rig.identity.eye_x * 0.6, rig.identity.eye_y)[2]) + 0.1


def paint_bows(picture: np.ndarray, rig: Rig) -> None:
    """The bows of the glasses, from the hinges to the ears; a bow thins out as it turns away."""
    i, x = rig.identity, rig.identity.eye_x + 0.28
    for side in (-1, 1):
        hinge = np.array([side * x, i.eye_y - 0.05, lens_depth(rig) - 0.25 * x**2])
        temple = np.array([side * i.head_width, i.eye_y - 0.02, 0.0])
        seen = float(np.clip((rig.rotation @ np.array([side, 0, 0.35]))[2] / 0.15, 0, 1))
        stroke(picture, rig.project(np.linspace(hinge, temple, 4)), 0.034 * seen * rig.unit, i.glasses_colour)
