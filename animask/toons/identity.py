"""Who a toon is: every number of a face that does not move, drawn from one seed."""

from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import numpy as np

Colour = tuple[float, float, float]


def colours(text: str) -> list[Colour]:
    """RGB, 0..255, of words of six hexadecimal digits."""
    return [(r, g, b) for r, g, b in map(bytes.fromhex, text.split())]


STREAM = 1  # keeps the random numbers of an identity apart from those of a pose with the same seed
SKINS = colours("fde2cd f4cdae e2af88 be8660 8e5c40 5c3a2a")  # fair to deep
HAIRS = colours("221e22 342620 4e3426 6e462c 863e24 ba5c2a cea05e e8ce96 a8a8ac 5c60a8 c45c82 348280")
HAIR_ODDS = (5, 5, 5, 4, 2.5, 2, 3, 2, 1.5, 0.5, 0.5, 0.5)
IRISES = colours("5c3a22 76502c 466e4a 4a7aa8 68808c 422e24 80703a")
CLOTHS = colours("2e4062 a83a38 3e6e5c e2b24c eae6de 3a3a42 78588c 5c8eba ce7454 84946e de9ca6")
BACKDROPS = colours("b0cede eed6b0 c4d8ba e2bebe beb8dc 5c708a 4a605a 7c565c e8e4dc 56526e f0ba84 80aab0")
FRAMES = colours("242022 603a22 962c30 a0968c")  # of glasses

HAIR_STYLES = (
    *("bald", "buzz", "short", "sidepart", "quiff", "bob", "long"),
    *("wavy", "curly", "afro", "bun", "mohawk", "ponytail", "fringe"),
)
MASCULINE_ODDS = (1.2, 1.5, 3, 3, 2.5, 0.1, 0.6, 0.4, 1.5, 1, 0.4, 0.6, 0.1, 1.2)
FEMININE_ODDS = (0.15, 0.3, 0.7, 1, 0.3, 3, 3, 2.5, 1.5, 1.2, 2, 0.3, 2, 1)


@dataclass(frozen=True)
class Identity:
    """One toon. Lengths are in head units (1 = half the height of the head); colours are RGB, 0..255.

    Local axes of a head that looks at the viewer: x to the right of the picture, y down, z to the viewer.
    The three numbers of a proportion: the range it is drawn from, and what a wholly feminine face adds to it.
    """

    seed: int
    skin: Colour
    feminine: float  # 0..1, moves proportions, hair and lashes together so that a face is of one piece
    head_width: Annotated[float, 0.74, 0.82, 0]
    cheek_width: Annotated[float, 0.93, 0.99, 0]  # drawn in widths of the head, as is the next
    jaw_width: Annotated[float, 0.74, 0.88, -0.08]
    chin_width: Annotated[float, 0.2, 0.32, -0.07]
    chin_y: Annotated[float, 0.98, 1.1, -0.04]
    ear_size: Annotated[float, 0.2, 0.27, 0]
    ear_flare: Annotated[float, 0.1, 0.2, 0]
    eye_x: Annotated[float, 0.3, 0.35, 0]
    eye_y: Annotated[float, -0.02, 0.06, 0]
    eye_width: Annotated[float, 0.155, 0.19, 0]
    eye_height: Annotated[float, 0.085, 0.115, 0.02]
    eye_tilt: Annotated[float, -0.1, 0.2, 0]
    iris_size: Annotated[float, 0.088, 0.104, 0]
    iris: Colour
    lash: Annotated[float, 0.2, 0.5, 0.6]
    brow_gap: Annotated[float, 0.17, 0.23, 0]
    brow_thickness: Annotated[float, 0.045, 0.075, -0.024]
    brow_arch: Annotated[float, 0.02, 0.07, 0]
    brow_tilt: Annotated[float, -0.15, 0.15, 0]
    brow_colour: Colour
    nose_y: Annotated[float, 0.3, 0.38, 0]
    nose_width: Annotated[float, 0.12, 0.18, -0.02]
    nose_depth: Annotated[float, 0.16, 0.25, 0]
    mouth_y: Annotated[float, 0.6, 0.66, 0]
    mouth_width: Annotated[float, 0.23, 0.3, 0]
    lip_upper: Annotated[float, 0.04, 0.065, 0.012]
    lip_lower: Annotated[float, 0.06, 0.09, 0.015]
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
    shoulder_width: Annotated[float, 1.35, 1.65, -0.2]
    shoulder_slope: Annotated[float, 0.2, 0.42, 0]
    neck_width: Annotated[float, 0.38, 0.48, -0.08]
    backdrop: str  # "gradient", "blobs", "stripes", "bokeh", "room" or "window"
    backdrop_colour: Colour
    backdrop_accent: Colour
    light_x: float  # -1..1: where the light comes from
    light_y: float
    contrast: float


HINTS = get_type_hints(Identity, include_extras=True)
PROPORTIONS = {name: hint.__metadata__ for name, hint in HINTS.items() if hasattr(hint, "__metadata__")}


