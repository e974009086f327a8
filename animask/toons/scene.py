"""What is around the head: the background, which never moves, and the shoulders, which move a little."""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from animask.toons.geometry import Rig, curve, loop, mirror
from animask.toons.identity import Colour, Identity
from animask.toons.paint import Field, blend, bounds, fill, mask, paint, ribbon, ring, spread, stroke, tint, tone

SCENE_STREAM, CLOTH_STREAM = 3, 4
CLOTH_CELLS = 384  # the cloth is one texture of this width for every picture size
CLOTH_ROWS = 216  # and of this height: lower down is never in the frame
CLOTH_LOW, CLOTH_SPAN = np.array([-2.0, -0.4]), 4.0  # its corner and width in torso units


@lru_cache(maxsize=24)
def background(identity: Identity, size: int) -> np.ndarray:
    """The background (size, size, 3) uint8 of an identity. Shared: copy before painting on it."""
    i = identity
    rng = np.random.default_rng([i.seed, SCENE_STREAM])
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    axis = ramp[:, None] * rng.uniform(0.4, 1) + ramp[None] * rng.uniform(-0.5, 0.5)
    t = (axis - axis.min()) / (axis.max() - axis.min())
    base, accent = np.array([i.backdrop_colour, i.backdrop_accent], np.float32)
    picture = gradient(base, 0.55 * base + 0.45 * accent, t)
    if i.backdrop in SCENERY:
        SCENERY[i.backdrop](picture, i, rng)
    picture = cv2.multiply(picture, vignette(size), dtype=cv2.CV_8U)
    picture.setflags(write=False)
    return picture


def gradient(first: np.ndarray, second: np.ndarray, share: np.ndarray, light: np.ndarray | float = 1.0) -> np.ndarray:
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
def vignette(size: int) -> np.ndarray:
    """Brightness (size, size, 3), 1 in the middle and less in the corners; shared."""
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    return cv2.merge([1 - 0.16 * ((ramp[:, None] - 0.5) ** 2 + (ramp[None] - 0.5) ** 2) * 2] * 3)


# sceneries: what is drawn over the gradient of a background


