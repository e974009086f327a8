"""Squares: which part of a picture or clip the networks see, a drawing of it, and the result back in its place."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from animask.errors import InputError, MissingError
from animask.faces import Box, cut, find_boxes
from animask.images import centre_square, crop_resize, fit

NAMES = ("auto", "none", "centre")
FEATHER = 0.08  # of the square's side: how far a pasted result fades into the picture
PANEL, MARGIN = 480, 12  # pixels of a drawing
GREY, GREEN, BLACK, YELLOW = (128, 128, 128), (0, 200, 0), (0, 0, 0), (255, 220, 0)

# Measured on talking-face clips of 207 people, six frames each, the median of each clip: the frame's side is 2.0
# face sizes (quartiles 1.77 and 2.19), and its centre lies 0.01 face sizes below the face's.
FRAME_FACTOR = 2.0
FRAME_SHIFT = 0.01
HEAD_FACTOR = 1.7  # head and hair, which must not leave the square while the head moves
CLOSEST_FACTOR = 1.5  # one clip in twenty is closer
SAME_FACE = 1.0  # face sizes that a face may move from one sampled frame to another
SAME_SIZE = 1.6  # largest ratio of two sizes of the same face

Square = tuple[int, int, int]


@dataclass(frozen=True)
class Crop:
    """A square (x, y, size) in pixels of a picture, which it may leave; why it; the faces found, the largest first."""

    square: Square
    reason: str
    faces: tuple[Box, ...] = ()


def parse_crop(text: str, name: str = "crop") -> Square | None:
    """The square of X,Y,SIZE; None for "auto", "none" and "centre". Raises InputError with `name` for anything else."""
    if text in NAMES:
        return None
    try:
        x, y, size = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"The {name} {text!r} is not understood.", f"Give {', '.join(NAMES)} or X,Y,SIZE.") from None
    if size < 1:
        raise InputError(f"The {name} {text} has no pixels.", "SIZE must be at least 1.")
    return x, y, size


def named_crop(text: str, height: int, width: int) -> Crop | None:
    """The square of a height × width picture that a setting names; None for "auto", which looks at the picture.

    "centre": the largest centred square. "none": the smallest one with the whole picture in it, its edges continued.
    """
    longer, square = max(height, width), parse_crop(text)
    if square:
        x, y, size = square
        outside = x >= width or y >= height or x + size <= 0 or y + size <= 0
        if outside or size > 3 * longer:
            raise InputError(f"The crop {text} does not fit the picture of {width}×{height} pixels.")
        return Crop(square, "given")
    if text == "none":
        return Crop(centre_square(height, width, longer), "the whole picture")
    return Crop(centre_square(height, width), "centre") if text == "centre" else None


def settle(square: Square, height: int, width: int, reason: str, faces: tuple[Box, ...]) -> Crop:
    """The crop of a square, or all of a picture that is a crop already: nearly square, and little larger than it."""
    shorter, longer = sorted((height, width))
    if longer <= 1.02 * shorter and 0.75 * shorter <= square[2] <= shorter:
        return Crop(centre_square(height, width), f"a crop already, {reason}", faces)
    return Crop(square, reason, faces)


def crop_face(picture: np.ndarray, number: int | None, side: int, name: str) -> Crop:
    """The square around the head of face `number` of a picture, None for the largest.

    With None, a picture that is such a square already stays whole; so does one of side × side pixels, as the networks
    take them, without a face. Raises MissingError where there is no face, InputError where there are fewer.
    """
    height, width = picture.shape[:2]
    faces = find_boxes(picture)
    if not faces and not number and (height, width) == (side, side):
        return Crop((0, 0, side), "a crop already, without a face")
    if not faces:
        raise MissingError(f"No face was found in {name}.", "Give --source-crop centre, or --source-crop X,Y,SIZE.")
    if number and number > len(faces):
        listed = ", ".join(f"{i} at {box.x},{box.y}" for i, box in enumerate(faces, 1))
        raise InputError(f"{name} has no face {number}.", f"The faces found: {listed}.")
    square, reason = enclose([faces[(number or 1) - 1]], height, width), f"face {number or 1} of {len(faces)}"
    return Crop(square, reason, faces) if number else settle(square, height, width, reason, faces)


def crop_head(found: Sequence[Sequence[Box]], number: int, height: int, width: int) -> Crop | None:
    """One fixed square for a shot around its head `number`, 1 for the largest; None where no sampled frame has one."""
    tracks, with_face = follow(found), [boxes for boxes in found if boxes]
    if not tracks:
        return None
    reason = f"a face in {len(with_face)} of {len(found)} sampled frames"
    square = enclose(tracks[min(number, len(tracks)) - 1], height, width)
    return settle(square, height, width, reason, tuple(with_face[0]))


def follow(found: Sequence[Sequence[Box]]) -> list[list[Box]]:
    """Faces of successive frames as tracks of one face each, one box a frame, that with the largest sum first."""
    tracks: list[list[Box]] = []
    for boxes in found:
        free = list(tracks)
        for box in boxes:
            near = min(free, key=lambda track: distance(box, track), default=None)
            if near and distance(box, near) <= SAME_FACE:
                near.append(box)
                free = [track for track in free if track is not near]
            else:
                tracks.append([box])
    return sorted(tracks, key=lambda track: -sum(box.size for box in track))


def distance(box: Box, track: list[Box]) -> float:
    """Face sizes between a box and the nearest box of a track; infinite where none is of a like size."""
    x, y, width, height = np.array(track, float).T
    size = np.maximum(width, height)
    away = np.hypot(x + width / 2 - box.x - box.width / 2, y + height / 2 - box.y - box.height / 2)
    alike = np.maximum(size, box.size) <= SAME_SIZE * np.minimum(size, box.size)
    return float(np.where(alike, away / np.minimum(size, box.size), np.inf).min())


def enclose(track: list[Box], height: int, width: int) -> Square:
    """The square around a head that takes these places in a height × width picture, as training clips are cut.

    FRAME_FACTOR times the face, FRAME_SHIFT lower, or larger, so that the head is inside wherever it moves; moved, and
    made smaller as far as the head allows, to stay in the picture. It reaches beyond where the head does not fit.
    """
    x, y, w, h = np.array(track, float).T
    size = np.maximum(w, h)
    usual, reach, middles = np.median(size), HEAD_FACTOR / 2 * size, np.stack([x + w / 2, y + h / 2])
    low, high = (middles - reach).min(1), (middles + reach).max(1)
    wanted = max(*(high - low), FRAME_FACTOR * usual)
    side = round(max(min(wanted, height, width), CLOSEST_FACTOR * usual))
    shift = min(FRAME_SHIFT * usual, (wanted - (high - low)[1]) / 2)  # down, as far as the head stays inside
    room = np.array([width, height]) - side  # below 0 where the square is larger
    corner = np.rint((low + high) / 2 + [0, shift] - side / 2)
    x, y = corner.clip(np.minimum(room, 0), np.maximum(room, 0)).astype(int).tolist()
    return x, y, side


def paste(frames: Iterable[np.ndarray], picture: np.ndarray, square: Square) -> Iterator[np.ndarray]:
    """Frames (R, R, 3) in the whole picture (H, W, 3), in the square that they are of, fading at its borders.

    An odd last row or column is repeated, since most videos have even sizes. Along the picture's own border nothing
    fades; what the square has beyond the picture is left out.
    """
    x, y, size = square
    picture = np.pad(picture, [(0, length % 2) for length in picture.shape[:2]] + [(0, 0)], mode="edge")
    height, width = picture.shape[:2]
    place = slice(max(0, y), y + size), slice(max(0, x), x + size)
    inside = slice(max(0, -y), height - y), slice(max(0, -x), width - x)
    weight = np.outer(fade(y, size, height), fade(x, size, width)).astype(np.float32)
    under, weight = np.ascontiguousarray(picture[place]), np.ascontiguousarray(weight[inside])
    for frame in frames:
        over = np.ascontiguousarray(fit(frame, size)[inside])
        result = picture.copy()
        result[place] = cv2.blendLinear(over, under, weight, 1 - weight)
        yield result


def fade(start: int, size: int, length: int) -> np.ndarray:
    """Weights of `size` pixels on a line of `length`: 1 in the middle, smoothly to 0 at ends within the line."""
    at = np.arange(size) + 0.5
    first = at if start > 0 else np.full(size, np.inf)
    last = size - at if start + size < length else np.full(size, np.inf)
    t = np.clip(np.minimum(first, last) / max(FEATHER * size, 1.0), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def picture_part(square: Square, height: int, width: int, side: int) -> tuple[slice, slice]:
    """Rows and columns, even in number, of a result (side², of `square`) that show the height × width picture."""
    parts = []
    for at, length in ((square[1], height), (square[0], width)):
        first = min(round(max(0, -at) * side / square[2]), side - 2)
        stop = round(min(square[2], length - at) * side / square[2])
        parts.append(slice(first, first + max(2, (stop - first) // 2 * 2)))
    return parts[0], parts[1]


def draw_crop(picture: np.ndarray, crop: Crop) -> np.ndarray:
    """A picture with its faces and its square in a panel, beside it what is in the square, below them the reason."""
    (height, width), (x, y, size) = picture.shape[:2], crop.square
    left, top = min(0, x), min(0, y)
    side = max(max(width, x + size) - left, max(height, y + size) - top)
    panel = cv2.resize(cut(picture, (left, top, side)), (PANEL, PANEL), interpolation=cv2.INTER_AREA)
    scale = (PANEL - 1) / side
    boxes = [(box, str(number), YELLOW) for number, box in enumerate(crop.faces, 1)]
    for box, name, colour in [*boxes, (Box(x, y, size, size), "", GREEN)]:
        corner = round((box.x - left) * scale), round((box.y - top) * scale)
        cv2.rectangle(panel, (*corner, round(box.width * scale), round(box.height * scale)), colour, 2)
        place = corner[0] + 4, corner[1] + 20
        cv2.putText(panel, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 2, cv2.LINE_AA)
    panels = [panel, crop_resize(picture, crop.square, PANEL)]
    row = np.hstack([cv2.copyMakeBorder(x, *(MARGIN,) * 4, cv2.BORDER_CONSTANT, value=GREY) for x in panels])
    line = np.full((3 * MARGIN, row.shape[1], 3), GREY, np.uint8)
    text = f"{width} x {height}, square {','.join(map(str, crop.square))}: {crop.reason}"
    cv2.putText(line, text, (MARGIN, 2 * MARGIN), cv2.FONT_HERSHEY_SIMPLEX, 0.5, BLACK, 1, cv2.LINE_AA)
    return np.vstack([row, line])
