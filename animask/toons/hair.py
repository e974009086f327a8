"""Hair: a cap that grows on the skull, a window in it for the face, and the pieces that hang or stand out."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from animask.toons.geometry import ACROSS, CORE, Rig, curve, hull, profile, steps
from animask.toons.identity import Identity
from animask.toons.paint import Box, Field, blend, bounds, fill_each, mask, paint, ribbon, ribbons, ring, tone

_HAIR_STREAM = 6
_CAP_RINGS, _CAP_SPOKES = 14, 36
_STRANDS = 26


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
    "curly": Cut(1.14, 0.1, 0.3, 70, 98, curls=0.17),
    "afro": Cut(1.34, 0.3, 0.6, 72, 96, curls=0.14),
    "bun": Cut(1.06, 0.1, 0.4, 74, 102),
    "mohawk": Cut(1.015, 0.1, 0.3, 80, 100, tuft=0.5),
    "ponytail": Cut(1.07, 0.12, 0.4, 72, 102),
    "fringe": Cut(1.12, 0.25, 0.45, 66, 96),
}


def covers_ears(identity: Identity) -> bool:
    """Whether the hair hangs over the ears."""
    return identity.hair_style != "bald" and _CUTS[identity.hair_style].cheek < 90


@lru_cache(maxsize=256)
def _cap(identity: Identity) -> np.ndarray:
    """Points (n, 3) of the outside of the hair."""
    style, i = _CUTS[identity.hair_style], identity
    grow = 1 + (style.grow - 1) * i.hair_volume
    azimuth = np.linspace(0, 2 * np.pi, _CAP_SPOKES, endpoint=False)
    reach = style.side + (style.nape - style.side) * (0.5 - 0.5 * np.cos(azimuth)) ** 2
    reach = np.where(np.cos(azimuth) > 0.35, i.hair_line, reach)
    steps = 1 - np.cos(np.linspace(0, 1, _CAP_RINGS) * np.pi / 2)
    y = -1 + (np.minimum(reach, 0.35)[None] + 1) * steps[:, None]
    # short hair thins out towards its edge; hanging hair does not
    thin = np.where(reach > 0.6, 1.0, np.sqrt(np.clip((reach - y) / 0.5, 0, 1)))
    points = profile(i).around(azimuth, y, (1 + (grow - 1) * thin)[..., None])
    hang = [points.reshape(-1, 3)]
    for share, spread in ((0.5, 1.04), (0.85, 1.04), (1.0, 0.9)):
        low = points[-1].copy()
        low[:, 1] += np.maximum(0, reach - 0.35) * share
        low[:, 0] *= spread
        hang.append(low[reach > 0.6])
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
    """Centres (n, 3) of curls: every other spoke of every fourth ring of the cap, and down hanging hair."""
    cap = _cap(rig.identity)
    crown = cap[: _CAP_RINGS * _CAP_SPOKES].reshape(_CAP_RINGS, _CAP_SPOKES, 3)
    staggered = [crown[3::4, ::2], crown[5::4, 1::2]]
    picked = np.concatenate([*(s.reshape(-1, 3) for s in staggered), cap[_CAP_RINGS * _CAP_SPOKES :: 2]])
    return np.asarray((picked - CORE) * 0.95 + CORE)


def _crest(rig: Rig) -> list[np.ndarray]:
    """Outlines of what stands up on top: the spikes of a mohawk or the roll of a quiff."""
    return _mohawk(rig, steps(-0.3, 0.3, 6)) if rig.identity.hair_style == "mohawk" else [_quiff(rig)]


def _mohawk(rig: Rig, angles: np.ndarray) -> list[np.ndarray]:
    """Spikes at angles along the middle of the skull: 0 on top, > 0 behind."""
    i = rig.identity
    height = _CUTS["mohawk"].tuft * i.hair_volume
    shapes = []
    for a in angles:
        up, along = np.array([0, -np.cos(a), -np.sin(a)]), np.array([0, np.sin(a), -np.cos(a)])
        root, wide = up * (0.8, 0.94, 0.82), 0.15 * np.cos(0.8 * a)
        tip = root + up * height * (0.75 + 0.35 * np.cos(a - 0.2) + 0.1 * np.cos(9 * a + i.seed)) + along * 0.12
        foot = np.array([root + wide * ACROSS, root - wide * ACROSS, root + 0.13 * along, root - 0.13 * along])
        middle = (root + tip) / 2
        spike = np.array(
            [
                middle + 0.8 * wide * ACROSS,
                middle - 0.8 * wide * ACROSS,
                tip + 0.25 * wide * ACROSS,
                tip - 0.25 * wide * ACROSS,
            ]
        )
        shapes.append(hull(rig.project(np.concatenate([foot, spike]))))
    return shapes


def _quiff(rig: Rig) -> np.ndarray:
    """The outline of balls rolled up over the forehead, higher on the side of the parting."""
    i, style = rig.identity, _CUTS[rig.identity.hair_style]
    height = style.tuft * i.hair_volume
    across = np.linspace(-0.42, 0.42, 5)
    lean = 1 + 0.7 * i.hair_side * across
    radius = (0.16 + 0.4 * height * lean) * rig.unit
    centres = rig.project(np.stack([across, -0.78 - 0.75 * height * lean, 0.4 + 0.15 * np.cos(2 * across)], 1))
    roots = rig.project(profile(i).around(np.linspace(-1.3, 1.3, 9), np.full(9, i.hair_line - 0.1), 1.04))
    crown = rig.project(profile(i).around(np.linspace(-1.6, 1.6, 7), np.full(7, -0.9), 1.04) - (0, 0, 0.25))
    balls = [ring(c, float(r), 18) for c, r in zip(centres, radius, strict=True)]
    return hull(np.concatenate([*balls, roots, crown]))


def _coat(rig: Rig, outline: np.ndarray, gain: float, depth: float) -> Field:
    """The colour of hair over an outline: round shading and a band of gloss."""
    i, unit = rig.identity, rig.unit
    low, high = outline.min(0), outline.max(0)
    field = Field(low, high, tone(i.hair_colour, depth), 48)
    core = rig.project(np.array([[0.0, -0.1, -0.05]]))[0]
    field.sphere(core, (1.12 * unit, (1.3 + 1.5 * _CUTS[i.hair_style].back) * unit), rig.light, gain)
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
    """What is behind head and neck: hanging hair, a bun, a ponytail, the rear of a mohawk."""
    style = rig.identity.hair_style
    if style == "mohawk":
        spikes = _mohawk(rig, steps(0.4, 1.2, 7))
        paint(picture, _coat(rig, np.concatenate(spikes), 0.85, 0.9), *spikes)
    elif style == "bun":
        _paint_bun(picture, rig)
    elif style == "ponytail":
        outline = _tail(rig)
        paint(picture, _coat(rig, outline, 0.8, 0.85), outline)
    elif style != "bald" and _CUTS[style].back:
        outline = _fall(rig)
        paint(picture, _coat(rig, outline, 0.8, 0.62), outline)


def _fall(rig: Rig) -> np.ndarray:
    """The outline of hair that hangs behind the neck: it starts on the head and ends on the shoulders."""
    i = rig.identity
    cap = _cap(i)
    upper = rig.project(cap[cap[:, 2] < 0.2])
    y = np.linspace(0.3, 1.0, 6) * _CUTS[i.hair_style].back - 1.42
    x = i.head_width * (1.1 + 0.08 * i.hair_volume) * np.array([1.0, 1.02, 1.04, 1.04, 0.98, 0.78])
    edge = curve(np.stack([x, y], 1))
    return hull(np.concatenate([upper, rig.torso(edge), rig.torso(edge * (-1, 1))]))


def _paint_bun(picture: np.ndarray, rig: Rig) -> None:
    i, unit = rig.identity, rig.unit
    centre = rig.project(np.array([0.0, -1.06, -0.42]))
    outline = ring(centre, 0.4 * i.hair_volume**0.5 * unit, 36)
    field = Field(outline.min(0), outline.max(0), tone(i.hair_colour, 0.95), 32)
    field.sphere(centre, (0.42 * unit, 0.42 * unit), rig.light, 1.0)
    paint(picture, field, outline)


def _tail(rig: Rig) -> np.ndarray:
    """The outline of a ponytail, over one shoulder."""
    i = rig.identity
    x = i.hair_side * np.array([0.1, 0.75, 1.05, 0.95, 0.8])
    line = curve(np.stack([x, [-0.6, -0.55, 0.1, 0.8, 1.25], [-0.95, -1.1, -0.95, -0.8, -0.7]], 1), 8)
    width = np.interp(steps(0, 1, len(line)), [0, 0.3, 0.7, 1], [0.3, 0.5, 0.42, 0.05])
    return ribbon(rig.project(line), width * i.hair_volume**0.5 * rig.unit)


def paint_hair(picture: np.ndarray, rig: Rig, window: np.ndarray | None) -> None:
    """The cap of hair with its strands; `window` is what `hair_window` gave."""
    i = rig.identity
    if window is None:
        return
    style = _CUTS[i.hair_style]
    outline = hull(rig.project(_cap(i)))
    pieces = [outline, *(_crest(rig) if style.tuft else [])]
    if style.curls:
        pieces += [ring(c, style.curls * rig.unit, 14) for c in rig.project(_curls(rig))]
    everything = np.concatenate(pieces)
    box = bounds(everything, rig.size)
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    cover = mask(box, outline) if i.hair_style == "mohawk" else mask(box, *pieces)
    _open_face(cover, box, rig, window)
    scalp = i.hair_style in ("mohawk", "buzz")
    patch = _coat(rig, everything, 0.85, 1.0).patch(box)
    _strands(patch, rig, box)
    blend(picture, box, cover, patch, 0.72 if scalp else 1.0)
    if i.hair_style == "mohawk":
        blend(picture, box, mask(box, *pieces[1:]), patch)


def _open_face(cover: np.ndarray, box: Box, rig: Rig, window: np.ndarray) -> None:
    """Take the face out of the hair.

    Inside the outline of the head the hairline bounds it, below the head the inner edges of hanging hair.
    """
    free = np.minimum(mask(box, window), mask(box, rig.outline))
    line = _window(rig.identity)
    low = line[line[:, 1] > 0.5]
    left, right = rig.project(low[low[:, 0] < 0]), rig.project(low[low[:, 0] > 0])
    down = rig.rotation[:2, 1] * 3 * rig.unit
    gap = np.concatenate([left, right, [right[-1] + down, left[0] + down]])
    np.minimum(cover, 255 - np.maximum(free, mask(box, gap)), out=cover)


@lru_cache(maxsize=256)
def _strand_lines(identity: Identity) -> np.ndarray:
    """Local points (7, n, 3) along n strands, from the crown to the edges."""
    i, style = identity, _CUTS[identity.hair_style]
    rng = np.random.default_rng([i.seed, _HAIR_STREAM, 3])
    azimuth = np.linspace(-np.pi, np.pi, _STRANDS) + rng.uniform(-0.1, 0.1, _STRANDS)
    along = np.linspace(0.03, 1, 7)[:, None]
    fall = np.where(np.cos(azimuth) > 0.5, i.hair_line + 0.25, min(style.side, 0.6) + 0.2)
    y = -1.0 + (fall + 1) * along**1.6
    grow = 1 + (style.grow - 1) * i.hair_volume
    return profile(i).around(azimuth + 0.25 * i.hair_side * (1 - along), y, grow * 0.985)


def _strands(patch: np.ndarray, rig: Rig, box: Box) -> None:
    """Fine darker and lighter lines on a patch of hair."""
    i = rig.identity
    if _CUTS[i.hair_style].curls and i.hair_style != "wavy":
        return
    turned = rig.turn(_strand_lines(i))
    flat = curve(rig.place(turned).reshape(7, -1), 3).reshape(-1, _STRANDS, 2).swapaxes(0, 1)
    # lines thin out as they pass behind the head, so that none pops
    seen = np.clip((turned[..., 2].mean(0) + 0.35) / 0.4, 0, 1)
    shapes = ribbons(flat, (0.013 * rig.unit * seen)[:, None]) - np.array(box[:2])
    ink = np.empty_like(patch)
    ink[:] = tone(i.hair_colour, 0.68)
    fill_each(ink, shapes[::3], tone(i.hair_colour, 1.35))
    cover = np.zeros(patch.shape[:2], np.uint8)
    fill_each(cover, shapes[seen > 0.02], (255,))
    blend(patch, (0, 0, patch.shape[1], patch.shape[0]), cover, ink, 0.3)
