"""Hair: a cap that grows on the skull, a window in it for the face, and the pieces that hang or stand out."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from animask.toons.geometry import CORE, Rig, curve, hull, profile, steps
from animask.toons.identity import Identity
from animask.toons.paint import Box, Field, blend, bounds, fill, mask, paint, plain, ribbon, ring, tone

STREAM = 6
RINGS, SPOKES = 14, 36  # of a cap
STRANDS = 26
ACROSS = np.array([1.0, 0.0, 0.0])


class Cut(NamedTuple):
    """A hair style. Heights are local y; `grow` scales the skull."""

    grow: float
    side: float  # how far down the cap reaches at the sides
    nape: float  # and at the back
    temple: float  # half-width of the face window at eye height, degrees of azimuth
    cheek: float  # and at the jaw; beyond 90 leaves the ears free
    tuft: float = 0.0  # height of a crest on top
    curls: float = 0.0  # radius of curls on the outline
    back: float = 0.0  # how far down hair hangs behind the neck


CUTS = {
    "bald": Cut(1, -1, -1, 90, 100),
    "buzz": Cut(1.03, 0.1, 0.35, 78, 100),
    "short": Cut(1.09, 0.1, 0.4, 74, 100),
    "sidepart": Cut(1.11, 0.12, 0.4, 72, 100, tuft=0.08),
    "quiff": Cut(1.07, 0.08, 0.35, 74, 100, tuft=0.3),
    "bob": Cut(1.16, 0.85, 0.8, 62, 54, back=0.85),
    "long": Cut(1.13, 1.5, 1.5, 62, 60, back=1.75),
    "wavy": Cut(1.17, 1.25, 1.3, 62, 56, curls=0.17, back=1.5),
    "curly": Cut(1.14, 0.1, 0.3, 70, 98, curls=0.17),
    "afro": Cut(1.34, 0.3, 0.6, 72, 96, curls=0.14),
    "bun": Cut(1.06, 0.1, 0.4, 74, 102),
    "mohawk": Cut(1.015, 0.1, 0.3, 80, 100, tuft=0.5),
    "ponytail": Cut(1.07, 0.12, 0.4, 72, 102),
    "fringe": Cut(1.12, 0.25, 0.45, 66, 96),
}


def covers_ears(identity: Identity) -> bool:
    """Whether the hair hangs over the ears."""
    return CUTS[identity.hair_style].cheek < 90


@lru_cache(maxsize=256)
def cap(identity: Identity) -> np.ndarray:
    """Points (n, 3) of the outside of the hair: rings about the skull, then what hangs from them."""
    style, i = CUTS[identity.hair_style], identity
    grow = 1 + (style.grow - 1) * i.hair_volume
    azimuth = np.linspace(0, 2 * np.pi, SPOKES, endpoint=False)
    reach = style.side + (style.nape - style.side) * (0.5 - 0.5 * np.cos(azimuth)) ** 2
    reach = np.where(np.cos(azimuth) > 0.35, i.hair_line, reach)
    y = -1 + (np.minimum(reach, 0.35) + 1) * (1 - np.cos(np.linspace(0, 1, RINGS) * np.pi / 2))[:, None]
    # short hair thins out towards its edge; hanging hair does not
    thin = np.where(reach > 0.6, 1.0, np.sqrt(np.clip((reach - y) / 0.5, 0, 1)))
    points = profile(i).around(azimuth, y, (1 + (grow - 1) * thin)[..., None])
    hang = [points.reshape(-1, 3)]
    for share, width in ((0.5, 1.04), (0.85, 1.04), (1.0, 0.9)):
        low = points[-1].copy()
        low[:, 1] += np.maximum(0, reach - 0.35) * share
        low[:, 0] *= width
        hang.append(low[reach > 0.6])
    return np.concatenate(hang)


@lru_cache(maxsize=256)
def hairline(identity: Identity) -> np.ndarray:
    """Local points (n, 3) of the hairline, from the left jaw over the forehead to the right jaw."""
    style, i = CUTS[identity.hair_style], identity
    top = i.hair_line
    az = np.array([style.cheek, style.cheek, style.temple + 8, style.temple, 58, 42, 26, 10])
    y = np.array([1.5, 0.5, 0.12, -0.2, top + 0.2, top + 0.07, top, top - 0.02])
    az, y = np.concatenate([-az, az[::-1]]), np.concatenate([y, y[::-1]])
    rng = np.random.default_rng([i.seed, STREAM])
    forehead = np.cos(np.radians(np.clip(az, -90, 90))) ** 1.2 * (y < -0.15)
    if i.hair_style in ("sidepart", "bob", "long", "wavy", "quiff"):
        y = y + forehead * (0.2 * np.clip(az * i.hair_side / 60, -0.6, 1) + 0.02)
    elif i.hair_style == "fringe":
        y = y + forehead * (-0.2 - y + i.eye_y - 0.12 + rng.uniform(-0.04, 0.04, len(y)))
    elif i.hair_style in ("short", "curly"):
        y = y + forehead * rng.uniform(0.0, 0.11, len(y))
    points = profile(i).around(np.radians(az), np.minimum(y, 0.8), 1.02)
    points[:, 1] += np.maximum(0, y - 0.8)
    return curve(points, 4)


def hair_window(rig: Rig) -> np.ndarray | None:
    """Outline (n, 2) of what the hair leaves free of the head, open far below; None for a bald head."""
    return None if rig.identity.hair_style == "bald" else rig.flow(rig.edge(hairline(rig.identity)))


def curls(identity: Identity) -> np.ndarray:
    """Centres (n, 3) of curls: every other spoke of every fourth ring of the cap, and down hanging hair."""
    points = cap(identity)
    crown = points[: RINGS * SPOKES].reshape(RINGS, SPOKES, 3)
    staggered = [crown[3::4, ::2].reshape(-1, 3), crown[5::4, 1::2].reshape(-1, 3)]
    return np.asarray((np.concatenate([*staggered, points[RINGS * SPOKES :: 2]]) - CORE) * 0.95 + CORE)


def spikes(rig: Rig, angles: np.ndarray) -> list[np.ndarray]:
    """Outlines of a mohawk's spikes at angles along the middle of the skull: 0 on top, > 0 behind."""
    i = rig.identity
    height = CUTS["mohawk"].tuft * i.hair_volume
    shapes = []
    for a in angles:
        up, along = np.array([0, -np.cos(a), -np.sin(a)]), np.array([0, np.sin(a), -np.cos(a)])
        root, wide = up * (0.8, 0.94, 0.82), 0.15 * np.cos(0.8 * a)
        tip = root + up * height * (0.75 + 0.35 * np.cos(a - 0.2) + 0.1 * np.cos(9 * a + i.seed)) + along * 0.12
        sides = [(root, wide * ACROSS), (root, 0.13 * along), ((root + tip) / 2, 0.8 * wide * ACROSS)]
        sides.append((tip, 0.25 * wide * ACROSS))
        shapes.append(hull(rig.project([middle + way * half for middle, half in sides for way in (1, -1)])))
    return shapes


