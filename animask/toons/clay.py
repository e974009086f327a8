"""Clay of a toon: its shape, pose and expression in fixed greys, without its colours: what a taught mask shows."""

from dataclasses import replace

import cv2
import numpy as np

from animask.toons.identity import Colour, Identity
from animask.toons.pose import Pose
from animask.toons.rendering import render


def grey(level: float) -> Colour:
    """A colour without a hue."""
    return level, level, level


def clay_identity(identity: Identity) -> Identity:
    """The same head in fixed greys and one light, without what does not move: beard, glasses, freckles, pattern."""
    return replace(
        identity,
        skin=grey(195),
        hair_colour=grey(85),
        iris=grey(20),
        brow_colour=grey(20),
        lip_colour=grey(110),
        blush=0.0,
        freckles=0,
        beard="none",
        glasses="none",
        earrings=False,
        clothes="crew",
        clothes_colour=grey(50),
        clothes_accent=grey(50),
        pattern="plain",
        light_x=0.0,
        light_y=-0.3,
        contrast=1.0,
    )


def clay(identity: Identity, pose: Pose, size: int) -> np.ndarray:
    """The clay (size, size) uint8 of `render(identity, pose, size)`, black outside the person; size: 32..1024."""
    return cv2.cvtColor(render(clay_identity(identity), pose, size, ground=grey(0)), cv2.COLOR_RGB2GRAY)
