"""Faces: where they are in a picture, and the fixed square around the head in a picture or a clip.

The detector is OpenCV's own cascade data (Viola and Jones, 2001; Lienhart and Maydt, 2002), which needs no
network and no download, or YuNet (Wu et al., 2023) where its ONNX file is given. Heads are upright.
"""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import cv2.data
import numpy as np

from animask.errors import InputError, MissingError

# Measured with `find_faces` on talking-face clips of 112 people (one clip a person, two frames a second, the
# median box of each clip): the frame's side is 1.89 face sizes (quartiles 1.73 and 2.09; of the 18 people of
# the test split 1.77), and its centre lies 0.03 face sizes below the face's.
FRAME_FACTOR = 1.9
FRAME_SHIFT = 0.03
HEAD_FACTOR = 1.6  # head and hair, which must not leave the square while the head moves
WORKING_SIDE = 640  # pixels of the longer side that the detectors see
SMALLEST_FACE = 24  # pixels in the working picture; the cascades were trained on 20
STEP = 1.1  # from one tried size of face to the next
YUNET_SCORE = 0.7
SAME_FACE = 1.0  # face sizes that a face may move from one sampled frame to another
SAME_SIZE = 1.6  # largest ratio of two sizes of the same face

# Tried in turn until one finds a face: data file, votes of neighbouring windows, also on the mirror image.
CASCADES = (
    ("haarcascade_frontalface_alt2.xml", 3, False),
    ("haarcascade_profileface.xml", 3, True),
    ("haarcascade_frontalface_default.xml", 6, False),
)
_thread = threading.local()  # detectors keep state: every thread has its own


class Box(NamedTuple):
    """A face, from the middle of the forehead to the chin: left, top, width, height in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> int:
        """The longer side."""
        return max(self.width, self.height)


def find_faces(image: np.ndarray, yunet: Path | None = None) -> list[Box]:
    """The upright faces of an RGB uint8 (H, W, 3) image, largest first; an empty list where there is none.

    yunet: the ONNX file of YuNet, which then does the work; without it, OpenCV's cascades: frontal faces, and
    only where there are none, turned ones. Raises MissingError where the file is not there and InputError
    where it is not a face detector.
    """
    height, width = image.shape[:2]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    found = _find_by_cascades(image) if yunet is None else _find_by_yunet(image, Path(yunet))
    boxes = [Box(*(round(float(value) / scale) for value in box)) for box in found]
    return sorted(boxes, key=lambda box: box.width * box.height, reverse=True)


def face_square(box: Box, height: int, width: int) -> tuple[int, int, int]:
    """The square (x, y, size) around the head, as training clips are cut, inside the height × width picture.

    FRAME_FACTOR times the face, FRAME_SHIFT lower; moved, and only then made smaller, where it would reach
    out of the picture.
    """
    return _enclose([box], height, width)


def join_faces(found: Iterable[list[Box]], height: int, width: int) -> tuple[int, int, int] | None:
    """One square (x, y, size) for a clip from the faces of its sampled frames; None where there are none.

    The face with the largest sum of sizes over the frames is followed: missed frames, false detections and
    other people do not move the square. It is as large as `face_square` of the median face, or larger, so
    that the head is inside wherever it moves, as far as the picture goes.
    """
    tracks = _follow(found)
    if not tracks:
        return None
    return _enclose(max(tracks, key=lambda track: sum(box.size for box in track)), height, width)


def _find_by_cascades(image: np.ndarray) -> list[tuple[int, int, int, int]]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    found: list[tuple[int, int, int, int]] = []
    for name, votes, mirrored in CASCADES:
        found = _scan(name, votes, grey)
        if mirrored:
            turned = _scan(name, votes, np.ascontiguousarray(grey[:, ::-1]))
            found += [(grey.shape[1] - x - width, y, width, height) for x, y, width, height in turned]
            found = _suppress(found)
        if found:
            break
    return found


def _scan(name: str, votes: int, grey: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Where one cascade fires in a grey picture."""
    cascades = _thread.__dict__
    if name not in cascades:
        cascades[name] = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / name))
    smallest = SMALLEST_FACE, SMALLEST_FACE
    boxes = cascades[name].detectMultiScale(grey, STEP, votes, minSize=smallest)
    return [(int(x), int(y), int(width), int(height)) for x, y, width, height in boxes]