def quiff(rig: Rig) -> np.ndarray:
    """The outline of balls rolled up over the forehead, higher on the side of the parting."""
    i = rig.identity
    across = np.linspace(-0.42, 0.42, 5)
    rise = CUTS[i.hair_style].tuft * i.hair_volume * (1 + 0.7 * i.hair_side * across)
    centres = rig.project(np.stack([across, -0.78 - 0.75 * rise, 0.4 + 0.15 * np.cos(2 * across)], 1))
    roots = rig.project(profile(i).around(np.linspace(-1.3, 1.3, 9), i.hair_line - 0.1, 1.04))
    crown = rig.project(profile(i).around(np.linspace(-1.6, 1.6, 7), -0.9, 1.04) - (0, 0, 0.25))
    balls = [ring(c, r, 18) for c, r in zip(centres, (0.16 + 0.4 * rise) * rig.unit, strict=True)]
    return hull(np.concatenate([*balls, roots, crown]))


def coat(rig: Rig, outline: np.ndarray, gain: float, depth: float) -> Field:
    """The colour of hair over an outline: round shading and a band of gloss."""
    i, unit, side = rig.identity, rig.unit, np.sign(rig.identity.light_x)
    field = Field(outline, tone(i.hair_colour, depth), 48)
    field.sphere(rig.project([CORE])[0], (1.12 * unit, (1.3 + 1.5 * CUTS[i.hair_style].back) * unit), rig.light, gain)
    gloss = rig.project([[0.4 * side, -0.86, 0.5], [0.1 * side, -0.92, 0.5], [0.66 * side, -0.62, 0.45]])
    field.blobs(gloss, np.array([[0.17, 0.07]] * 3) * unit, np.array([[0.22, 0.22, 0.24]] * 3))
    return field


def paint_back_hair(picture: np.ndarray, rig: Rig) -> None:
    """What is behind head and neck: hanging hair, a bun, a ponytail, the rear of a mohawk."""
    i, unit = rig.identity, rig.unit
    if i.hair_style == "bun":
        centre = rig.project([0.0, -1.06, -0.42])
        outline = ring(centre, 0.4 * i.hair_volume**0.5 * unit, 36)
        field = Field(outline, tone(i.hair_colour, 0.95), 32)
        field.sphere(centre, (0.42 * unit, 0.42 * unit), rig.light, 1.0)
        paint(picture, field, outline)
    elif i.hair_style == "mohawk":
        rear = spikes(rig, steps(0.4, 1.2, 7))
        paint(picture, coat(rig, np.concatenate(rear), 0.85, 0.9), *rear)
    elif i.hair_style == "ponytail":
        outline = tail(rig)
        paint(picture, coat(rig, outline, 0.8, 0.85), outline)
    elif CUTS[i.hair_style].back:
        outline = fall(rig)
        paint(picture, coat(rig, outline, 0.8, 0.62), outline)


