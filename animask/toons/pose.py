"""What a toon does: the numbers that move, at random or as a smooth function of time."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

STREAM = 2
SYLLABLE = 0.19  # seconds between visemes: about five a second, as in speech
BLINK_CELL = 2.8  # seconds; each cell holds one blink


@dataclass(frozen=True)
class Pose:
    """One moment. Angles in radians; the neutral pose is all defaults.

    yaw > 0 turns to the right of the picture, pitch > 0 looks down, roll > 0 tilts clockwise. x and y are
    shifts in fractions of the frame. gaze_x > 0 looks right, gaze_y > 0 looks down: -1..1.
    blink_l is the eye on the left of the picture; 1 is closed. brow: -1 (frown) .. 1 (raised).
    mouth_open: 0..1. smile: -0.5 (pursed) .. 1.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    blink_l: float = 0.0
    blink_r: float = 0.0
    brow: float = 0.0
    mouth_open: float = 0.0
    smile: float = 0.0


# name: (largest value, slowest and fastest frequency in Hz) of the smooth motion
SWINGS = {
    "yaw": (0.62, 0.1, 0.34),
    "pitch": (0.3, 0.12, 0.5),
    "roll": (0.3, 0.08, 0.3),
    "x": (0.11, 0.06, 0.24),
    "y": (0.09, 0.06, 0.28),
    "scale": (0.13, 0.05, 0.16),
    "gaze_x": (0.7, 0.1, 0.5),
    "gaze_y": (0.5, 0.1, 0.4),
    "brow": (0.8, 0.1, 0.6),
    "smile": (0.45, 0.06, 0.3),
}


def sample_pose(rng: np.random.Generator) -> Pose:
    """One random pose over the whole range of motion: yaw ±40°, pitch and roll ±20°, shifts ±12 %."""
    u = rng.uniform
    shut = float(rng.choice([0.0, u(0, 0.5), 1.0], p=[0.7, 0.18, 0.12]))
    wink = u(0, 1) if rng.random() < 0.06 else shut
    return Pose(
        yaw=u(-0.69, 0.69),
        pitch=u(-0.34, 0.34),
        roll=u(-0.34, 0.34),
        x=u(-0.12, 0.12),
        y=u(-0.12, 0.12),
        scale=u(0.85, 1.15),
        gaze_x=u(-1, 1),
        gaze_y=u(-0.8, 0.8),
        blink_l=shut,
        blink_r=wink,
        brow=u(-1, 1),
        mouth_open=u(0, 1) * (rng.random() < 0.7),
        smile=u(-0.4, 1),
    )


def pose_at(seed: int, time: float) -> Pose:
    """The pose of the speaker number `seed` at `time` seconds (any real number), smooth in time."""
    amplitudes, frequencies, phases = waves(seed)
    sums = (amplitudes * np.sin(2 * np.pi * frequencies * time + phases)).sum(1)
    # tanh keeps the sum inside the range without a corner
    values = {name: float(top * np.tanh(1.3 * w)) for (name, (top, _, _)), w in zip(SWINGS.items(), sums, strict=True)}
    values["scale"] += 1.0
    opening, stretch = speech(seed, time)
    values["smile"] = min(max(values["smile"] + 0.25 + stretch, -0.5), 1.0)
    shut = blink(seed, time)
    return Pose(**values, blink_l=shut, blink_r=shut, mouth_open=opening)


@lru_cache(maxsize=256)
def waves(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Amplitudes, frequencies and phases (10, 4) of the slow motion: faster waves are smaller."""
    rng = np.random.default_rng([seed, STREAM])
    low, high = np.array([row[1:] for row in SWINGS.values()]).T[..., None]
    frequencies = low * (high / low) ** ((np.arange(4) + rng.uniform(0, 1, (len(low), 4))) / 4)
    amplitudes = rng.uniform(0.7, 1.0, frequencies.shape) * np.array([1.0, 0.75, 0.45, 0.3])
    return amplitudes / 1.4, frequencies, rng.uniform(0, 2 * np.pi, frequencies.shape)


@lru_cache(maxsize=4096)
def chances(seed: int, stream: int, index: int) -> tuple[float, float]:
    """Two uniform numbers of one cell of time; negative cells count too, hence the offset."""
    first, second = np.random.default_rng([seed, STREAM, stream, index + 2**31]).uniform(size=2).tolist()
    return first, second


def speech(seed: int, time: float) -> tuple[float, float]:
    """Mouth opening 0..1 and lip stretch -0.35..0.35: visemes joined by cubic B-splines, and pauses."""
    first, t = divmod(time / SYLLABLE, 1)
    weights = np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
    opening, stretch = weights @ np.array([viseme(seed, int(first) + k) for k in (-1, 0, 1, 2)])
    return float(opening), float(stretch)


def viseme(seed: int, index: int) -> tuple[float, float]:
    """Opening and stretch of one syllable; every other one is nearly shut, and whole phrases pause."""
    if chances(seed, 1, index // 9)[0] < 0.2:
        return 0.0, 0.0
    loud, shape = chances(seed, 0, index)
    opening = 0.25 * loud if index % 2 == 0 and loud < 0.7 else 0.35 + 0.9 * loud
    return min(opening, 1.15), 0.7 * shape - 0.35


def blink(seed: int, time: float) -> float:
    """How far the lids are shut, 0..1: one blink a cell, 0.12 s down and 0.2 s up, cosine-shaped."""
    index = int(np.floor(time / BLINK_CELL))
    since = time - (index + 0.1 + 0.7 * chances(seed, 2, index)[1]) * BLINK_CELL
    if not 0 <= since <= 0.32:
        return 0.0
    phase = since / 0.12 if since < 0.12 else 1 - (since - 0.12) / 0.2
    return float(0.5 - 0.5 * np.cos(np.pi * phase))
