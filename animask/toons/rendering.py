"""Identity and pose to a picture, and to the key points of that picture."""

import cv2
import numpy as np

from animask.toons.beard import paint_beard
from animask.toons.eyes import (
    brow_points,
    eye_points,
    lids,
    paint_bows,
    paint_brow,
    paint_eye,
    paint_glasses,
    pupil,
)
from animask.toons.face import ear_sides, paint_ear, paint_head, paint_nose
from animask.toons.geometry import Rig
from animask.toons.hair import covers_ears, hair_window, paint_back_hair, paint_hair
from animask.toons.identity import Colour, Identity
from animask.toons.mouth import mouth_lines, paint_mouth
from animask.toons.pose import Pose
from animask.toons.scene import background, paint_neck, paint_torso

KEYPOINTS: tuple[str, ...] = (
    "left_eye_outer",
    "left_eye_inner",
    "right_eye_inner",
    "right_eye_outer",
    "left_pupil",
    "right_pupil",
    "left_brow_outer",
    "left_brow_inner",
    "right_brow_inner",
    "right_brow_outer",
    "nose_bridge",
    "nose_tip",
    "nose_base",
    "mouth_left",
    "mouth_right",
    "lip_top",
    "lip_upper_inner",
    "lip_lower_inner",
    "lip_bottom",
    "chin",
    "jaw_left",
    "jaw_right",
    "cheek_left",
    "cheek_right",
    "ear_left",
    "ear_right",
    "head_top",
)


def render(identity: Identity, pose: Pose, size: int, ground: Colour | None = None) -> np.ndarray:
    """The picture (size, size, 3) RGB uint8 of an identity in a pose; size in pixels, 32..1024.

    The background belongs to the identity and stays where it is, unless `ground` says another colour for all of it.
    The same arguments give the same picture.
    """
    over = 2 if size >= 96 else 4  # drawn larger and averaged down
    rig = Rig(identity, pose, size * over)
    if ground is None:
        picture = background(identity, rig.size).copy()
    else:
        picture = np.full((rig.size, rig.size, 3), ground, np.uint8)
    window = hair_window(rig)
    paint_back_hair(picture, rig)
    paint_neck(picture, rig)
    paint_torso(picture, rig)
    behind, before = ([], []) if covers_ears(identity) else ear_sides(rig)
    for side in behind:
        paint_ear(picture, rig, side)
    paint_head(picture, rig, window)
    for side in (-1, 1):
        paint_eye(picture, rig, side)
    paint_nose(picture, rig)
    paint_beard(picture, rig)
    paint_mouth(picture, rig)
    for side in (-1, 1):
        paint_brow(picture, rig, side)
    for side in before:
        paint_ear(picture, rig, side)
    if identity.glasses != "none":
        paint_bows(picture, rig)
    paint_hair(picture, rig, window)
    if identity.glasses != "none":
        paint_glasses(picture, rig)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def keypoints(identity: Identity, pose: Pose, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the points named in KEYPOINTS are in `render(identity, pose, size)`.

    Returns (K, 2) float32 x, y in pixels, whole numbers at the centres of pixels, and (K,) bool: inside the
    frame and not turned away from the viewer (hair or glasses in front do not count).
    """
    rig = Rig(identity, pose, size)
    i, lift = identity, rig.profile.lift
    points: dict[str, np.ndarray] = {}
    for side, name in ((-1, "left"), (1, "right")):
        corners = eye_points(rig, side, lids(rig, side)[0][[0, -1]])
        points[f"{name}_eye_inner"], points[f"{name}_eye_outer"] = corners
        points[f"{name}_pupil"] = eye_points(rig, side, pupil(rig, side)[None], 0.01)[0]
        ends = brow_points(rig, side)[[0, -1]]
        points[f"{name}_brow_inner"], points[f"{name}_brow_outer"] = rig.face(ends[:, 0], ends[:, 1], 0.02)
        shell = rig.profile.around(side * np.radians([68, 62, 92]), np.array([0.72, 0.3, i.eye_y + 0.16]))
        points[f"jaw_{name}"], points[f"cheek_{name}"], points[f"ear_{name}"] = rig.project(rig.drop(shell))
    points["nose_bridge"] = rig.project(lift(0, i.eye_y, 0.03))
    points["nose_tip"] = rig.project(lift(0, i.nose_y, i.nose_depth))
    points["nose_base"] = rig.project(lift(0, i.nose_y + 0.1, 0.62 * i.nose_depth))
    m = mouth_lines(rig)
    points["mouth_left"], points["mouth_right"] = m["upper_outer"][0], m["upper_outer"][-1]
    points["lip_top"], points["lip_upper_inner"] = m["upper_outer"][3], m["upper_inner"][3]
    points["lip_lower_inner"], points["lip_bottom"] = m["lower_inner"][3], m["lower_outer"][3]
    points["chin"] = rig.project(rig.drop(lift(0, i.chin_y * 0.985)))
    points["head_top"] = rig.project(np.array([0.0, -1.0, 0.0]))
    places = np.array([points[name] for name in KEYPOINTS])
    inside = ((places >= 0) & (places < size)).all(1)
    return (places - 0.5).astype(np.float32), inside & _facing(rig)


def _facing(rig: Rig) -> np.ndarray:
    """Which key points (K,) are on the side of the head that the viewer sees."""
    azimuth = {"ear": 92, "jaw": 68, "cheek": 62, "outer": 36, "pupil": 24}
    facing = []
    for name in KEYPOINTS:
        side = -1 if "left" in name else 1 if "right" in name else 0
        degrees = next((a for part, a in azimuth.items() if part in name), 10)
        angle = np.radians(side * degrees)
        facing.append((rig.rotation @ np.array([np.sin(angle), 0.0, np.cos(angle)]))[2] > -0.05)
    return np.array(facing)
