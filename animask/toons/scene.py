"""What is around the head: the background, which never moves, and the shoulders, which move a little."""

from functools import lru_cache

import cv2
import numpy as np

from animask.toons.geometry import Rig, curve, loop
from animask.toons.identity import Colour, Identity
from animask.toons.paint import Field, blend, bounds, fill, mask, paint, ribbon, ring, tint, tone

_SCENE_STREAM, _CLOTH_STREAM = 3, 4
_CLOTH_CELLS = 384  # the cloth is one texture of this width for every picture size
_CLOTH_ROWS = 216  # and of this height: lower down is never in the frame
_CLOTH_LOW, _CLOTH_SPAN = np.array([-2.0, -0.4]), 4.0  # its corner and width in torso units


@lru_cache(maxsize=24)
def background(identity: Identity, size: int) -> np.ndarray:
    """The background (size, size, 3) uint8 of an identity. Shared: copy before painting on it."""
    i = identity
    rng = np.random.default_rng([i.seed, _SCENE_STREAM])
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    axis = ramp[:, None] * rng.uniform(0.4, 1) + ramp[None] * rng.uniform(-0.5, 0.5)
    t = (axis - axis.min()) / (axis.max() - axis.min())
    base, accent = _single(i.backdrop_colour), _single(i.backdrop_accent)
    picture = _mix(base, 0.55 * base + 0.45 * accent, t)
    _SCENERY[i.backdrop](picture, i, rng)
    picture = cv2.multiply(picture, _vignette(size), dtype=cv2.CV_8U)
    picture.setflags(write=False)
    return picture


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray, light: np.ndarray | float = 1.0) -> np.ndarray:
    """A picture (h, w, 3) uint8 of two colours float32 (3,), under a light; share (h, w): of the second colour.

    Channel by channel, which is several times faster than all three at once.
    """
    rest, channels = 1 - share, []
    for c in range(3):
        channel = first[c] * rest
        channel += second[c] * share
        channel *= light
        channels.append(np.clip(channel, 0, 255, out=channel).astype(np.uint8))
    return cv2.merge(channels)


@lru_cache(maxsize=2)
def _vignette(size: int) -> np.ndarray:
    """Brightness (size, size, 3), 1 in the middle and less in the corners; shared."""
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    centre = 1 - 0.16 * ((ramp[:, None] - 0.5) ** 2 + (ramp[None] - 0.5) ** 2) * 2
    return cv2.merge([centre] * 3)


