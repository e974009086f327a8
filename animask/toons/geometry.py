"""Where the parts of a toon are: the head as a solid of rings, turned by the pose and projected."""

from functools import cached_property, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from animask.toons.identity import Identity
from animask.toons.pose import Pose

HEAD = 0.25  # half the height of the head as a fraction of the frame, at scale 1
CENTRE = (0.5, 0.475)  # of the head in the frame, neutral pose
PIVOT = np.array([0.0, 0.5, -0.15])  # where the head turns, near the top of the spine
CORE = np.array([0.0, -0.1, -0.05])  # the middle of the skull
VIEW_DISTANCE = 7.0  # in head units: a gentle perspective


@lru_cache(maxsize=64)
def spline_matrix(count: int, per: int, closed: bool) -> np.ndarray:
    """Catmull-Rom weights (m, count): control points to `per` points a span."""
    t = np.arange(per) / per
    basis = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]) / 2
    points = np.eye(count)
    around = np.concatenate([points[-1:], points, points[:2]] if closed else [points[:1], points, points[-1:]])
    spans = [basis.T @ around[k : k + 4] for k in range(len(around) - 3)]
    return np.concatenate(spans if closed else [*spans, points[-1:]])


def loop(points: np.ndarray, per: int = 5) -> np.ndarray:
    """A smooth closed curve through control points (n, d)."""
    return spline_matrix(len(points), per, True) @ points


def curve(points: np.ndarray, per: int = 6) -> np.ndarray:
    """A smooth open curve through control points (n, d), ends included."""
    return spline_matrix(len(points), per, False) @ points


