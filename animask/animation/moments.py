"""Where the mass of a mask lies, and the driver's square in which it lies where the source's does."""

from typing import NamedTuple

import numpy as np
import torch

from animask.images import crop_resize, to_tensor
from animask.model import Animator

Square = tuple[int, int, int]

FLAT = 0.01  # mean mass of a mask that marks nothing
BACKGROUND = 10.0  # percent: a head may fill most of its square
ROUNDS = 3  # a moved square changes the mask, too; each round leaves less
MOST_SHIFT = 0.25  # sides of the square that matching may move it
MOST_SCALE = 1.5  # and how many times larger or smaller it may become


class Shape(NamedTuple):
    """A distribution of mass over a square: its centre, and its extent, in sides of the square.

    spread: the standard deviation along an axis of the circle with the same second moments; the area of the mass is
    in proportion to its square, however bright the mask is.
    """

    x: float
    y: float
    spread: float


def object_above(mask: np.ndarray, background: float) -> np.ndarray | None:
    """The mass of the object in a mask (H, W) in [0, 1], over what the background has: None where that is nothing.

    background: the share of the pixels, in percent, that are background for sure.
    """
    mass = np.maximum(mask - np.percentile(mask, background), 0.0)
    return mass if mass.mean() > FLAT else None


def measure(mass: np.ndarray) -> Shape:
    """Centre and spread from the first and second moments of a mass (H, W)."""
    height, width = mass.shape
    total = mass.sum()
    across, down = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    x, y = mass.sum(0) @ across / total, mass.sum(1) @ down / total
    variance_x, variance_y = mass.sum(0) @ (across - x) ** 2 / total, mass.sum(1) @ (down - y) ** 2 / total
    covariance = (down - y) @ mass @ (across - x) / total
    # the square root of the determinant: the area of the ellipse, up to a factor
    area = np.sqrt(max(variance_x * variance_y - covariance**2, 0.0))
    return Shape(float(x), float(y), float(np.sqrt(area)))


def mass_of(model: Animator, image: np.ndarray) -> np.ndarray | None:
    """The mass (R/4, R/4) in the mask that m gives an RGB uint8 (R, R, 3) image; None where it marks nothing."""
    with torch.inference_mode():
        mask = model.m(to_tensor(image, next(model.parameters()).device))
    return object_above(mask[0, 0].double().cpu().numpy(), BACKGROUND)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """How much of two masses, each taken as a whole of 1, lies in the same places: 0 nothing, 1 all."""
    return float(np.minimum(a / a.sum(), b / b.sum()).sum())


def match_square(model: Animator, picture: np.ndarray, frame: np.ndarray, square: Square) -> Square:
    """The driver's square, shifted and scaled until its mask has the centre and the area of the source's mask.

    picture: the source's crop, RGB uint8 (R, R, 3). frame: a whole driver frame, RGB uint8 (H, W, 3). Of the squares
    on the way, the given one included, the one whose mask overlaps most with the source's: with other moments a mask
    may have another form, too. Unchanged where one of the masks marks nothing; it moves no further than MOST_SHIFT
    and MOST_SCALE.
    """
    goal, found = mass_of(model, picture), mass_of(model, crop_resize(frame, square, len(picture)))
    best, matched = square, square
    most = 0.0 if goal is None or found is None else overlap(goal, found)
    for _ in range(ROUNDS):
        if goal is None or found is None:
            break
        matched = limit(align(matched, measure(found), measure(goal)), square)
        found = mass_of(model, crop_resize(frame, matched, len(picture)))
        if found is not None and overlap(goal, found) > most:
            best, most = matched, overlap(goal, found)
    return best


def align(square: Square, found: Shape, goal: Shape) -> Square:
    """The square in which the mass that is `found` in this one has the shape `goal`."""
    x, y, size = square
    side = size * found.spread / goal.spread if found.spread and goal.spread else size
    return round(x + found.x * size - goal.x * side), round(y + found.y * size - goal.y * side), max(1, round(side))


def limit(square: Square, start: Square) -> Square:
    """The square as near to its own place as the limits of matching allow, seen from the one it started from."""
    size = float(np.clip(square[2], start[2] / MOST_SCALE, start[2] * MOST_SCALE))
    reach = MOST_SHIFT * start[2]
    corner = []
    for at, begin in zip(square[:2], start[:2], strict=True):
        shift = np.clip(at + square[2] / 2 - (begin + start[2] / 2), -reach, reach)
        corner.append(round(begin + start[2] / 2 + float(shift) - size / 2))
    return corner[0], corner[1], round(size)