def fall(rig: Rig) -> np.ndarray:
    """The outline of hair that hangs behind the neck: it starts on the head and ends on the shoulders."""
    i, points = rig.identity, cap(rig.identity)
    y = np.linspace(0.3, 1.0, 6) * CUTS[i.hair_style].back - 1.42
    x = i.head_width * (1.1 + 0.08 * i.hair_volume) * np.array([1.0, 1.02, 1.04, 1.04, 0.98, 0.78])
    edge = curve(np.stack([x, y], 1))
    upper = rig.project(points[points[:, 2] < 0.2])
    return hull(np.concatenate([upper, rig.torso(edge), rig.torso(edge * (-1, 1))]))


def tail(rig: Rig) -> np.ndarray:
    """The outline of a ponytail, over one shoulder."""
    i = rig.identity
    x = i.hair_side * np.array([0.1, 0.75, 1.05, 0.95, 0.8])
    line = curve(np.stack([x, [-0.6, -0.55, 0.1, 0.8, 1.25], [-0.95, -1.1, -0.95, -0.8, -0.7]], 1), 8)
    width = np.interp(steps(0, 1, len(line)), [0, 0.3, 0.7, 1], [0.3, 0.5, 0.42, 0.05])
    return ribbon(rig.project(line), width * i.hair_volume**0.5 * rig.unit)


def paint_hair(picture: np.ndarray, rig: Rig, window: np.ndarray | None) -> None:
    """The cap of hair with its strands; `window` is what `hair_window` gave."""
    i, style = rig.identity, CUTS[rig.identity.hair_style]
    if window is None:
        return
    mohawk = i.hair_style == "mohawk"
    pieces = [hull(rig.project(cap(i)))]
    if style.tuft:
        pieces += spikes(rig, steps(-0.3, 0.3, 6)) if mohawk else [quiff(rig)]
    if style.curls:
        pieces += [ring(c, style.curls * rig.unit, 14) for c in rig.project(curls(i))]
    everything = np.concatenate(pieces)
    box = bounds(everything, rig.size)
    cover = mask(box, *pieces[: 1 if mohawk else None])
    open_face(cover, box, rig, window)
    patch = coat(rig, everything, 0.85, 1.0).patch(box)
    if not style.curls or i.hair_style == "wavy":
        draw_strands(patch, rig, box)
    blend(picture, box, cover, patch, 0.72 if i.hair_style in ("mohawk", "buzz") else 1.0)  # the scalp shows through
    if mohawk:
        blend(picture, box, mask(box, *pieces[1:]), patch)


def open_face(cover: np.ndarray, box: Box, rig: Rig, window: np.ndarray) -> None:
    """Take the face out of the hair.

    Inside the outline of the head the hairline bounds it, below the head the inner edges of hanging hair.
    """
    free = np.minimum(mask(box, window), mask(box, rig.outline))
    line = hairline(rig.identity)
    low = line[line[:, 1] > 0.5]
    sides = rig.project(low[low[:, 0] < 0]), rig.project(low[low[:, 0] > 0])
    gap = mask(box, rig.flow(np.concatenate(sides)))
    np.minimum(cover, 255 - np.maximum(free, gap), out=cover)


@lru_cache(maxsize=256)
def strands(identity: Identity) -> np.ndarray:
    """Local points (7, n, 3) along n strands, from the crown to the edges."""
    i, style = identity, CUTS[identity.hair_style]
    rng = np.random.default_rng([i.seed, STREAM, 3])
    azimuth = np.linspace(-np.pi, np.pi, STRANDS) + rng.uniform(-0.1, 0.1, STRANDS)
    along = np.linspace(0.03, 1, 7)[:, None]
    reach = np.where(np.cos(azimuth) > 0.5, i.hair_line + 0.25, min(style.side, 0.6) + 0.2)
    y = -1.0 + (reach + 1) * along**1.6
    grow = 1 + (style.grow - 1) * i.hair_volume
    return profile(i).around(azimuth + 0.25 * i.hair_side * (1 - along), y, grow * 0.985)


def draw_strands(patch: np.ndarray, rig: Rig, box: Box) -> None:
    """Fine darker and lighter lines on a patch of hair."""
    i = rig.identity
    turned = rig.turn(strands(i))
    flat = curve(rig.place(turned).reshape(7, -1), 3).reshape(-1, STRANDS, 2).swapaxes(0, 1)
    # lines thin out as they pass behind the head, so that none pops
    seen = np.clip((turned[..., 2].mean(0) + 0.35) / 0.4, 0, 1)
    shapes = ribbon(flat, (0.013 * rig.unit * seen)[:, None]) - box[:2]
    cover = np.zeros(patch.shape[:2], np.uint8)
    fill(cover, shapes[seen > 0.02], (255,))
    ink = plain(cover, tone(i.hair_colour, 0.68))
    fill(ink, shapes[::3], tone(i.hair_colour, 1.35))
    blend(patch, (0, 0, patch.shape[1], patch.shape[0]), cover, ink, 0.3)