def band(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The outline of what lies between two lines (n, 2), (m, 2) that run the same way."""
    return np.concatenate([first, second[::-1]])


def mirror(right: np.ndarray) -> np.ndarray:
    """A symmetric closed outline (2n, 2) from its right half, top to bottom, about x = 0."""
    return band(right, right * (-1, 1))


@lru_cache(maxsize=256)
def steps(start: float, stop: float, count: int) -> np.ndarray:
    """Evenly spaced numbers, both ends included; made once for all frames, so read-only."""
    numbers = np.linspace(start, stop, count)
    numbers.setflags(write=False)
    return numbers


def hull(points: np.ndarray) -> np.ndarray:
    """The convex outline (n, 2) of picture points."""
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], float)


class Profile(NamedTuple):
    """The solid of a head: half width, front depth and back depth at heights y."""

    y: np.ndarray
    width: np.ndarray
    front: np.ndarray
    back: np.ndarray

    def at(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Half width, front and back depth at y, each shaped as y."""
        return np.interp(y, self.y, self.width), np.interp(y, self.y, self.front), np.interp(y, self.y, self.back)

    def lift(self, x: ArrayLike, y: ArrayLike, height: ArrayLike = 0.0) -> np.ndarray:
        """Points (..., 3) on the front of the head at frontal coordinates x, y, raised by `height`."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        width, front = np.interp(y, self.y, self.width), np.interp(y, self.y, self.front)
        z = front * np.sqrt(np.maximum(0.0, 1 - (x / np.maximum(width, 1e-3)) ** 2)) + height
        points = np.empty((*z.shape, 3))
        points[..., 0], points[..., 1], points[..., 2] = x, y, z
        return points

    def around(self, azimuth: ArrayLike, y: ArrayLike, grow: float | np.ndarray = 1.0) -> np.ndarray:
        """Points (..., 3) at azimuth (radians, 0 in front, > 0 right) and height y, the head grown by `grow`.

        A `grow` of many values has a last axis of 1.
        """
        azimuth, y = np.broadcast_arrays(np.asarray(azimuth, float), np.asarray(y, float))
        width, front, back = self.at(y)
        depth = np.where(np.cos(azimuth) > 0, front, back)
        points = np.stack([width * np.sin(azimuth), y, depth * np.cos(azimuth)], -1)
        return (points - CORE) * grow + CORE


def heights(chin_y: float, above: int, below: int) -> np.ndarray:
    """Heights from the top of the head to the chin, denser at the top; the middle of the eyes is about 0."""
    return np.concatenate([-np.cos(np.linspace(0, np.pi / 2, above)), np.linspace(0, chin_y, below + 1)[1:]])


@lru_cache(maxsize=256)
def profile(identity: Identity) -> Profile:
    """The head of an identity, mouth shut."""
    i = identity
    y = heights(i.chin_y, 24, 32)
    up = np.maximum(0.0, 1 - np.abs(np.minimum(y, 0)) ** 2.3) ** (1 / 2.3)
    knots = np.array([0.0, 0.18, 0.42, 0.64, 0.82, 0.93, 1.0]) * i.chin_y
    cheeks = [i.head_width, i.head_width * 0.985, i.cheek_width * 0.955, i.jaw_width * 1.04]
    jaw = [i.jaw_width * 0.6 + i.chin_width * 0.52, i.chin_width * 1.25 + 0.06, i.chin_width * 0.75]
    dense_y, dense_w = curve(np.stack([knots, cheeks + jaw], 1)).T
    width = np.where(y < 0, i.head_width * up, np.interp(y, dense_y, dense_w))
    front = np.where(y < 0, 0.8 * up, np.interp(y / i.chin_y, [0, 0.5, 0.8, 1], [0.8, 0.77, 0.72, 0.56]))
    back = np.where(y < 0, 0.9 * up, np.interp(y / i.chin_y, [0, 0.3, 0.6, 1], [0.9, 0.75, 0.35, 0.0]))
    return Profile(y, width, front, back)


@lru_cache(maxsize=256)
def head_cloud(identity: Identity) -> np.ndarray:
    """Points (n, 3) all over the head: the hull of their projection is its outline."""
    azimuth = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return profile(identity).around(azimuth, heights(identity.chin_y, 14, 15)[:, None]).reshape(-1, 3)


class Rig:
    """An identity in a pose on a square of `size` pixels: local points in, picture points out.

    Picture points are continuous: (0, 0) is the corner of the frame, (0.5, 0.5) the centre of pixel (0, 0).
    """

    def __init__(self, identity: Identity, pose: Pose, size: int) -> None:
        self.identity, self.pose, self.size = identity, pose, size
        self.profile = profile(identity)
        self.unit = HEAD * size * pose.scale
        self.origin = np.array([(CENTRE[0] + pose.x) * size, (CENTRE[1] + pose.y) * size])
        self.rotation = rotation(pose.yaw, pose.pitch, pose.roll)
        self.offset = PIVOT - self.rotation @ PIVOT
        self.jaw = 0.15 * pose.mouth_open  # how far the chin drops

    def drop(self, points: np.ndarray) -> np.ndarray:
        """Local points with the jaw opened: what lies below the mouth goes down, front more than back."""
        y, z = points[..., 1], points[..., 2]
        below = np.clip((y - 0.4) / 0.5, 0, 1)
        share = below * below * (3 - 2 * below) * np.clip((z + 0.4) / 0.7, 0, 1)
        moved = points.copy()
        moved[..., 1] += self.jaw * share
        moved[..., 2] -= 0.25 * self.jaw * share
        return moved

    def turn(self, points: ArrayLike) -> np.ndarray:
        """Local points (..., 3) rotated about the top of the spine."""
        return np.asarray(points) @ self.rotation.T + self.offset

    def place(self, turned: np.ndarray) -> np.ndarray:
        """Turned points (..., 3) to picture points (..., 2)."""
        depth = 1 / (1 - turned[..., 2:] / VIEW_DISTANCE)
        return turned[..., :2] * (self.unit * depth) + self.origin

    def project(self, points: ArrayLike) -> np.ndarray:
        """Local points (..., 3) to picture points (..., 2)."""
        return self.place(self.turn(points))

    def face(self, x: ArrayLike, y: ArrayLike, height: ArrayLike = 0.0) -> np.ndarray:
        """Frontal coordinates on the face to picture points (..., 2)."""
        return self.project(self.profile.lift(x, y, height))

    def edge(self, points: np.ndarray) -> np.ndarray:
        """Local points (n, 3) on the skull to picture points; what has turned away is pushed out of the outline.

        A hairline drawn so opens smoothly to the side when its far end passes behind the head.
        """
        x, y, z = points.T
        width, front, _ = self.profile.at(y)
        normal = np.stack([x / np.maximum(width, 0.1) ** 2, 0 * y, z / np.maximum(front, 0.1) ** 2], 1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6
        away = np.maximum(0.0, -(normal @ self.rotation.T)[:, 2:])
        return self.place(self.turn(points) + 1.3 * away * (np.sign(x)[:, None] * self.rotation[:, 0]))

    def flow(self, line: np.ndarray) -> np.ndarray:
        """The outline (n + 2, 2) of all below a line of picture points, as the head sees it."""
        down = self.rotation[:2, 1] * 3 * self.unit
        return np.concatenate([line, [line[-1] + down, line[0] + down]])

    @cached_property
    def light(self) -> np.ndarray:
        """Unit vector (3,) to the light; it stays where it is when the head turns."""
        direction = np.array([self.identity.light_x, self.identity.light_y, 0.85])
        return np.asarray(direction / np.linalg.norm(direction))

    @cached_property
    def outline(self) -> np.ndarray:
        """The outline (n, 2) of the bare head, jaw opened."""
        return hull(self.project(self.drop(head_cloud(self.identity))))

    def torso(self, points: ArrayLike) -> np.ndarray:
        """Torso points (..., 2), in head units about the pit of the neck, to picture points.

        The torso follows the head a little.
        """
        p = self.pose
        scale = HEAD * self.size * (1 + 0.5 * (p.scale - 1))
        x = (CENTRE[0] + 0.45 * p.x + 0.01 * np.sin(p.yaw)) * self.size
        y = (CENTRE[1] + 0.4 * p.y) * self.size + 1.42 * scale
        return np.array([x, y]) + scale * np.asarray(points)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The matrix (3, 3) that turns, then nods, then tilts."""
    cy, sy, cp, sp, cr, sr = (part(angle) for angle in (yaw, pitch, roll) for part in (np.cos, np.sin))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)
