"""Beards: full, goatee, moustache."""

import numpy as np

from animask.toons.geometry import Rig, curve, hull, loop, steps
from animask.toons.mouth import lip_outline
from animask.toons.paint import Field, blend, bounds, cut, mask, ribbon, tint, tone


def beard_area(rig: Rig) -> np.ndarray:
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
    colour = tone(i.brow_colour, 1.1)
    if i.beard in ("full", "goatee"):
        cloud = rig.drop(
            rig.profile.around(steps(0, 2 * np.pi, 32)[None], steps(0.2, i.chin_y, 9)[:, None]).reshape(-1, 3)
        )
        grown = (cloud - (0, 0.4, 0)) * (1.05, 1.13, 1.06) + (0, 0.4, 0)
        outline = hull(rig.project(grown))
        box = bounds(outline, rig.size)
        if box[2] <= box[0] or box[3] <= box[1]:
            return
        area = beard_area(rig) if i.beard == "full" else _goatee(rig)
        cover = np.minimum(mask(box, outline), mask(box, area))
        cut(cover, box, lip_outline(rig))
        field = Field(outline.min(0), outline.max(0), colour, 40)
        middle = (outline.min(0) + outline.max(0)) / 2
        field.sphere(middle - (0, 0.3 * unit), (0.85 * unit, 1.1 * unit), rig.light, 0.8)
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
            tint(picture, ribbon(hair, steps(0.1, 0.015, len(hair)) * unit), tone(colour, 0.92), 0.95)


def _goatee(rig: Rig) -> np.ndarray:
    """Outline of the bearded chin, around the mouth."""
    i = rig.identity
    x = np.array([-1.05, -1.15, -0.95, 0, 0.95, 1.15, 1.05, 0.5, 0, -0.5]) * i.mouth_width * 0.85
    y = i.mouth_y + np.array([-0.05, 0.15, 0.5, 0.66, 0.5, 0.15, -0.05, 0.1, 0.1, 0.1])
    # the chin is too narrow for its own roundness to carry the beard: hang it on a wider one
    depth = rig.profile.at(np.minimum(y, i.chin_y))[1] * np.sqrt(1 - (x / i.jaw_width) ** 2)
    return loop(rig.project(rig.drop(np.stack([x, y, depth + 0.03], 1))))