def _find_by_yunet(image: np.ndarray, path: Path) -> list[tuple[float, float, float, float]]:
    if not path.is_file():
        raise MissingError(f"The face detector {path} is not there.", "Get it: `animask weights pull yunet`.")
    height, width = image.shape[:2]
    detectors = _thread.__dict__
    try:
        if str(path) not in detectors:
            detectors[str(path)] = cv2.FaceDetectorYN.create(str(path), "", (width, height), YUNET_SCORE)
        detectors[str(path)].setInputSize((width, height))
        rows = detectors[str(path)].detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    except cv2.error:
        raise InputError(f"{path} is not the face detector YuNet.", "Get it: `animask weights pull yunet`.") from None
    return [] if rows is None else [tuple(row[:4]) for row in rows]


def _suppress(boxes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Keep the largest of boxes that overlap by more than a third of the smaller one."""
    kept: list[tuple[int, int, int, int]] = []
    for box in sorted(boxes, key=lambda box: box[2] * box[3], reverse=True):
        if all(_overlap(box, other) <= 1 / 3 for other in kept):
            kept.append(box)
    return kept


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height) / min(a[2] * a[3], b[2] * b[3])


def _follow(found: Iterable[list[Box]]) -> list[list[Box]]:
    """Faces of successive frames, sorted into tracks of one face each; a track takes one box of a frame."""
    tracks: list[list[Box]] = []
    for boxes in found:
        free = list(tracks)
        for box in boxes:
            near = min(free, key=lambda track: _distance(box, track), default=None)
            if near is None or _distance(box, near) > SAME_FACE:
                tracks.append([box])
                continue
            near.append(box)
            free = [track for track in free if track is not near]
    return tracks


def _distance(box: Box, track: list[Box]) -> float:
    """Face sizes between a box and the nearest box of a track; infinite where none is of a like size."""
    x, y, width, height = np.array(track, float).T
    size = np.maximum(width, height)
    away = np.hypot(x + width / 2 - box.x - box.width / 2, y + height / 2 - box.y - box.height / 2)
    alike = np.maximum(size, box.size) <= SAME_SIZE * np.minimum(size, box.size)
    return float(np.where(alike, away / np.minimum(size, box.size), np.inf).min())


def _enclose(track: list[Box], height: int, width: int) -> tuple[int, int, int]:
    """The square of a clip in which one face takes these boxes."""
    x, y, w, h = np.array(track, float).T
    size = np.maximum(w, h)
    reach = HEAD_FACTOR / 2 * size
    left, right = (x + w / 2 - reach).min(), (x + w / 2 + reach).max()
    top, bottom = (y + h / 2 - reach).min(), (y + h / 2 + reach).max()
    side = max(right - left, bottom - top, FRAME_FACTOR * np.median(size))
    # Lower by the shift, as far as the head stays inside.
    shift = min(FRAME_SHIFT * np.median(size), (side - (bottom - top)) / 2)
    return fit_square((left + right) / 2, (top + bottom) / 2 + shift, side, height, width)


def fit_square(centre_x: float, centre_y: float, side: float, height: int, width: int) -> tuple[int, int, int]:
    """The square (x, y, size) around a centre, moved into a height × width picture, and no larger than it."""
    size = max(1, min(round(side), height, width))
    x = min(max(round(centre_x - size / 2), 0), width - size)
    y = min(max(round(centre_y - size / 2), 0), height - size)
    return x, y, size