def choose(rng: np.random.Generator, items: Any, odds: Any = None) -> Any:
    """One of some items, even or by odds."""
    p = None if odds is None else np.asarray(odds, float) / np.sum(odds)
    return items[int(rng.choice(len(items), p=p))]


def jitter(rng: np.random.Generator, colour: Any, spread: float) -> Colour:
    """A colour a little beside another, in hue and in lightness."""
    shifted = np.asarray(colour, float) + rng.normal(0, spread, 3) + rng.normal(0, spread)
    r, g, b = np.clip(shifted, 8, 250).tolist()
    return r, g, b


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """A colour between two."""
    red, green, blue = (np.array(a) * (1 - t) + np.array(b) * t).tolist()
    return red, green, blue


def complexion(rng: np.random.Generator) -> dict[str, Colour]:
    """Skin, hair, brows, iris and lips that go together."""
    depth = rng.uniform(0, 1)
    skin = jitter(rng, [np.interp(depth, np.arange(6) / 5, channel) for channel in np.array(SKINS).T], 3)
    odds = np.array(HAIR_ODDS)
    odds[4:8] *= max(0.04, 1 - 1.3 * depth)  # red and fair hair are rare on deep skin
    hair = jitter(rng, choose(rng, HAIRS, odds), 5)
    iris_odds = np.array([2, 2, 1.2, 1.8, 1.2, 2, 1]) * np.where(np.arange(7) % 5 < 2, 1, max(0.1, 1 - depth))
    lip_tint = (190, 70, 78) if rng.random() < 0.7 else (170, 60, 96)
    return {
        "skin": skin,
        "hair_colour": hair,
        "brow_colour": mix(hair, (40, 28, 24), 0.45),
        "iris": jitter(rng, choose(rng, IRISES, iris_odds), 6),
        "lip_colour": mix(skin, lip_tint, rng.uniform(0.32, 0.5)),
    }


def wardrobe(rng: np.random.Generator, feminine: float) -> dict[str, Any]:
    """Clothes, glasses and the background, in colours that differ from each other."""
    first, second = rng.permutation(len(CLOTHS))[:2]
    back, accent = rng.permutation(len(BACKDROPS))[:2]
    return {
        "clothes": choose(rng, ("crew", "vneck", "shirt", "jacket", "hoodie", "turtleneck"), (3, 2, 3, 2, 2, 1.5)),
        "clothes_colour": jitter(rng, CLOTHS[first], 6),
        "clothes_accent": jitter(rng, CLOTHS[second], 6),
        "pattern": choose(rng, ("plain", "stripes", "dots", "checks", "pinstripe"), (5, 2, 1.3, 1.5, 1)),
        "backdrop": choose(rng, ("gradient", "blobs", "stripes", "bokeh", "room", "window"), (2, 2, 1, 2, 2, 1.5)),
        "backdrop_colour": jitter(rng, BACKDROPS[back], 8),
        "backdrop_accent": jitter(rng, BACKDROPS[accent], 8),
        "glasses": choose(rng, ("none", "round", "square", "half"), (7, 1.2, 1.2, 0.8)),
        "glasses_colour": jitter(rng, choose(rng, FRAMES), 5),
        "earrings": rng.random() < 0.5 * feminine,
    }


def sample_identity(seed: int) -> Identity:
    """The identity number `seed`, a non-negative integer; the same seed gives the same identity."""
    rng = np.random.default_rng([seed, STREAM])
    feminine = rng.beta(0.5, 0.5)
    hair_odds = np.array(FEMININE_ODDS) * feminine + np.array(MASCULINE_ODDS) * (1 - feminine)
    beard_odds = (2.5, 1.2, 1.4, 0.7, 0.8) if feminine < 0.35 else (1, 0, 0, 0, 0)
    fields: dict[str, Any] = {**complexion(rng)}
    for name, (low, high, shift) in PROPORTIONS.items():
        fields[name] = rng.uniform(low, high) + shift * feminine
    fields["cheek_width"] *= fields["head_width"]
    fields["jaw_width"] *= fields["head_width"]
    fields |= wardrobe(rng, feminine)
    return Identity(
        seed=seed,
        feminine=feminine,
        blush=rng.uniform(0.15, 0.6),
        freckles=int(rng.integers(14, 40)) if rng.random() < 0.15 else 0,
        hair_style=choose(rng, HAIR_STYLES, hair_odds),
        hair_volume=rng.uniform(0.7, 1.3),
        hair_line=rng.uniform(-0.66, -0.54),
        hair_side=1 if rng.random() < 0.5 else -1,
        beard=choose(rng, ("none", "stubble", "full", "goatee", "moustache"), beard_odds),
        light_x=rng.uniform(0.35, 0.75) * (1 if rng.random() < 0.5 else -1),
        light_y=rng.uniform(-0.7, -0.25),
        contrast=rng.uniform(0.75, 1.15),
        **fields,
    )
