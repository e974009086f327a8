"""Hair: a cap that grows on the skull, a window in it for the face, and the pieces that hang or stand out."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from animask.toons.face import light
from animask.toons.geometry import Rig, curve, loop, profile
from animask.toons.identity import Identity
from animask.toons.paint import Field, bounds, blend, cut, mask, paint, ribbon, ring
from animask.toons.scene import _shade

_HAIR_STREAM = 6


@dataclass(frozen=True)
class Cut:
    """A hair style. Heights are local y; `grow` scales the skull."""

    grow: float
    side: float  # how far down the cap reaches at the sides
    nape: float  # and at the back
    temple: float  # half-width of the face window at eye height, degrees of azimuth
    cheek: float  # and at the jaw; beyond 90 leaves the ears free
    tuft: float = 0.0  # height of a crest on top
    curls: float = 0.0  # radius of curls on the outline
    back: float = 0.0  # how far down hair hangs behind the neck


_CUTS = {
    "buzz": Cut(1.03, 0.1, 0.35, 78, 100),
    "short": Cut(1.09, 0.1, 0.4, 74, 100),
    "sidepart": Cut(1.11, 0.12, 0.4, 72, 100, tuft=0.08),
    "quiff": Cut(1.07, 0.08, 0.35, 74, 100, tuft=0.3),
    "bob": Cut(1.16, 0.85, 0.8, 62, 54, back=0.85),
    "long": Cut(1.13, 1.5, 1.5, 62, 60, back=1.75),
    "wavy": Cut(1.17, 1.25, 1.3, 62, 56, curls=0.17, back=1.5),
    "curly": Cut(1.14, 0.1, 0.45, 70, 98, curls=0.17),
    "afro": Cut(1.34, 0.3, 0.6, 72, 96, curls=0.14),
    "bun": Cut(1.06, 0.1, 0.4, 74, 102),
    "mohawk": Cut(1.015, 0.1, 0.3, 80, 100, tuft=0.5),
    "ponytail": Cut(1.07, 0.12, 0.4, 72, 102),
    "fringe": Cut(1.12, 0.25, 0.45, 66, 96),
}


@lru_cache(maxsize=256)
def _cap(identity: Identity) -> np.ndarray:
    """Points (n, 3) of the outside of the hair."""
    style, i = _CUTS[identity.hair_style], identity
    grow = 1 + (style.grow - 1) * i.hair_volume
    azimuth = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    reach = style.side + (style.nape - style.side) * (0.5 - 0.5 * np.cos(azimuth)) ** 2
    reach = np.where(np.cos(azimuth) > 0.35, i.hair_line, reach)
    steps = 1 - np.cos(np.linspace(0, 1, 14) * np.pi / 2)
    y = -1 + (np.minimum(reach, 0.35)[None] + 1) * steps[:, None]
    points = profile(i).around(azimuth[None], y, grow)
    hang = [points.reshape(-1, 3)]
    for share in (0.5, 1.0):
        low = points[-1].copy()
        low[:, 1] += np.maximum(0, reach - 0.35) * share
        low[:, 0] *= 1 + 0.06 * share
        hang.append(low[reach > 0.36])
    return np.concatenate(hang)


@lru_cache(maxsize=256)
def _window(identity: Identity) -> np.ndarray:
    """Local points (n, 3) of the hairline, from the left jaw over the forehead to the right jaw."""
    style, i = _CUTS[identity.hair_style], identity
    side, top = i.hair_side, i.hair_line
    az = np.array([style.cheek, style.cheek, style.temple + 8, style.temple, 58, 42, 26, 10])
    y = np.array([1.5, 0.5, 0.12, -0.2, top + 0.2, top + 0.07, top, top - 0.02])
    az, y = np.concatenate([-az, az[::-1]]), np.concatenate([y, y[::-1]])
    rng = np.random.default_rng([i.seed, _HAIR_STREAM])
    forehead = np.cos(np.radians(np.clip(az, -90, 90))) ** 1.2 * (y < -0.15)
    lean = az * side / 60
    if i.hair_style in ("sidepart", "bob", "long", "wavy", "quiff"):
        y = y + forehead * (0.2 * np.clip(lean, -0.6, 1) + 0.02)
    elif i.hair_style == "fringe":
        y = y + forehead * (-0.2 - y + i.eye_y - 0.12 + rng.uniform(-0.04, 0.04, len(y)))
    elif i.hair_style in ("short", "curly"):
        y = y + forehead * rng.uniform(0.0, 0.11, len(y))
    return curve(
        profile(i).around(np.radians(az), np.minimum(y, 0.8), 1.02)
        + np.stack([0 * y, np.maximum(0, y - 0.8), 0 * y], 1),
        4,
    )


def hair_window(rig: Rig) -> np.ndarray | None:
    """Outline (n, 2) of what the hair leaves free of the head, open far below; None for a bald head."""
    if rig.identity.hair_style == "bald":
        return None
    line = rig.edge(_window(rig.identity))
    down = rig.rotation[:2, 1] * 3 * rig.unit
    return np.concatenate([line, [line[-1] + down, line[0] + down]])


def _curls(rig: Rig) -> np.ndarray:
    """Centres (n, 3) of curls over the cap."""
    i = rig.identity
    rng = np.random.default_rng([i.seed, _HAIR_STREAM, 1])
    cap = _cap(i)
    picked = cap[rng.choice(len(cap), 70, replace=False)]
    return np.asarray((picked + (0, 0.1, 0.05)) * 0.97 - (0, 0.1, 0.05))


def _crest(rig: Rig) -> list[np.ndarray]:
    """Outlines of what stands up on top: a mohawk's fan or a quiff."""
    i, style = rig.identity, _CUTS[rig.identity.hair_style]
    rng = np.random.default_rng([i.seed, _HAIR_STREAM, 2])
    height = style.tuft * i.hair_volume
    if i.hair_style == "mohawk":
        angles = np.linspace(-0.62, 0.9, 12)  # along the middle of the skull, front to back
        shapes = []
        for a in angles:
            root = np.array([0, -np.cos(a), -np.sin(a) * 0.9]) * 0.98
            tip = root * (1 + height * (1 + 0.2 * rng.uniform(-1, 1)))
            foot = (
                np.array(
                    [[0.17, 0, 0], [0, 0.1 * np.sin(a), 0.2], [-0.17, 0, 0], [0, -0.1 * np.sin(a), -0.2]]
                )
                + root
            )
            shapes.append(np.concatenate([foot, [tip + (0.05, 0, 0)], [tip - (0.05, 0, 0)]]))
        return [cv2.convexHull(rig.project(s).astype(np.float32))[:, 0].astype(float) for s in shapes]
    azimuth = np.linspace(-0.95, 0.95, 8)
    lean = 0.35 * i.hair_side * azimuth
    base = profile(i).around(azimuth, np.full(8, i.hair_line + 0.06), 1.05)
    peak = base * (1.02, 1, 1) + np.stack(
        [0 * lean, -height * (1.25 + lean) - 0.26 * np.cos(azimuth), 0.1 + 0 * lean], 1
    )
    back = profile(i).around(np.linspace(-1.2, 1.2, 8), np.full(8, -0.95), 1.12) - (0, 0.3 * height, 0.1)
    cloud = rig.project(np.concatenate([base, peak, back]))
    return [loop(cv2.convexHull(cloud.astype(np.float32))[:, 0].astype(float), 4)]