def _blobs(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    size = len(picture)
    for _ in range(7):
        colour = tone(i.backdrop_accent if rng.random() < 0.6 else i.backdrop_colour, rng.uniform(0.8, 1.15))
        fill(picture, ring(rng.uniform(0, 1, 2) * size, rng.uniform(0.08, 0.26) * size, 48), colour)
    # so wide a blur is the same on a coarse copy, and much faster
    coarse = cv2.GaussianBlur(cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA), (0, 0), 3.2)
    picture[:] = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _stripes(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    size, width, angle = len(picture), rng.uniform(0.06, 0.14), rng.uniform(-0.5, 0.5)
    across = np.array([np.cos(angle), np.sin(angle)])
    along = np.array([-across[1], across[0]])
    for k in np.arange(-1, 2, 2 * width):
        corners = np.array([[k, -2], [k + width, -2], [k + width, 2], [k, 2]])
        points = (0.5 + corners[:, :1] * across + corners[:, 1:] * along) * size
        tint(picture, points, i.backdrop_accent, 0.35)


def _bokeh(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    size = len(picture)
    picture[:] = (picture * 0.72).astype(np.uint8)
    for _ in range(16):
        colour = tone(i.backdrop_accent if rng.random() < 0.7 else (255, 236, 200), rng.uniform(0.95, 1.25))
        tint(
            picture,
            ring(rng.uniform(0, 1, 2) * size, rng.uniform(0.025, 0.085) * size, 40),
            colour,
            rng.uniform(0.15, 0.5),
        )
    picture[:] = cv2.GaussianBlur(picture, (0, 0), 0.008 * size)


def _box(size: int, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) * size


def _room(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    size, floor, left = len(picture), rng.uniform(0.62, 0.74), rng.uniform(0.02, 0.1)
    fill(picture, _box(size, -1, floor, 2, 2), tone(i.backdrop_accent, 0.72))
    fill(picture, _box(size, -1, floor, 2, floor + 0.015), tone(i.backdrop_colour, 1.12))
    for shelf in (0.16, 0.36):
        x = left
        for _ in range(6):
            width, height = rng.uniform(0.018, 0.04), rng.uniform(0.07, 0.13)
            fill(
                picture,
                _box(size, x, shelf - height, x + width, shelf),
                tone(_choice_of(rng, i), rng.uniform(0.6, 1.1)),
            )
            x += width + 0.004
        fill(picture, _box(size, left - 0.02, shelf, left + 0.24, shelf + 0.016), tone(i.backdrop_accent, 0.55))
    frame = rng.uniform(0.7, 0.76)
    fill(picture, _box(size, frame, 0.08, frame + 0.2, 0.36), tone(i.backdrop_accent, 0.6))
    fill(picture, _box(size, frame + 0.015, 0.095, frame + 0.185, 0.345), tone(i.backdrop_colour, 1.15))
    fill(picture, ring(np.array([frame + 0.1, 0.24]) * size, 0.05 * size, 40), _choice_of(rng, i))
    picture[:] = cv2.GaussianBlur(picture, (0, 0), 0.006 * size)


def _choice_of(rng: np.random.Generator, i: Identity) -> Colour:
    return (i.backdrop_accent, i.clothes_accent, i.backdrop_colour, (206, 150, 110))[int(rng.integers(4))]


def _window(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    size, left = len(picture), rng.uniform(0.04, 0.3)
    right, bottom = left + rng.uniform(0.5, 0.62), rng.uniform(0.5, 0.62)
    fill(picture, _box(size, left - 0.02, 0.04, right + 0.02, bottom + 0.02), (240, 236, 228))
    fill(picture, _box(size, left, 0.06, right, bottom), (178, 212, 236))
    hills = np.stack([np.linspace(left, right, 9), bottom - rng.uniform(0.05, 0.2, 9)], 1)
    fill(picture, np.concatenate([curve(hills), [[right, bottom], [left, bottom]]]) * size, (122, 160, 112))
    for x in (left + (right - left) / 3, left + (right - left) * 2 / 3):
        fill(picture, _box(size, x - 0.008, 0.06, x + 0.008, bottom), (240, 236, 228))
    picture[:] = cv2.GaussianBlur(picture, (0, 0), 0.008 * size)


def _plain(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    """The gradient alone."""


_SCENERY = {
    "gradient": _plain,
    "blobs": _blobs,
    "stripes": _stripes,
    "bokeh": _bokeh,
    "room": _room,
    "window": _window,
}


def _single(colour: Colour) -> np.ndarray:
    return np.array(colour, np.float32)


def _even(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    return np.zeros((y.size, x.size))


def _hoops(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    return np.clip(0.5 + 9 * np.sin(2 * np.pi * (y - 0.1 * x * x) / period), 0, 1)


def _dots(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    row = np.floor(y / period)
    across = (x / period + 0.5 * (row % 2)) % 1 * period - period / 2
    return np.clip((0.07 - np.hypot(across, y % period - period / 2)) * 45, 0, 1)


def _checks(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    columns, rows = (np.clip(0.5 + 6 * np.sin(2 * np.pi * t / period), 0, 1) for t in (x, y))
    return np.asarray(0.4 * (columns + rows))


def _pinstripe(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    return 0.5 * np.clip((np.cos(2 * np.pi * x / period * 1.6) - 0.86) * 20, 0, 1) + 0 * y


# how much of the second colour there is at torso coordinates x (1, n), y (n, 1)
_PATTERNS = {"plain": _even, "stripes": _hoops, "dots": _dots, "checks": _checks, "pinstripe": _pinstripe}


@lru_cache(maxsize=64)
def _cloth(identity: Identity) -> np.ndarray:
    """Pattern, folds and light of the clothes (rows, cells, 3) uint8 over the torso."""
    i = identity
    rng = np.random.default_rng([i.seed, _CLOTH_STREAM])
    x, y = _cloth_axes(1)
    wave = _PATTERNS[i.pattern](x, y, float(rng.uniform(0.2, 0.34))).astype(np.float32)
    x, y = _cloth_axes(2)  # the light is soft: half the cells will do
    light = 1.04 - 0.1 * y + np.float32(0.1 * np.sign(i.light_x)) * np.tanh(x)
    for _ in range(7):
        cx, cy, angle = rng.uniform(-1.4, 1.4), rng.uniform(0.3, 1.4), rng.normal(0, 0.5) + np.pi / 2
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        u, v = (x - float(cx)) * cos + (y - float(cy)) * sin, (y - float(cy)) * cos - (x - float(cx)) * sin
        along = np.exp(-((u / 0.4) ** 2))
        light -= along * (0.09 * np.exp(-((v / 0.05) ** 2)) + 0.06 * np.exp(-(((v - 0.08) / 0.05) ** 2)))
    light = cv2.resize(light, wave.shape[::-1])
    return _mix(_single(i.clothes_colour), _single(i.clothes_accent), wave, light)


def _cloth_axes(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Torso coordinates x (1, n), y (m, 1) of the cloth's cells, or of squares of `step` by `step` cells."""
    cell = _CLOTH_SPAN / _CLOTH_CELLS * step
    x = (np.arange(_CLOTH_CELLS // step) + 0.5) * cell + _CLOTH_LOW[0]
    y = (np.arange(_CLOTH_ROWS // step) + 0.5) * cell + _CLOTH_LOW[1]
    return x.astype(np.float32)[None], y.astype(np.float32)[:, None]


def _mirror(points: list[tuple[float, float]]) -> np.ndarray:
    """A symmetric closed outline from its right half, top to bottom."""
    right = np.array(points, float)
    return np.concatenate([right, (right * (-1, 1))[::-1]])


def paint_neck(picture: np.ndarray, rig: Rig) -> None:
    """The neck, from inside the head to the collar, with the shadow of the chin."""
    i, unit = rig.identity, rig.unit
    w = i.neck_width
    top = rig.project(np.array([[-w * 0.96, 0.35, -0.3], [w * 0.96, 0.35, -0.3]]))
    base = rig.torso(
        np.array(
            [
                [w * 1.02, -0.25],
                [w * 1.25, 0.02],
                [w * 1.5, 0.3],
                [w * 0.9, 0.95],
                [-w * 0.9, 0.95],
                [-w * 1.5, 0.3],
                [-w * 1.25, 0.02],
                [-w * 1.02, -0.25],
            ]
        )
    )
    outline = np.concatenate([top, base])
    field = Field(outline.min(0), outline.max(0), tone(i.skin, 0.9), 40)
    middle = outline.mean(0)
    field.sphere(middle, (w * 1.5 * unit, 3 * unit), np.array([i.light_x, 0.0, 0.75]), 0.5 * i.contrast)
    chin = rig.project(rig.drop(np.array([[0.0, i.chin_y, 0.35]])))
    jaw = rig.project(np.array([[0.0, i.chin_y * 0.85, 0.0]]))
    shadow = np.array([[-0.5, -0.62, -0.62], [-0.35, -0.42, -0.4]]) * i.contrast
    field.blobs(np.concatenate([chin, jaw]), np.array([[0.5, 0.28], [0.9, 0.34]]) * unit, shadow)
    pit = rig.torso(np.array([[0.0, 0.1], [-0.16, 0.2], [0.16, 0.2]]))
    field.blobs(pit, np.array([[0.05, 0.08], [0.14, 0.03], [0.14, 0.03]]) * unit, np.array([[-0.16, -0.2, -0.2]] * 3))
    paint(picture, field, outline)


def _opening(i: Identity) -> np.ndarray:
    """The hole of the clothes around the neck, in torso units."""
    w = i.neck_width
    depth = {"crew": 0.22, "vneck": 0.62, "shirt": 0.38, "jacket": 0.75, "hoodie": 0.28, "turtleneck": -0.3}[i.clothes]
    if i.clothes in ("vneck", "jacket", "shirt"):
        return _mirror([(w * 1.32, -0.6), (w * 1.3, -0.1), (w * 1.1, 0.06), (w * 0.5, depth * 0.62), (0.0, depth)])
    return loop(
        _mirror([(w * 1.32, -0.7), (w * 1.3, -0.2), (w * 1.2, 0.04), (w * 0.7, depth * 0.85), (w * 0.15, depth)])
    )


def paint_torso(picture: np.ndarray, rig: Rig) -> None:
    """Shoulders in their clothes; the neck shows through the opening."""
    i, w = rig.identity, rig.identity.neck_width
    s, slope = i.shoulder_width, i.shoulder_slope
    half = [
        (w * 1.05, -0.12),
        (w * 1.6, 0.06),
        (s * 0.72, slope * 0.62),
        (s, slope + 0.12),
        (s * 1.1, slope + 0.6),
        (s * 1.12, 3.2),
    ]
    right = curve(np.array(half))
    outline = rig.torso(np.concatenate([right, (right * (-1, 1))[::-1]]))
    box = bounds(outline, rig.size)
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return
    cover = mask(box, outline)
    if i.clothes != "turtleneck":
        cover = np.minimum(cover, 255 - mask(box, rig.torso(_opening(i))))
    origin, unit = rig.torso(np.zeros(2)), rig.torso(np.array([1.0, 0.0]))[0] - rig.torso(np.zeros(2))[0]
    step = unit * _CLOTH_SPAN / _CLOTH_CELLS
    start = origin + unit * _CLOTH_LOW
    matrix = np.array(
        [[1 / step, 0, (x0 + 0.5 - start[0]) / step - 0.5], [0, 1 / step, (y0 + 0.5 - start[1]) / step - 0.5]]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(_cloth(i), matrix, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    blend(picture, box, cover, patch)
    _COLLARS[i.clothes](picture, rig)


def _crew(picture: np.ndarray, rig: Rig) -> None:
    edge = _opening(rig.identity)
    lower = rig.torso(edge[edge[:, 1] > 0.03])
    tint(picture, ribbon(lower, 0.09 * rig.unit), tone(rig.identity.clothes_colour, 0.72), 0.9)


def _vneck(picture: np.ndarray, rig: Rig) -> None:
    edge = _opening(rig.identity)
    tint(
        picture,
        ribbon(rig.torso(edge[edge[:, 1] > 0.03] + (0, 0.01)), 0.08 * rig.unit),
        tone(rig.identity.clothes_colour, 0.74),
        0.9,
    )


def _flap(rig: Rig, points: list[tuple[float, float]]) -> list[np.ndarray]:
    right = np.array(points, float)
    return [rig.torso(right), rig.torso(right * (-1, 1))]


def _shirt(picture: np.ndarray, rig: Rig) -> None:
    i, w = rig.identity, rig.identity.neck_width
    fill(
        picture,
        ribbon(rig.torso(np.array([[0, 0.36], [0.0, 1.0], [0, 2.6]])), 0.02 * rig.unit),
        tone(i.clothes_colour, 0.68),
    )
    for flap in _flap(
        rig,
        [(w * 1.1, -0.3), (w * 1.42, -0.06), (w * 1.2, 0.46), (w * 0.72, 0.36), (0.0, 0.4), (w * 0.6, 0.16)],
    ):
        tint(picture, flap + np.array([0, 0.05 * rig.unit]), (20, 16, 24), 0.22)
        fill(picture, flap, tone(i.clothes_colour, 1.1))
    for y in (0.62, 0.95):
        fill(picture, ring(rig.torso(np.array([0.05, y])), 0.03 * rig.unit, 14), tone(i.clothes_colour, 0.55))


def _jacket(picture: np.ndarray, rig: Rig) -> None:
    i, w = rig.identity, rig.identity.neck_width
    white = (238, 236, 230)
    shirt = _mirror([(0.0, 0.4), (w * 0.6, 0.2), (w * 1.2, 0.0), (0.06, 2.4)])
    fill(picture, rig.torso(shirt), white)
    tie = np.array([[-0.09, 0.38], [0.09, 0.38], [0.06, 0.52], [0.13, 1.4], [-0.13, 1.4], [-0.06, 0.52]])
    fill(picture, rig.torso(tie), tone(i.clothes_accent, 0.9))
    for flap in _flap(rig, [(w * 1.1, -0.26), (w * 1.36, -0.04), (w * 0.85, 0.42), (0.04, 0.38), (w * 0.62, 0.12)]):
        tint(picture, flap + np.array([0, 0.04 * rig.unit]), (20, 16, 24), 0.25)
        fill(picture, flap, white)
    for flap in _flap(
        rig,
        [
            (w * 1.34, -0.06),
            (w * 1.75, 0.12),
            (w * 1.9, 0.62),
            (w * 1.55, 0.66),
            (0.04, 1.7),
            (0.0, 1.55),
            (w * 0.8, 0.42),
        ],
    ):
        fill(picture, flap, tone(i.clothes_colour, 0.8))


def _hoodie(picture: np.ndarray, rig: Rig) -> None:
    i, w = rig.identity, rig.identity.neck_width
    for flap in _flap(
        rig,
        [
            (w * 1.0, -0.28),
            (w * 1.75, -0.04),
            (w * 1.8, 0.22),
            (w * 1.0, 0.46),
            (0.0, 0.52),
            (0.0, 0.26),
            (w * 0.75, 0.2),
        ],
    ):
        fill(picture, flap, tone(i.clothes_colour, 0.82))
    for flap in _flap(rig, [(w * 0.5, 0.42), (w * 0.5 + 0.05, 0.42), (w * 0.52 + 0.05, 1.05), (w * 0.52, 1.05)]):
        fill(picture, flap, tone(i.clothes_accent, 1.1))


def _turtleneck(picture: np.ndarray, rig: Rig) -> None:
    i, w = rig.identity, rig.identity.neck_width
    outline = rig.torso(loop(_mirror([(w * 1.1, -0.3), (w * 1.16, -0.1), (w * 1.5, 0.2), (w * 0.5, 0.3)])))
    field = Field(outline.min(0), outline.max(0), tone(i.clothes_colour, 0.98), 32)
    field.sphere(outline.mean(0), (w * 1.4 * rig.unit, 2 * rig.unit), np.array([i.light_x, 0, 0.75]), 0.7)
    paint(picture, field, outline)
    fold = rig.torso(
        curve(np.array([[-w * 1.12, -0.12], [-w * 0.6, -0.02], [0, 0.01], [w * 0.6, -0.02], [w * 1.12, -0.12]]))
    )
    tint(picture, ribbon(fold, 0.03 * rig.unit), tone(i.clothes_colour, 0.6), 0.7)


_COLLARS = {
    "crew": _crew,
    "vneck": _vneck,
    "shirt": _shirt,
    "jacket": _jacket,
    "hoodie": _hoodie,
    "turtleneck": _turtleneck,
}