def blobs(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    """Large soft discs."""
    size = len(picture)
    for _ in range(7):
        colour = tone(i.backdrop_accent if rng.random() < 0.6 else i.backdrop_colour, rng.uniform(0.8, 1.15))
        fill(picture, ring(rng.uniform(0, 1, 2) * size, rng.uniform(0.08, 0.26) * size, 48), colour)
    # so wide a blur is the same on a coarse copy, and much faster
    coarse = cv2.GaussianBlur(cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA), (0, 0), 3.2)
    picture[:] = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def stripes(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    """Translucent stripes at an angle."""
    width, angle = rng.uniform(0.06, 0.14), rng.uniform(-0.5, 0.5)
    across, along = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for k in np.arange(-1, 2, 2 * width):
        corners = np.array([[k, -2], [k + width, -2], [k + width, 2], [k, 2]])
        points = (0.5 + corners[:, :1] * across + corners[:, 1:] * along) * len(picture)
        tint(picture, points, i.backdrop_accent, 0.35)


def bokeh(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    """Lights out of focus on a darker ground."""
    size = len(picture)
    picture[:] = (picture * 0.72).astype(np.uint8)
    for _ in range(16):
        colour = tone(i.backdrop_accent if rng.random() < 0.7 else (255, 236, 200), rng.uniform(0.95, 1.25))
        disc = ring(rng.uniform(0, 1, 2) * size, rng.uniform(0.025, 0.085) * size, 40)
        tint(picture, disc, colour, rng.uniform(0.15, 0.5))
    picture[:] = cv2.GaussianBlur(picture, (0, 0), 0.008 * size)


def block(picture: np.ndarray, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
    """Paint a rectangle whose corners are in fractions of the frame."""
    fill(picture, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) * len(picture), colour)


def room(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    """A floor, two shelves of books and a framed picture."""
    size, floor, left = len(picture), rng.uniform(0.62, 0.74), rng.uniform(0.02, 0.1)
    colours = (i.backdrop_accent, i.clothes_accent, i.backdrop_colour, (206, 150, 110))
    block(picture, -1, floor, 2, 2, tone(i.backdrop_accent, 0.72))
    block(picture, -1, floor, 2, floor + 0.015, tone(i.backdrop_colour, 1.12))
    for shelf in (0.16, 0.36):
        x = left
        for _ in range(6):
            width, height = rng.uniform(0.018, 0.04), rng.uniform(0.07, 0.13)
            block(picture, x, shelf - height, x + width, shelf, tone(colours[rng.integers(4)], rng.uniform(0.6, 1.1)))
            x += width + 0.004
        block(picture, left - 0.02, shelf, left + 0.24, shelf + 0.016, tone(i.backdrop_accent, 0.55))
    x = rng.uniform(0.7, 0.76)
    block(picture, x, 0.08, x + 0.2, 0.36, tone(i.backdrop_accent, 0.6))
    block(picture, x + 0.015, 0.095, x + 0.185, 0.345, tone(i.backdrop_colour, 1.15))
    fill(picture, ring(np.array([x + 0.1, 0.24]) * size, 0.05 * size, 40), colours[rng.integers(4)])
    picture[:] = cv2.GaussianBlur(picture, (0, 0), 0.006 * size)


def window(picture: np.ndarray, i: Identity, rng: np.random.Generator) -> None:
    """A window with hills behind it."""
    size, left = len(picture), rng.uniform(0.04, 0.3)
    width, bottom = rng.uniform(0.5, 0.62), rng.uniform(0.5, 0.62)
    right = left + width
    block(picture, left - 0.02, 0.04, right + 0.02, bottom + 0.02, (240, 236, 228))
    block(picture, left, 0.06, right, bottom, (178, 212, 236))
    hills = np.stack([np.linspace(left, right, 9), bottom - rng.uniform(0.05, 0.2, 9)], 1)
    fill(picture, np.concatenate([curve(hills), [[right, bottom], [left, bottom]]]) * size, (122, 160, 112))
    for x in (left + (right - left) / 3, left + (right - left) * 2 / 3):
        block(picture, x - 0.008, 0.06, x + 0.008, bottom, (240, 236, 228))
    picture[:] = cv2.GaussianBlur(picture, (0, 0), 0.008 * size)


SCENERY = {"blobs": blobs, "stripes": stripes, "bokeh": bokeh, "room": room, "window": window}


def wave(x: np.ndarray, period: float, hardness: float) -> np.ndarray:
    """Stripes of two colours along x, with soft edges: 0..1."""
    return np.clip(0.5 + hardness * np.sin(2 * np.pi * x / period), 0, 1)


def dots(x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    """Dots in rows, every other row shifted by half a period."""
    across = (x / period + 0.5 * (np.floor(y / period) % 2)) % 1 * period - period / 2
    return np.clip((0.07 - np.hypot(across, y % period - period / 2)) * 45, 0, 1)


# how much of the second colour there is at torso coordinates x (1, n), y (n, 1)
PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "plain": lambda x, y, period: 0 * (x + y),
    "stripes": lambda x, y, period: wave(y - 0.1 * x * x, period, 9),
    "dots": dots,
    "checks": lambda x, y, period: 0.4 * (wave(x, period, 6) + wave(y, period, 6)),
    "pinstripe": lambda x, y, period: 0.5 * np.clip((np.cos(2 * np.pi * x / period * 1.6) - 0.86) * 20, 0, 1) + 0 * y,
}


@lru_cache(maxsize=64)
def cloth(identity: Identity) -> np.ndarray:
    """Pattern, folds and light of the clothes (rows, cells, 3) uint8 over the torso."""
    i = identity
    rng = np.random.default_rng([i.seed, CLOTH_STREAM])
    share = PATTERNS[i.pattern](*cloth_axes(1), rng.uniform(0.2, 0.34)).astype(np.float32)
    x, y = cloth_axes(2)  # the light is soft: half the cells will do
    light = 1.04 - 0.1 * y + np.float32(0.1 * np.sign(i.light_x)) * np.tanh(x)
    for _ in range(7):
        cx, cy, angle = rng.uniform(-1.4, 1.4), rng.uniform(0.3, 1.4), rng.normal(0, 0.5) + np.pi / 2
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        u, v = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
        along = np.exp(-((u / 0.4) ** 2))
        light -= along * (0.09 * np.exp(-((v / 0.05) ** 2)) + 0.06 * np.exp(-(((v - 0.08) / 0.05) ** 2)))
    light = cv2.resize(light, share.shape[::-1])
    colour, accent = np.array([i.clothes_colour, i.clothes_accent], np.float32)
    return gradient(colour, accent, share, light)


def cloth_axes(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Torso coordinates x (1, n), y (m, 1) of the cloth's cells, or of squares of `step` by `step` cells."""
    cell = CLOTH_SPAN / CLOTH_CELLS * step
    x = (np.arange(CLOTH_CELLS // step) + 0.5) * cell + CLOTH_LOW[0]
    y = (np.arange(CLOTH_ROWS // step) + 0.5) * cell + CLOTH_LOW[1]
    return x.astype(np.float32)[None], y.astype(np.float32)[:, None]


def paint_neck(picture: np.ndarray, rig: Rig) -> None:
    """The neck, from inside the head to the collar, with the shadow of the chin."""
    i, unit, w = rig.identity, rig.unit, rig.identity.neck_width
    top = rig.project([[-w * 0.96, 0.35, -0.3], [w * 0.96, 0.35, -0.3]])
    base = mirror(np.array([[w * 1.02, -0.25], [w * 1.25, 0.02], [w * 1.5, 0.3], [w * 0.9, 0.95]]))
    outline = np.concatenate([top, rig.torso(base)])
    field = Field(outline, tone(i.skin, 0.9), 40)
    light = np.array([i.light_x, 0.0, 0.75])
    field.sphere(outline.mean(0), (w * 1.5 * unit, 3 * unit), light, 0.5 * i.contrast)
    chin = rig.project(rig.drop(np.array([[0.0, i.chin_y, 0.35]])))
    jaw = rig.project([[0.0, i.chin_y * 0.85, 0.0]])
    shadow = np.array([[-0.5, -0.62, -0.62], [-0.35, -0.42, -0.4]]) * i.contrast
    field.blobs(np.concatenate([chin, jaw]), np.array([[0.5, 0.28], [0.9, 0.34]]) * unit, shadow)
    pit = rig.torso([[0.0, 0.1], [-0.16, 0.2], [0.16, 0.2]])
    field.blobs(pit, np.array([[0.05, 0.08], [0.14, 0.03], [0.14, 0.03]]) * unit, np.array([[-0.16, -0.2, -0.2]] * 3))
    paint(picture, field, outline)


def neckline(i: Identity) -> np.ndarray:
    """The hole of the clothes around the neck, in torso units."""
    w = i.neck_width
    depth = {"crew": 0.22, "vneck": 0.62, "shirt": 0.38, "jacket": 0.75, "hoodie": 0.28}[i.clothes]
    if i.clothes in ("crew", "hoodie"):
        half = [(w * 1.32, -0.7), (w * 1.3, -0.2), (w * 1.2, 0.04), (w * 0.7, depth * 0.85), (w * 0.15, depth)]
        return loop(mirror(np.array(half)))
    return mirror(np.array([(w * 1.32, -0.6), (w * 1.3, -0.1), (w * 1.1, 0.06), (w * 0.5, depth * 0.62), (0.0, depth)]))


def paint_torso(picture: np.ndarray, rig: Rig) -> None:
    """Shoulders in their clothes; the neck shows through the opening."""
    i, w = rig.identity, rig.identity.neck_width
    s, slope = i.shoulder_width, i.shoulder_slope
    half = [(w * 1.05, -0.12), (w * 1.6, 0.06), (s * 0.72, slope * 0.62), (s, slope + 0.12)]
    half += [(s * 1.1, slope + 0.6), (s * 1.12, 3.2)]
    outline = rig.torso(mirror(curve(np.array(half))))
    box = bounds(outline, rig.size)
    cover = mask(box, outline)
    if i.clothes != "turtleneck":
        cover = np.minimum(cover, 255 - mask(box, rig.torso(neckline(i))))
    origin = rig.torso([0.0, 0.0])
    unit = rig.torso([1.0, 0.0])[0] - origin[0]
    step = np.full(2, unit * CLOTH_SPAN / CLOTH_CELLS)
    blend(picture, box, cover, spread(cloth(i), origin + unit * CLOTH_LOW, step, box))
    COLLARS[i.clothes](picture, rig)


# collars


def paint_rib(picture: np.ndarray, rig: Rig) -> None:
    """The ribbed edge of the opening of a jersey."""
    i, edge = rig.identity, neckline(rig.identity)
    down, width, shade = (0.0, 0.09, 0.72) if i.clothes == "crew" else (0.01, 0.08, 0.74)
    line = rig.torso(edge[edge[:, 1] > 0.03] + (0, down))
    stroke(picture, line, width * rig.unit, tone(i.clothes_colour, shade), 0.9)


def flaps(
    picture: np.ndarray, rig: Rig, points: list[tuple[float, float]], colour: Colour, shade: float = 0, far: float = 0
) -> None:
    """Paint a flap of cloth and its mirror image, and the shadow of strength `shade` that they cast so `far` down."""
    for way in (1, -1):
        flap = rig.torso(np.array(points) * (way, 1))
        tint(picture, flap + np.array([0, far * rig.unit]), (20, 16, 24), shade)
        fill(picture, flap, colour)


def paint_shirt(picture: np.ndarray, rig: Rig) -> None:
    """A buttoned front under a collar."""
    i, w = rig.identity, rig.identity.neck_width
    front = ribbon(rig.torso([[0, 0.36], [0.0, 1.0], [0, 2.6]]), 0.02 * rig.unit)
    fill(picture, front, tone(i.clothes_colour, 0.68))
    collar = [(w * 1.1, -0.3), (w * 1.42, -0.06), (w * 1.2, 0.46), (w * 0.72, 0.36), (0.0, 0.4), (w * 0.6, 0.16)]
    flaps(picture, rig, collar, tone(i.clothes_colour, 1.1), shade=0.22, far=0.05)
    for y in (0.62, 0.95):
        fill(picture, ring(rig.torso([0.05, y]), 0.03 * rig.unit, 14), tone(i.clothes_colour, 0.55))


def paint_jacket(picture: np.ndarray, rig: Rig) -> None:
    """A white shirt with its collar and a tie between lapels."""
    i, w, white = rig.identity, rig.identity.neck_width, (238, 236, 230)
    fill(picture, rig.torso(mirror(np.array([(0.0, 0.4), (w * 0.6, 0.2), (w * 1.2, 0.0), (0.06, 2.4)]))), white)
    tie = [[-0.09, 0.38], [0.09, 0.38], [0.06, 0.52], [0.13, 1.4], [-0.13, 1.4], [-0.06, 0.52]]
    fill(picture, rig.torso(tie), tone(i.clothes_accent, 0.9))
    collar = [(w * 1.1, -0.26), (w * 1.36, -0.04), (w * 0.85, 0.42), (0.04, 0.38), (w * 0.62, 0.12)]
    flaps(picture, rig, collar, white, shade=0.25, far=0.04)
    lapel = [(w * 1.34, -0.06), (w * 1.75, 0.12), (w * 1.9, 0.62), (w * 1.55, 0.66)]
    lapel += [(0.04, 1.7), (0.0, 1.55), (w * 0.8, 0.42)]
    flaps(picture, rig, lapel, tone(i.clothes_colour, 0.8))


def paint_hood(picture: np.ndarray, rig: Rig) -> None:
    """A hood that lies on the shoulders, and its two cords."""
    i, w = rig.identity, rig.identity.neck_width
    hood = [(w * 1.0, -0.28), (w * 1.75, -0.04), (w * 1.8, 0.22), (w * 1.0, 0.46)]
    hood += [(0.0, 0.52), (0.0, 0.26), (w * 0.75, 0.2)]
    flaps(picture, rig, hood, tone(i.clothes_colour, 0.82))
    cord = [(w * 0.5, 0.42), (w * 0.5 + 0.05, 0.42), (w * 0.52 + 0.05, 1.05), (w * 0.52, 1.05)]
    flaps(picture, rig, cord, tone(i.clothes_accent, 1.1))


def paint_turtleneck(picture: np.ndarray, rig: Rig) -> None:
    """A high collar with a fold."""
    i, w, unit = rig.identity, rig.identity.neck_width, rig.unit
    outline = rig.torso(loop(mirror(np.array([(w * 1.1, -0.3), (w * 1.16, -0.1), (w * 1.5, 0.2), (w * 0.5, 0.3)]))))
    field = Field(outline, tone(i.clothes_colour, 0.98), 32)
    field.sphere(outline.mean(0), (w * 1.4 * unit, 2 * unit), np.array([i.light_x, 0, 0.75]), 0.7)
    paint(picture, field, outline)
    x = np.array([-w * 1.12, -w * 0.6, 0, w * 0.6, w * 1.12])
    fold = rig.torso(curve(np.stack([x, [-0.12, -0.02, 0.01, -0.02, -0.12]], 1)))
    stroke(picture, fold, 0.03 * unit, tone(i.clothes_colour, 0.6), 0.7)


COLLARS = {
    "crew": paint_rib,
    "vneck": paint_rib,
    "shirt": paint_shirt,
    "jacket": paint_jacket,
    "hoodie": paint_hood,
    "turtleneck": paint_turtleneck,
}
