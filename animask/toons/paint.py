"""Brushes: anti-aliased polygons, soft fields of colour, strokes of varying width. Colours: RGB, 0..255."""

from functools import lru_cache

import cv2
import numpy as np

from animask.toons.identity import Colour

SHIFT = 4  # fractional bits of OpenCV's polygon coordinates
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels


def tone(colour: Colour, factor: float) -> Colour:
    """A lighter or darker colour."""
    r, g, b = colour
    return min(255.0, r * factor), min(255.0, g * factor), min(255.0, b * factor)


def bounds(points: np.ndarray, size: int) -> Box:
    """The box of whole pixels around points, inside the frame; a pixel at its edge where all points are outside."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    x0, y0 = min(max(0, int(left) - 1), size - 1), min(max(0, int(top) - 1), size - 1)
    return x0, y0, max(x0 + 1, min(size, int(right) + 3)), max(y0 + 1, min(size, int(bottom) + 3))


def fill(picture: np.ndarray, points: np.ndarray, colour: Colour | tuple[int], x0: float = 0, y0: float = 0) -> None:
    """Paint an opaque polygon (n, 2), or several (k, n, 2) one after the other, on a picture with its corner at x0, y0.

    Whole numbers of OpenCV's coordinates are the centres of pixels.
    """
    scale = 1 << SHIFT
    shifted = points * scale - ((x0 + 0.5) * scale, (y0 + 0.5) * scale)
    fixed = np.rint(shifted).astype(np.int32, order="C")
    for polygon in fixed.reshape(-1, *points.shape[-2:]):
        cv2.fillPoly(picture, [polygon], colour, cv2.LINE_AA, SHIFT)


def mask(box: Box, *polygons: np.ndarray) -> np.ndarray:
    """The union of polygons as coverage (h, w) uint8 over a box."""
    x0, y0, x1, y1 = box
    cover = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for polygon in polygons:
        fill(cover, polygon, (255,), x0, y0)
    return cover


def blend(picture: np.ndarray, box: Box, cover: np.ndarray, patch: np.ndarray, alpha: float = 1.0) -> None:
    """Lay a patch (h, w, 3) uint8 over a box of the picture through coverage (h, w) uint8."""
    x0, y0, x1, y1 = box
    below = picture[y0:y1, x0:x1]
    weight = cover.astype(np.float32)
    weight *= np.float32(alpha / 255)
    below[:] = cv2.blendLinear(patch, below, weight, 1 - weight)


def plain(cover: np.ndarray, colour: Colour) -> np.ndarray:
    """A patch (h, w, 3) uint8 of one colour, of the size of a coverage."""
    return np.full((*cover.shape, 3), colour, np.uint8)


def tint(picture: np.ndarray, points: np.ndarray, colour: Colour, alpha: float) -> None:
    """Paint a translucent polygon (n, 2), or the union of several (k, n, 2)."""
    if alpha > 0:
        box = bounds(points.reshape(-1, 2), len(picture))
        cover = mask(box, points)
        blend(picture, box, cover, plain(cover, colour), alpha)


def stroke(
    picture: np.ndarray, points: np.ndarray, width: np.ndarray | float, colour: Colour, alpha: float = 1.0
) -> None:
    """Paint a translucent stroke along points (n, 2), of a width that may vary along it."""
    tint(picture, ribbon(points, width), colour, alpha)


def ribbon(points: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """The outlines (..., 2n, 2) of strokes along points (..., n, 2) of a width that may vary along them."""
    along = np.empty_like(points)
    along[..., 1:-1, :] = points[..., 2:, :] - points[..., :-2, :]
    along[..., 0, :] = points[..., 1, :] - points[..., 0, :]
    along[..., -1, :] = points[..., -1, :] - points[..., -2, :]
    length = np.sqrt(along[..., 0] ** 2 + along[..., 1] ** 2) + 1e-6
    side = np.empty_like(points)
    side[..., 0], side[..., 1] = -along[..., 1], along[..., 0]
    side *= (0.5 * width / length)[..., None]
    return np.concatenate([points + side, (points - side)[..., ::-1, :]], -2)


@lru_cache(maxsize=32)
def circle(count: int) -> np.ndarray:
    """The unit circle as a polygon (count, 2), read-only."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], 1)
    points.setflags(write=False)
    return points


