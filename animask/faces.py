"""Faces: where they are in a picture, and their mesh of 468 points.

Networks of MediaPipe (Apache-2.0; they come with the package) do it, run by OpenCV: BlazeFace's short-range detector
and the face mesh. The iris network and the selfie segmentation are run for `clay`.
"""

import threading
from math import atan2, ceil, cos, sin
from typing import NamedTuple

import cv2
import numpy as np

from animask.files import bundled

# Pixels that each network sees, and its outputs.
DETECTOR, MESH, IRIS, PERSON = "face_detection_short_range", "face_landmark", "iris_landmark", "selfie_segmentation"
SIDES = {DETECTOR: 128, MESH: 192, IRIS: 64, PERSON: 256}
OUTPUTS: dict[str, tuple[str, ...]] = {DETECTOR: ("classificators", "regressors"), MESH: ("conv2d_31", "conv2d_21")}
OUTPUTS |= {IRIS: ("output_eyes_contours_and_brows", "output_iris"), PERSON: ("activation_10",)}
# Centres of the detector's 896 anchors in [0, 1], x before y: two at each of 16×16 places, six at each of 8×8.
GRIDS = [(np.indices((cells, cells))[::-1].reshape(2, -1).T + 0.5) / cells for cells in (16, 8)]
ANCHORS = np.concatenate([GRIDS[0].repeat(2, axis=0), GRIDS[1].repeat(6, axis=0)])
POINTS = 468  # of the mesh
SCORE = 0.4  # of the detector, below which nothing is looked at
PRESENCE = 0.95  # of the mesh, below which there is no face
SAME = 0.4  # two boxes that share so much of the smaller one are one face
CLOSER = 2.5  # sides of the square in which a candidate is looked at again, in sides of the candidate
MARGIN = 1.5  # sides of the square that the mesh sees, in sides of the face

local = threading.local()  # networks keep state: every thread has its own


class Box(NamedTuple):
    """A face, from the forehead to the chin: left, top, width, height in pixels of the picture."""

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> int:
        """The longer side."""
        return max(self.width, self.height)


class Face(NamedTuple):
    """A face that was found: its box, and its mesh (468, 3) float32 in pixels of the picture; a smaller z is nearer."""

    box: Box
    mesh: np.ndarray


