"""What is done to the frames of a sample: flips, movements, warps and degradation; NumPy, one draw per call."""

from collections.abc import Sequence

import cv2
import numpy as np


def flip(frames: tuple[np.ndarray, ...], how: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Flip the frames of a sample in time (swap) or space (mirror) as TrainConfig.flips says.

    A sample with another identity in the target's pose has no time to flip.
    """
    if how == "time-or-mirror" and rng.random() < 0.5:
        return frames[::-1] if len(frames) == 2 else frames
    if how != "none" and rng.random() < 0.5:
        return tuple(frame[:, ::-1] for frame in frames)
    return frames


def move(images: Sequence[np.ndarray], amount: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Shift by up to `amount` of the side, scale by 1 ± amount, turn by up to `amount` radians; reflected borders.

    One draw for all images, which have one size.
    """
    side = images[0].shape[0]
    dx, dy, zoom, turn = rng.uniform(-amount, amount, 4)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, float(np.degrees(turn)), 1 + zoom)
    matrix[:, 2] += (dx * side, dy * side)
    return [
        cv2.warpAffine(np.ascontiguousarray(image), matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        for image in images
    ]


def warp(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A single picture made to move: a random affine map and a thin-plate warp; reflected borders.

    The thin-plate spline (Bookstein, 1989) moves 4×4 control points by up to 5 % of the side.
    """
    side = image.shape[0]
    (moved,) = move((image,), 0.12, rng)
    knots = np.stack(np.meshgrid(*[np.linspace(-0.75, 0.75, 4)] * 2), -1).reshape(-1, 2)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 33)] * 2), -1).reshape(-1, 2)

    def kernel(a: np.ndarray) -> np.ndarray:
        squared = ((a[:, None] - knots) ** 2).sum(2)
        return np.hstack([squared * np.log(squared + 1e-9), np.ones((len(a), 1)), a])

    system = np.vstack([kernel(knots), np.hstack([np.vstack([np.ones(16), knots.T]), np.zeros((3, 3))])])
    offsets = np.vstack([rng.uniform(-0.1, 0.1, (16, 2)), np.zeros((3, 2))])
    field = (grid + kernel(grid) @ np.linalg.solve(system, offsets)).reshape(33, 33, 2)
    field = cv2.resize(field.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    at = ((field + 1) * (side - 1) / 2).astype(np.float32)
    return cv2.remap(moved, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def degrade(image: np.ndarray, chance: float, rng: np.random.Generator) -> np.ndarray:
    """With this chance a mild blur or JPEG noise, as in compressed drivers."""
    if rng.random() >= chance:
        return image
    image = np.ascontiguousarray(image)  # a flipped one is a view
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.2)) * len(image) / 256)
    quality = int(rng.integers(30, 80))
    coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