def ring(centre: np.ndarray, radius: float, count: int = 20) -> np.ndarray:
    """A circle as a polygon."""
    return centre + radius * circle(count)


def spread(cells: np.ndarray, low: np.ndarray, step: np.ndarray, box: Box) -> np.ndarray:
    """A grid of colours, its corner at `low`, its cells `step` (2,) pixels large, on the pixels (h, w, 3) of a box."""
    x0, y0, x1, y1 = box
    # grid position of a pixel's centre, for cv2.WARP_INVERSE_MAP
    matrix = np.column_stack([np.diag(1 / step), (np.array([x0 + 0.5, y0 + 0.5]) - low) / step - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(cells, matrix, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)


class Field:
    """A soft field of colour over the bounds of an outline (n, 2), computed on a coarse grid.

    Its cost and its look do not depend on the size of the picture. Colours multiply: a field starts as one
    colour, and every step adds to its logarithm.
    """

    def __init__(self, outline: np.ndarray, colour: Colour, cells: int) -> None:
        self.low, high = outline.min(0), outline.max(0)
        self.middle = (self.low + high) / 2
        self.span, self.cells = np.maximum(high - self.low, 1e-3), cells
        ticks = ((np.arange(cells) + 0.5) / cells).astype(np.float32)
        self.x, self.y = (self.low[:, None] + ticks * self.span[:, None]).astype(np.float32)
        self.log = np.zeros((cells, cells, 3), np.float32) + np.log(np.maximum(colour, 2)).astype(np.float32)

    def sphere(self, centre: np.ndarray, radius: tuple[float, float], light: np.ndarray, gain: float) -> None:
        """Shade as an ellipsoid of the given radii under a light from the unit direction `light`."""
        nx = ((self.x - centre[0]) / radius[0])[None, :]
        ny = ((self.y - centre[1]) / radius[1])[:, None]
        nz = np.sqrt(np.maximum(0.03, 1 - nx * nx - ny * ny))
        lit = (nx * light[0] + ny * light[1] + nz * light[2]) / np.sqrt(nx * nx + ny * ny + nz * nz)
        shade = (np.minimum(lit - 0.82, 0.18) * gain).astype(np.float32)[..., None]
        # shadows lean to warm red: light that went through skin comes out so
        self.log += np.where(shade < 0, shade * np.array([0.8, 1.05, 1.1], np.float32), shade)

    def blobs(self, centres: np.ndarray, radii: np.ndarray, deltas: np.ndarray) -> None:
        """Add Gaussians: centres (k, 2), radii (k, 2) in pixels, deltas (k, 3) of the logarithm of RGB."""
        gx = np.exp(-0.5 * ((self.x - centres[:, :1]) / radii[:, :1]) ** 2).astype(np.float32)
        gy = np.exp(-0.5 * ((self.y - centres[:, 1:]) / radii[:, 1:]) ** 2).astype(np.float32)
        for channel in range(3):
            self.log[..., channel] += (gy.T * deltas[:, channel].astype(np.float32)) @ gx

    def soft(self, polygon: np.ndarray, blur: float) -> np.ndarray:
        """Blurred coverage (cells, cells) of a polygon; blur in picture pixels."""
        cover = np.zeros((self.cells, self.cells), np.uint8)
        fill(cover, (polygon - self.low) / self.span * self.cells, (255,))
        sigma, sigma_y = np.maximum(blur / self.span * self.cells, 0.4)
        return cv2.GaussianBlur(cover.astype(np.float32) / 255, (0, 0), sigma, sigmaY=sigma_y)

    def add(self, weight: np.ndarray, delta: tuple[float, ...]) -> None:
        """Add weight (cells, cells) times a change of the logarithm of RGB."""
        self.log += weight[..., None] * np.array(delta, np.float32)

    def patch(self, box: Box) -> np.ndarray:
        """The field (h, w, 3) uint8 on the pixels of a box."""
        colours = np.clip(np.exp(self.log), 0, 255).astype(np.uint8)
        return spread(colours, self.low, self.span / self.cells, box)


def paint(picture: np.ndarray, field: Field, *polygons: np.ndarray) -> None:
    """Paint the union of polygons with a field of colour."""
    box = bounds(np.concatenate(polygons), len(picture))
    blend(picture, box, mask(box, *polygons), field.patch(box))