def _coat(rig: Rig, outline: np.ndarray, gain: float, tone: float) -> Field:
    """The colour of hair over an outline: round shading and a band of gloss."""
    i, unit = rig.identity, rig.unit
    low, high = outline.min(0), outline.max(0)
    field = Field(low, high, _shade(i.hair_colour, tone), 48)
    core = rig.project(np.array([[0.0, -0.1, -0.05]]))[0]
    field.sphere(core, (1.12 * unit, 1.3 * unit), light(rig), gain)
    gloss = rig.project(
        np.array(
            [
                [0.4 * np.sign(i.light_x), -0.86, 0.5],
                [0.1 * np.sign(i.light_x), -0.92, 0.5],
                [0.66 * np.sign(i.light_x), -0.62, 0.45],
            ]
        )
    )
    field.blobs(gloss, np.array([[0.17, 0.07]] * 3) * unit, np.array([[0.22, 0.22, 0.24]] * 3))
    return field


def paint_back_hair(picture: np.ndarray, rig: Rig) -> None:
    """What is behind head and neck: hanging hair, a bun, a ponytail."""
    i, unit = rig.identity, rig.unit
    if i.hair_style == "bald":
        return
    style = _CUTS[i.hair_style]
    if style.back:
        cap = _cap(i)
        upper = rig.project(cap[cap[:, 2] < 0.2])
        width = i.head_width * (1.1 + 0.08 * i.hair_volume)
        y = np.linspace(0.3, style.back, 4)
        fall = np.concatenate([np.stack([s * width * (1 + 0.04 * y), y - 1.42], 1) for s in (-1, 1)])
        hung = rig.torso(fall) + rig.rotation[:2, 0] * 0
        outline = loop(
            cv2.convexHull(np.concatenate([upper, hung]).astype(np.float32))[:, 0].astype(float), 3
        )
        paint(picture, _coat(rig, outline, 0.8, 0.62), outline)
    elif i.hair_style == "bun":
        centre = rig.project(np.array([0.0, -1.06, -0.42]))
        outline = ring(centre, 0.4 * i.hair_volume**0.5 * unit, 36)
        field = Field(outline.min(0), outline.max(0), _shade(i.hair_colour, 0.95), 32)
        field.sphere(centre, (0.42 * unit, 0.42 * unit), light(rig), 1.0)
        paint(picture, field, outline)
    elif i.hair_style == "ponytail":
        s = i.hair_side
        tail = rig.project(
            np.array(
                [
                    [0.1 * s, -0.6, -0.95],
                    [0.75 * s, -0.55, -1.1],
                    [1.05 * s, 0.1, -0.95],
                    [0.95 * s, 0.8, -0.8],
                    [0.8 * s, 1.25, -0.7],
                ]
            )
        )
        line = curve(tail, 8)
        outline = ribbon(
            line,
            np.interp(np.linspace(0, 1, len(line)), [0, 0.3, 0.7, 1], [0.3, 0.5, 0.42, 0.05])
            * unit
            * i.hair_volume**0.5,
        )
        paint(picture, _coat(rig, outline, 0.8, 0.85), outline)