def find_faces(picture: np.ndarray) -> list[Face]:
    """The faces of an RGB uint8 (H, W, 3) picture with their meshes, largest first; an empty list where there is none.

    They are looked for in the whole picture and in tiles of half its longer side; where there is none, in smaller
    ones, too. Heads may be tilted by 75 degrees.
    """
    longer = max(picture.shape[:2])
    every = max(1, longer // 256)
    bright = float(np.percentile(picture[::every, ::every], 95))
    if bright < 96:  # a dark picture becomes as bright as others are
        picture = cv2.convertScaleAbs(picture, alpha=200 / max(bright, 16.0))
    sides = [longer // n for n in (1, 2, 4, 8) if n == 1 or longer // n >= 160]  # faces shall be a fifth of a tile
    found = fit_faces(picture, np.concatenate([find_candidates(picture, side) for side in sides[:2]]))
    for side in sides[2:]:
        found = found or fit_faces(picture, find_candidates(picture, side))
    return found


def find_boxes(picture: np.ndarray) -> tuple[Box, ...]:
    """Where the faces of a picture are, as `find_faces` finds them."""
    return tuple(face.box for face in find_faces(picture))


def find_candidates(picture: np.ndarray, side: int) -> np.ndarray:
    """Candidates as of `detect` in tiles of a side that cover the picture and overlap by half."""
    down, across = (starts(length, side) for length in picture.shape[:2])
    return np.concatenate([detect(picture, (x, y, side)) for y in down for x in across])


def starts(length: int, side: int) -> list[int]:
    """Where tiles begin that cover a length and overlap by half or more; one in the middle where it is shorter."""
    if length <= side:
        return [(length - side) // 2]
    count = ceil(2 * (length - side) / side) + 1
    return [round(place) for place in np.linspace(0, length - side, count)]


def cut(picture: np.ndarray, square: tuple[int, int, int]) -> np.ndarray:
    """The square (x, y, size) of a picture, grey where it reaches beyond."""
    x, y, side = square
    tile = picture[max(0, y) : y + side, max(0, x) : x + side]
    top, left = max(0, -y), max(0, -x)
    bottom, right = side - top - tile.shape[0], side - left - tile.shape[1]
    return cv2.copyMakeBorder(tile, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(128, 128, 128))


def cut_turned(
    picture: np.ndarray, centre: np.ndarray, side: float, angle: float, pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """The square around a centre, turned by an angle, in `pixels`², edges continued; and the (2, 3) way back."""
    scale = side / pixels
    finer = max(1, round(scale))  # sampled so, then averaged
    turn = scale * np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])

    def way_back(turn: np.ndarray, count: int) -> np.ndarray:
        return np.column_stack([turn, centre - turn.sum(1) * (count - 1) / 2])

    fine, flags = pixels * finer, cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(picture, way_back(turn / finer, fine), (fine, fine), None, flags, cv2.BORDER_REPLICATE)
    return cv2.resize(seen, (pixels, pixels), interpolation=cv2.INTER_AREA), way_back(turn, pixels)


def run_network(name: str, picture: np.ndarray, low: float = 0.0) -> list[np.ndarray]:
    """What a network says of an RGB uint8 picture of its size, seen in [low, 1]: its outputs, flat, float32."""
    networks = local.__dict__
    if name not in networks:
        networks[name] = cv2.dnn.readNetFromTFLite(str(bundled(f"{name}.tflite")))
    seen = picture.astype(np.float32) * ((1 - low) / 255) + low
    networks[name].setInput(np.ascontiguousarray(seen.transpose(2, 0, 1))[None])
    return [np.array(output).ravel() for output in networks[name].forward(OUTPUTS[name])]


def detect(picture: np.ndarray, square: tuple[int, int, int]) -> np.ndarray:
    """Candidates (N, 8) in a square (x, y, size): score, and in pixels of the picture x, y, side, x, y of two eyes."""
    tile, side = cut(picture, square), SIDES[DETECTOR]
    way = cv2.INTER_AREA if len(tile) > side else cv2.INTER_LINEAR
    logits, values = run_network(DETECTOR, cv2.resize(tile, (side, side), interpolation=way), -1.0)
    scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    likely = scores >= SCORE
    origin, values = ANCHORS[likely] * len(tile) + square[:2], values.reshape(-1, 16)[likely] * (len(tile) / side)
    places = [scores[likely, None], origin + values[:, :2], values[:, 2:4].max(1, keepdims=True)]
    return np.concatenate([*places, origin + values[:, 4:6], origin + values[:, 6:8]], 1)


def look_closer(picture: np.ndarray, row: np.ndarray) -> np.ndarray | None:
    """A candidate as it is found in a square of its own, or None: in a tile small faces are found roughly."""
    side = max(16, round(CLOSER * row[3]))
    found = detect(picture, (round(row[1] - side / 2), round(row[2] - side / 2), side))
    near = found[np.hypot(*(found[:, 1:3] - row[1:3]).T) < row[3]]
    return near[near[:, 0].argmax()] if len(near) else None


def fit_faces(picture: np.ndarray, rows: np.ndarray) -> list[Face]:
    """The faces among candidates, the largest first, each once."""
    rows = rows[np.argsort(-rows[:, 0], kind="stable")]
    corners = rows[:, 1:3] - rows[:, 3:4] / 2
    alone = distinct(np.column_stack([corners, rows[:, 3], rows[:, 3]]))
    closer = [row for n in alone if (row := look_closer(picture, rows[n])) is not None]
    faces = [face for row in closer if (face := fit_face(picture, row))]
    faces.sort(key=lambda face: face.box.width * face.box.height, reverse=True)
    return [faces[n] for n in distinct(np.array([face.box for face in faces]).reshape(-1, 4))]


def distinct(boxes: np.ndarray) -> list[int]:
    """Of boxes (left, top, width, height) the numbers of those that are not the same face as one before."""
    kept: list[int] = []
    for n, box in enumerate(boxes):
        others = boxes[kept]
        ends = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
        shared = np.maximum(ends - np.maximum(box[:2], others[:, :2]), 0).prod(1)
        if (shared <= SAME * np.minimum(box[2:].prod(), others[:, 2:].prod(1))).all():
            kept.append(n)
    return kept


def fit_face(picture: np.ndarray, row: np.ndarray) -> Face | None:
    """The face of a candidate with its mesh, or None where the mesh finds none."""
    centre, side, eyes = row[1:3], float(row[3]), row[4:8].reshape(2, 2)
    for _ in range(2):  # the second time in the square of the mesh
        angle = atan2(*(eyes[1] - eyes[0])[::-1])
        seen, back = cut_turned(picture, centre, MARGIN * side, angle, SIDES[MESH])
        logit, points = run_network(MESH, seen)
        if logit[0] < np.log(PRESENCE / (1 - PRESENCE)):
            return None
        scale, points = MARGIN * side / SIDES[MESH], points.reshape(POINTS, 3)
        flat = points[:, :2] - 0.5  # the network counts from the edge of the first pixel, OpenCV from its centre
        mesh = np.column_stack([flat @ back[:, :2].T + back[:, 2], points[:, 2] * scale]).astype(np.float32)
        centre = back @ [*(flat.min(0) + flat.max(0)) / 2, 1]
        side = scale * float(np.ptp(flat, 0).max())
        eyes = mesh[[33, 263], :2]  # their outer corners
    box = Box(*cv2.boundingRect(np.ascontiguousarray(mesh[:, :2])))
    return Face(box, mesh)
