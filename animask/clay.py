"""Clay of real faces, which masks are taught with: painted from a frame, and kept beside its clip or picture.

It shows the shape, the pose and the expression of a head without its appearance, in the greys of the toons' clay.
That of NAME.mp4 is in NAME.clay.npz: one array `clay`, uint8 (T, 64, 64), a picture a frame, black without a face.
"""

import zipfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from animask.config import CLAY_SIZE
from animask.errors import InputError
from animask.faces import IRIS, MESH, PERSON, SIDES, cut_turned, find_faces, run_network
from animask.files import replacing

FINE = SIDES[PERSON]  # pixels of the canvas, which is averaged down
BITS = 4  # of the fraction of a pixel, where polygons are drawn
BODY, SKIN, BROW, EYE, PUPIL, LID, LIPS, MOUTH = 68, 195, 25, 235, 25, 60, 110, 45
LIT_FROM = np.array([0.0, -0.3, -0.95]) / np.hypot(0.3, 0.95)
CONTRAST, LEVEL, BRIGHTEST = 0.75, 0.82, 0.18  # how much of the light a face has: above the level it is saturated
UNROLL = 0.75  # how much further out a point is put for each width of the face that it lies behind the nose
EYE_MARGIN = 2.3  # sides of the square that the iris network sees, in widths of the eye

# Points of the mesh, by its numbers; those of one side mirror those of the other.
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
EYES = ((33, 133), (263, 362))  # outer and inner corner
OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)


def paint_clay(picture: np.ndarray, size: int = CLAY_SIZE) -> np.ndarray:
    """The clay of the largest face in a square RGB uint8 (H, H, 3) picture: uint8 (size, size), black without a face.

    The person is flat, the face lit from above, eyes look where they look, and the background is black.
    """
    picture = cv2.resize(picture, (FINE, FINE), interpolation=cv2.INTER_AREA)
    faces = find_faces(picture)
    if not faces:
        return np.zeros((size, size), np.uint8)
    canvas = np.rint(run_network(PERSON, picture)[0].reshape(FINE, FINE) * BODY).astype(np.uint8)
    mesh = faces[0].mesh
    paint_skin(canvas, mesh)
    for brow in BROWS:
        fill(canvas, mesh[list(brow), :2], BROW)
    for outer, inner in EYES:
        paint_eye(canvas, *find_eye(picture, mesh[outer, :2], mesh[inner, :2]))
    fill(canvas, mesh[list(OUTER_LIPS), :2], LIPS)
    fill(canvas, mesh[list(INNER_LIPS), :2], MOUTH)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


@cache
def list_triangles() -> np.ndarray:
    """The triangles (N, 3) between the points of the mesh, normals outwards.

    They are Delaunay's, of the face that the network sees in nothing, which is frontal; the cheeks are unrolled.
    """
    side = SIDES[MESH]
    mesh = run_network(MESH, np.zeros((side, side, 3), np.uint8))[1].reshape(-1, 3)
    depth = (mesh[:, 2:] - mesh[:, 2].min()) / np.ptp(mesh[:, 0])
    flat = (mesh[:, :2] - mesh[:, :2].mean(0)) * (1 + UNROLL * depth) + 2 * side
    division = cv2.Subdiv2D((0, 0, 4 * side, 4 * side))
    numbers = {division.insert(place): n for n, place in enumerate(flat.tolist())}
    corners = np.array(division.getTriangleList()).reshape(-1, 3, 2)
    corners = corners[((corners > flat.min() - 1) & (corners < flat.max() + 1)).all((1, 2))]  # the rest reaches outside
    triangles = np.array([[numbers[division.findNearest(place)[0]] for place in three] for three in corners.tolist()])
    (ax, ay), (bx, by) = np.moveaxis(np.diff(flat[triangles], axis=1), 0, -1)
    return np.where((ax * by > ay * bx)[:, None], triangles[:, ::-1], triangles)