def paint_hair(picture: np.ndarray, rig: Rig, window: np.ndarray | None) -> None:
    """The cap of hair with its strands; `window` is what `hair_window` gave."""
    i = rig.identity
    if window is None:
        return
    style = _CUTS[i.hair_style]
    outline = cv2.convexHull(rig.project(_cap(i)).astype(np.float32))[:, 0].astype(float)
    pieces = [outline, *(_crest(rig) if style.tuft else [])]
    if style.curls:
        pieces += [ring(c, style.curls * rig.unit, 14) for c in rig.project(_curls(rig))]
    everything = np.concatenate(pieces)
    box = bounds(everything, rig.size)
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    cover = mask(box, outline) if i.hair_style == "mohawk" else mask(box, *pieces)
    cut(cover, box, window)
    scalp = i.hair_style in ("mohawk", "buzz")
    patch = _coat(rig, everything, 0.85, 1.0).patch(box)
    _strands(patch, rig, box)
    blend(picture, box, cover, patch, 0.72 if scalp else 1.0)
    if i.hair_style == "mohawk":
        blend(picture, box, mask(box, *pieces[1:]), patch)


def _strands(patch: np.ndarray, rig: Rig, box: tuple[int, int, int, int]) -> None:
    """Fine lines from the crown to the edges."""
    i = rig.identity
    rng = np.random.default_rng([i.seed, _HAIR_STREAM, 3])
    style = _CUTS[i.hair_style]
    grow = 1 + (style.grow - 1) * i.hair_volume
    if style.curls and i.hair_style != "wavy":
        return
    count = 26
    azimuth = np.linspace(-np.pi, np.pi, count) + rng.uniform(-0.1, 0.1, count)
    steps = np.linspace(0.03, 1, 7)
    fall = np.where(np.cos(azimuth) > 0.5, i.hair_line + 0.25, min(style.side, 0.6) + 0.2)
    y = -1.0 + (fall[:, None] + 1) * steps[None] ** 1.6
    lines = profile(i).around(azimuth[:, None] + 0.25 * i.hair_side * (1 - steps[None]), y, grow * 0.985)
    turned = rig.turn(lines)
    flat = rig.place(turned)
    corner = np.array([box[0], box[1]])
    for k in range(count):
        if turned[k, :, 2].mean() > -0.25:
            shade = _shade(i.hair_colour, 0.72 if k % 3 else 1.3)
            line = ribbon(curve(flat[k], 3), 0.012 * rig.unit)
            _thin(patch, line - corner, shade)


def _thin(patch: np.ndarray, polygon: np.ndarray, colour: tuple[float, float, float]) -> None:
    height, width = patch.shape[:2]
    x0, y0 = np.maximum(np.floor(polygon.min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(polygon.max(0)).astype(int) + 2, (width, height))
    if x1 > x0 and y1 > y0:
        box = (int(x0), int(y0), int(x1), int(y1))
        ink = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        ink[:] = colour
        blend(patch, box, mask(box, polygon), ink, 0.4)
