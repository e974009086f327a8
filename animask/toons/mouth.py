"""Lips, and what is between them."""

import numpy as np

from animask.toons.geometry import Rig, curve, steps
from animask.toons.paint import Field, blend, bounds, circle, fill, mask, paint, ribbon, tint, tone


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


def lip_outline(rig: Rig) -> np.ndarray:
    """Picture points (N, 2) around both lips, outside."""
    m = mouth_lines(rig)
    return np.concatenate([curve(m["upper_outer"]), curve(m["lower_outer"])[::-1]])


def paint_mouth(picture: np.ndarray, rig: Rig) -> None:
    """Inside of the mouth with teeth and tongue, then the lips, the line between them and the corners."""
    i, p, unit = rig.identity, rig.pose, rig.unit
    lines = mouth_lines(rig)
    if p.mouth_open > 0.005:
        _paint_inside(picture, rig, lines)
    _paint_lips(picture, rig, lines)
    shut = float(np.clip(1 - p.mouth_open / 0.12, 0, 1))
    line = curve((lines["upper_inner"] + lines["lower_inner"]) / 2)
    width = (0.02 - 0.006 * steps(-1, 1, len(line)) ** 2) * unit
    tint(picture, ribbon(line, width), tone(i.lip_colour, 0.42), 0.85 * shut)
    for end, side in ((0, -1), (-1, 1)):
        fold = np.array([[-0.012 * side, 0.0], [0.012 * side, 0.0], [0.03 * side, -0.02 * p.smile]]) * unit
        corner = curve(lines["upper_inner"][end] + fold, 4)
        tint(picture, ribbon(corner, 0.018 * unit), tone(i.skin, 0.5), 0.45)


def _paint_inside(picture: np.ndarray, rig: Rig, lines: dict[str, np.ndarray]) -> None:
    """The dark of the mouth, the tongue and the upper teeth, seen through the lips."""
    inside = np.concatenate([curve(lines["upper_inner"]), curve(lines["lower_inner"])[::-1]])
    box = bounds(inside, rig.size)
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    patch = np.empty((box[3] - box[1], box[2] - box[0], 3), np.uint8)
    patch[:] = (74, 22, 28)
    corner, flat = np.array(box[:2]), _mouth_curves(rig)
    hump = circle(20) * (rig.identity.mouth_width * 0.56, 0.09) + (0, flat["lower_inner"][3, 1] + 0.02)
    fill(patch, rig.face(hump[:, 0], hump[:, 1]) - corner, (196, 88, 92))
    row = flat["upper_inner"]
    depth = 0.085 * np.array([0.3, 0.75, 1, 1, 1, 0.75, 0.3])
    biting = curve(rig.face(row[:, 0] * 0.9, row[:, 1] + depth, 0.03))[::-1]
    gum = curve(lines["upper_inner"]) - (0, 0.03 * rig.unit)
    fill(patch, np.concatenate([gum, biting]) - corner, (244, 240, 232))
    blend(picture, box, mask(box, inside), patch)


def _paint_lips(picture: np.ndarray, rig: Rig, lines: dict[str, np.ndarray]) -> None:
    """The darker upper lip and the lower one with its gloss."""
    i, unit = rig.identity, rig.unit
    top = np.concatenate([curve(lines["upper_outer"]), curve(lines["upper_inner"])[::-1]])
    tint(picture, top, tone(i.lip_colour, 0.86), 0.95)
    bottom = np.concatenate([curve(lines["lower_inner"]), curve(lines["lower_outer"])[::-1]])
    field = Field(bottom.min(0), bottom.max(0), i.lip_colour, 20)
    gloss = (lines["lower_inner"][3:4] + lines["lower_outer"][3:4]) / 2 - (0, 0.006 * unit)
    field.blobs(gloss, np.array([[0.1, 0.018]]) * unit, np.array([[0.2, 0.28, 0.28]]))
    paint(picture, field, bottom)