def paint_skin(canvas: np.ndarray, mesh: np.ndarray) -> None:
    """Paint the triangles of a mesh, lit, the far ones first."""
    corners = mesh[list_triangles()]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lit = normals @ LIT_FROM / np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
    greys = SKIN * np.exp(CONTRAST * np.minimum(lit - LEVEL, BRIGHTEST))
    places = to_fixed(corners[:, :, :2])
    for n in np.argsort(-corners[:, :, 2].mean(1), kind="stable"):
        cv2.fillConvexPoly(canvas, places[n], float(greys[n]), cv2.LINE_8, BITS)
    canvas[:] = cv2.GaussianBlur(canvas, (3, 3), 0)  # which hides the edges of the triangles


def to_fixed(places: np.ndarray) -> np.ndarray:
    """Places in pixels as OpenCV draws them with BITS of a fraction."""
    return np.rint(places * 2**BITS).astype(np.int32)


def fill(canvas: np.ndarray, polygon: np.ndarray, grey: float) -> None:
    """Fill a polygon (N, 2)."""
    cv2.fillPoly(canvas, [to_fixed(polygon)], grey, cv2.LINE_8, BITS)


def find_eye(picture: np.ndarray, outer: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eye between two corners: its lids (16, 2), the lower one first, from outside, and its iris (5, 2).

    The iris begins with its centre. The network knows the eyes of one side; the other is shown to it in the mirror.
    """
    mirrored = outer[0] > inner[0]
    across = (outer - inner) if mirrored else (inner - outer)
    side, angle = EYE_MARGIN * float(np.hypot(*across)), float(np.arctan2(across[1], across[0]))
    seen, back = cut_turned(picture, (outer + inner) / 2, side, angle, SIDES[IRIS])
    contour, iris = run_network(IRIS, seen[:, ::-1] if mirrored else seen)
    points = np.concatenate([contour.reshape(-1, 3)[:16, :2], iris.reshape(-1, 3)[:, :2]])
    if mirrored:
        points[:, 0] = SIDES[IRIS] - points[:, 0]
    points = (points - 0.5) @ back[:, :2].T + back[:, 2]
    return np.concatenate([points[:9], points[15:8:-1]]), points[16:]


def paint_eye(canvas: np.ndarray, lids: np.ndarray, iris: np.ndarray) -> None:
    """Paint an eye with its iris as far as the lids show it, and a line along the upper lid."""
    eye = np.zeros_like(canvas)
    fill(eye, lids, EYE)
    radius = np.hypot(*(iris[1:] - iris[0]).T).mean()
    x, y, wide = to_fixed(np.array([*iris[0], radius])).tolist()
    ball = cv2.circle(eye.copy(), (x, y), wide, PUPIL, cv2.FILLED, cv2.LINE_8, BITS)
    canvas[eye > 0] = ball[eye > 0]
    upper = np.concatenate([lids[8:], lids[:1]])
    cv2.polylines(canvas, [to_fixed(upper)], False, LID, 1, cv2.LINE_8, BITS)


# files


def clay_path(path: Path) -> Path:
    """Where the clay of a clip or a picture lies."""
    return path.with_name(f"{path.name if path.is_dir() else path.stem}.clay.npz")


def find_clay(path: Path) -> Path | None:
    """The clay of a clip or a picture, if it is there."""
    beside = clay_path(path)
    return beside if beside.is_file() else None


def read_clay(path: Path) -> np.ndarray:
    """The clay of a file, uint8 (T, 64, 64); InputError for what is none."""
    try:
        with np.load(path) as file:
            array = file["clay"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} holds no clay: {error}.", "Make it anew with `animask prepare`.") from error
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[1:] != (CLAY_SIZE, CLAY_SIZE):
        raise InputError(f"{path} holds no clay, but {array.dtype} {array.shape}.")
    return array


def write_clay(clip: Path, clay: list[np.ndarray]) -> None:
    """Write the clay of a clip or a picture beside it, if any of its frames shows a face."""
    if np.any(clay):
        with replacing(clay_path(clip)) as temporary:
            np.savez_compressed(temporary, clay=np.stack(clay))
