"""Who a toon is: every number of a face that does not move, drawn from one seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Colour = tuple[float, float, float]

_IDENTITY_STREAM = 1  # keeps the random numbers of an identity apart from those of a pose with the same seed

_SKIN_RAMP = (
    (0.0, (253, 226, 205)),
    (0.2, (244, 205, 174)),
    (0.4, (226, 175, 136)),
    (0.6, (190, 134, 96)),
    (0.8, (142, 92, 64)),
    (1.0, (92, 58, 42)),
)
_HAIR_COLOURS = (
    (34, 30, 34),
    (52, 38, 32),
    (78, 52, 38),
    (110, 70, 44),
    (134, 62, 36),
    (186, 92, 42),
    (206, 160, 94),
    (232, 206, 150),
    (168, 168, 172),
    (92, 96, 168),
    (196, 92, 130),
    (52, 130, 128),
)
_HAIR_WEIGHTS = (5, 5, 5, 4, 2.5, 2, 3, 2, 1.5, 0.5, 0.5, 0.5)
_IRIS_COLOURS = (
    (92, 58, 34),
    (118, 80, 44),
    (70, 110, 74),
    (74, 122, 168),
    (104, 128, 140),
    (66, 46, 36),
    (128, 112, 58),
)
_CLOTH_COLOURS = (
    (46, 64, 98),
    (168, 58, 56),
    (62, 110, 92),
    (226, 178, 76),
    (234, 230, 222),
    (58, 58, 66),
    (120, 88, 140),
    (92, 142, 186),
    (206, 116, 84),
    (132, 148, 110),
    (222, 156, 166),
)
_BACK_COLOURS = (
    (176, 206, 222),
    (238, 214, 176),
    (196, 216, 186),
    (226, 190, 190),
    (190, 184, 220),
    (92, 112, 138),
    (74, 96, 90),
    (124, 86, 92),
    (232, 228, 220),
    (86, 82, 110),
    (240, 186, 132),
    (128, 170, 176),
)

HAIR_STYLES = (
    "bald",
    "buzz",
    "short",
    "sidepart",
    "quiff",
    "bob",
    "long",
    "wavy",
    "curly",
    "afro",
    "bun",
    "mohawk",
    "ponytail",
    "fringe",
)
_HAIR_ODDS_MASCULINE = (1.2, 1.5, 3, 3, 2.5, 0.1, 0.6, 0.4, 1.5, 1, 0.4, 0.6, 0.1, 1.2)
_HAIR_ODDS_FEMININE = (0.15, 0.3, 0.7, 1, 0.3, 3, 3, 2.5, 1.5, 1.2, 2, 0.3, 2, 1)


@dataclass(frozen=True)
class Identity:
    """One toon. Lengths are in head units (1 = half the height of the head); colours are RGB, 0..255.

    Local axes of a head that looks at the viewer: x to the right of the picture, y down, z to the viewer.
    """

    seed: int
    skin: Colour
    feminine: float  # 0..1, moves proportions, hair and lashes together so that a face is of one piece
    head_width: float
    cheek_width: float
    jaw_width: float
    chin_width: float
    chin_y: float
    ear_size: float
    ear_flare: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    iris_size: float
    iris: Colour
    lash: float
    brow_gap: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    brow_colour: Colour
    nose_y: float
    nose_width: float
    nose_depth: float
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    lip_colour: Colour
    blush: float
    freckles: int
    hair_style: str
    hair_colour: Colour
    hair_volume: float
    hair_line: float
    hair_side: int  # -1 or 1: where the parting is
    beard: str  # "none", "stubble", "full", "goatee" or "moustache"
    glasses: str  # "none", "round", "square" or "half"
    glasses_colour: Colour
    earrings: bool
    clothes: str  # "crew", "vneck", "shirt", "jacket", "hoodie" or "turtleneck"
    clothes_colour: Colour
    clothes_accent: Colour
    pattern: str  # "plain", "stripes", "dots", "checks" or "pinstripe"
    shoulder_width: float
    shoulder_slope: float
    neck_width: float
    backdrop: str  # "gradient", "blobs", "stripes", "bokeh", "room" or "window"
    backdrop_colour: Colour
    backdrop_accent: Colour
    light_x: float  # -1..1: where the light comes from
    light_y: float
    contrast: float


def _choice(rng: np.random.Generator, items: Any, weights: Any = None) -> Any:
    p = None if weights is None else np.asarray(weights, float) / np.sum(weights)
    return items[int(rng.choice(len(items), p=p))]


def _jitter(rng: np.random.Generator, colour: Any, spread: float) -> Colour:
    shifted = np.clip(np.asarray(colour, float) + rng.normal(0, spread, 3) + rng.normal(0, spread), 8, 250)
    return (float(shifted[0]), float(shifted[1]), float(shifted[2]))


def _mix(a: Any, b: Any, t: float) -> Colour:
    mixed = np.asarray(a, float) * (1 - t) + np.asarray(b, float) * t
    return (float(mixed[0]), float(mixed[1]), float(mixed[2]))


def _colours(rng: np.random.Generator) -> dict[str, Colour]:
    """Skin, hair, brows, iris and lips that go together."""
    depth = float(rng.uniform(0, 1))
    stops = np.array([s for s, _ in _SKIN_RAMP])
    tones = np.array([c for _, c in _SKIN_RAMP], float)
    skin = _jitter(rng, [np.interp(depth, stops, tones[:, i]) for i in range(3)], 3)
    weights = np.array(_HAIR_WEIGHTS)
    weights[4:8] *= max(0.04, 1 - 1.3 * depth)  # red and fair hair are rare on deep skin
    hair = _jitter(rng, _choice(rng, _HAIR_COLOURS, weights), 5)
    iris_weights = np.array([2, 2, 1.2, 1.8, 1.2, 2, 1]) * np.where(np.arange(7) % 5 < 2, 1, max(0.1, 1 - depth))
    lip_tint = (190, 70, 78) if rng.random() < 0.7 else (170, 60, 96)
    return {
        "skin": skin,
        "hair_colour": hair,
        "brow_colour": _mix(hair, (40, 28, 24), 0.45),
        "iris": _jitter(rng, _choice(rng, _IRIS_COLOURS, iris_weights), 6),
        "lip_colour": _mix(skin, lip_tint, float(rng.uniform(0.32, 0.5))),
    }


def _proportions(rng: np.random.Generator, feminine: float) -> dict[str, float]:
    """Head, features and their places."""
    f, u = feminine, rng.uniform
    head = u(0.74, 0.82)
    return {
        "head_width": head,
        "cheek_width": head * u(0.93, 0.99),
        "jaw_width": head * (u(0.74, 0.88) - 0.08 * f),
        "chin_width": u(0.2, 0.32) - 0.07 * f,
        "chin_y": u(0.98, 1.1) - 0.04 * f,
        "ear_size": u(0.2, 0.27),
        "ear_flare": u(0.1, 0.2),
        "eye_x": u(0.3, 0.35),
        "eye_y": u(-0.02, 0.06),
        "eye_width": u(0.155, 0.19),
        "eye_height": u(0.085, 0.115) + 0.02 * f,
        "eye_tilt": u(-0.1, 0.2),
        "iris_size": u(0.088, 0.104),
        "lash": u(0.2, 0.5) + 0.6 * f,
        "brow_gap": u(0.17, 0.23),
        "brow_thickness": u(0.045, 0.075) - 0.024 * f,
        "brow_arch": u(0.02, 0.07),
        "brow_tilt": u(-0.15, 0.15),
        "nose_y": u(0.3, 0.38),
        "nose_width": u(0.12, 0.18) - 0.02 * f,
        "nose_depth": u(0.16, 0.25),
        "mouth_y": u(0.6, 0.66),
        "mouth_width": u(0.23, 0.3),
        "lip_upper": u(0.04, 0.065) + 0.012 * f,
        "lip_lower": u(0.06, 0.09) + 0.015 * f,
        "shoulder_width": u(1.35, 1.65) - 0.2 * f,
        "shoulder_slope": u(0.2, 0.42),
        "neck_width": u(0.38, 0.48) - 0.08 * f,
    }


def _wardrobe(rng: np.random.Generator, feminine: float) -> dict[str, Any]:
    """Clothes, glasses and the background, in colours that differ from each other."""
    first, second = rng.permutation(len(_CLOTH_COLOURS))[:2]
    back, accent = rng.permutation(len(_BACK_COLOURS))[:2]
    return {
        "clothes": _choice(rng, ("crew", "vneck", "shirt", "jacket", "hoodie", "turtleneck"), (3, 2, 3, 2, 2, 1.5)),
        "clothes_colour": _jitter(rng, _CLOTH_COLOURS[first], 6),
        "clothes_accent": _jitter(rng, _CLOTH_COLOURS[second], 6),
        "pattern": _choice(rng, ("plain", "stripes", "dots", "checks", "pinstripe"), (5, 2, 1.3, 1.5, 1)),
        "backdrop": _choice(rng, ("gradient", "blobs", "stripes", "bokeh", "room", "window"), (2, 2, 1, 2, 2, 1.5)),
        "backdrop_colour": _jitter(rng, _BACK_COLOURS[back], 8),
        "backdrop_accent": _jitter(rng, _BACK_COLOURS[accent], 8),
        "glasses": _choice(rng, ("none", "round", "square", "half"), (7, 1.2, 1.2, 0.8)),
        "glasses_colour": _jitter(rng, _choice(rng, ((36, 32, 34), (96, 58, 34), (150, 44, 48), (160, 150, 140))), 5),
        "earrings": bool(rng.random() < 0.5 * feminine),
    }


def sample_identity(seed: int) -> Identity:
    """The identity number `seed`, a non-negative integer; the same seed gives the same identity."""
    rng = np.random.default_rng([seed, _IDENTITY_STREAM])
    feminine = float(np.clip(rng.beta(0.5, 0.5), 0, 1))
    odds = np.array(_HAIR_ODDS_FEMININE) * feminine + np.array(_HAIR_ODDS_MASCULINE) * (1 - feminine)
    beard_odds = (2.5, 1.2, 1.4, 0.7, 0.8) if feminine < 0.35 else (1, 0, 0, 0, 0)
    fields: dict[str, Any] = {**_colours(rng), **_proportions(rng, feminine), **_wardrobe(rng, feminine)}
    return Identity(
        seed=seed,
        feminine=feminine,
        blush=float(rng.uniform(0.15, 0.6)),
        freckles=int(rng.integers(14, 40)) if rng.random() < 0.15 else 0,
        hair_style=_choice(rng, HAIR_STYLES, odds),
        hair_volume=float(rng.uniform(0.7, 1.3)),
        hair_line=float(rng.uniform(-0.66, -0.54)),
        hair_side=1 if rng.random() < 0.5 else -1,
        beard=_choice(rng, ("none", "stubble", "full", "goatee", "moustache"), beard_odds),
        light_x=float(rng.uniform(0.35, 0.75)) * (1 if rng.random() < 0.5 else -1),
        light_y=float(rng.uniform(-0.7, -0.25)),
        contrast=float(rng.uniform(0.75, 1.15)),
        **fields,
    )
