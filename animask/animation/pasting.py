"""The animated square back in the picture it was cut from, and padding taken off."""

import cv2
import numpy as np

from animask.animation.moments import Square

FEATHER = 0.08  # of the square's side: how far the result fades into the picture


class Paste:
    """Puts frames (R, R, 3) into the whole picture, in the square that they were cut from, fading out at its borders.

    picture: RGB uint8 (H, W, 3). The results have its size, with an odd last row or column repeated: most videos
    have even sizes. Along the picture's own border nothing fades; what the square has beyond the picture is left out.
    """

    def __init__(self, picture: np.ndarray, square: Square) -> None:
        height, width = picture.shape[:2]
        self.picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        height, width = self.picture.shape[:2]
        x, y, self.size = square
        self.rows = slice(max(0, y), min(height, y + self.size))
        self.columns = slice(max(0, x), min(width, x + self.size))
        self.inside = (
            slice(self.rows.start - y, self.rows.stop - y),
            slice(self.columns.start - x, self.columns.stop - x),
        )
        self.under = np.ascontiguousarray(self.picture[self.rows, self.columns])
        down = fade(self.rows, height, FEATHER * self.size)
        across = fade(self.columns, width, FEATHER * self.size)
        self.weight = np.outer(down, across).astype(np.float32)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The whole picture with this frame in it."""
        how = cv2.INTER_AREA if self.size < len(frame) else cv2.INTER_CUBIC
        square = cv2.resize(frame, (self.size, self.size), interpolation=how)
        over = np.ascontiguousarray(square[self.inside])
        result = self.picture.copy()
        result[self.rows, self.columns] = cv2.blendLinear(over, self.under, self.weight, 1 - self.weight)
        return result


def fade(span: slice, length: int, reach: float) -> np.ndarray:
    """Weights of the pixels of `span` on a line of `length`: 1 in the middle, smoothly to 0 at ends within the line."""
    at = np.arange(span.start, span.stop) + 0.5
    nearest = np.full(at.shape, np.inf)
    if span.start > 0:
        nearest = at - span.start
    if span.stop < length:
        nearest = np.minimum(nearest, span.stop - at)
    t = np.clip(nearest / max(reach, 1.0), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def picture_part(square: Square, height: int, width: int, side: int) -> tuple[slice, slice]:
    """Rows and columns of a result (side × side pixels of `square`) that show the height × width picture.

    Even numbers of them; all of them where the square lies inside the picture.
    """
    parts = []
    for at, length in ((square[1], height), (square[0], width)):
        first = round(max(0, -at) * side / square[2])
        stop = round(min(square[2], length - at) * side / square[2])
        first = min(first, side - 2)
        parts.append(slice(first, first + max(2, (stop - first) // 2 * 2)))
    return parts[0], parts[1]
