"""Identity and pose to a picture, to the key points of that picture, and to clay."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from animask.toons.eyes import brow_points, eye_points, lids, paint_bows, paint_brow, paint_eye, paint_glasses, pupil
from animask.toons.face import ear_sides, lips, paint_beard, paint_ear, paint_head, paint_mouth, paint_nose
from animask.toons.geometry import Rig
from animask.toons.hair import covers_ears, hair_window, paint_back_hair, paint_hair
from animask.toons.identity import Colour, Identity
from animask.toons.pose import Pose
from animask.toons.scene import background, paint_neck, paint_torso

KEYPOINTS: tuple[str, ...] = (
    *("left_eye_outer", "left_eye_inner", "right_eye_inner", "right_eye_outer", "left_pupil", "right_pupil"),
    *(
        "left_brow_outer",
        "left_brow_inner",
        "right_brow_inner",
        "right_brow_outer",
        "nose_bridge",
        "nose_tip",
        "nose_base",
    ),
    *("mouth_left", "mouth_right", "lip_top", "lip_upper_inner", "lip_lower_inner", "lip_bottom"),
    *("chin", "jaw_left", "jaw_right", "cheek_left", "cheek_right", "ear_left", "ear_right", "head_top"),
)
AZIMUTHS = {"ear": 92, "jaw": 68, "cheek": 62, "outer": 36, "pupil": 24}  # degrees; of others at a side: 10


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
    rig, i = Rig(identity, pose, size), identity
    points: dict[str, np.ndarray] = {}
    for side, name in ((-1, "left"), (1, "right")):
        corners = eye_points(rig, side, lids(rig, side)[0][[0, -1]])
        points[f"{name}_eye_inner"], points[f"{name}_eye_outer"] = corners
        points[f"{name}_pupil"] = eye_points(rig, side, pupil(rig, side)[None], 0.01)[0]
        points[f"{name}_brow_inner"], points[f"{name}_brow_outer"] = brow_points(rig, side)[[0, -1]]
        shell = rig.profile.around(side * np.radians([68, 62, 92]), [0.72, 0.3, i.eye_y + 0.16])
        points[f"jaw_{name}"], points[f"cheek_{name}"], points[f"ear_{name}"] = rig.project(rig.drop(shell))
    points["nose_bridge"] = rig.face(0, i.eye_y, 0.03)
    points["nose_tip"] = rig.face(0, i.nose_y, i.nose_depth)
    points["nose_base"] = rig.face(0, i.nose_y + 0.1, 0.62 * i.nose_depth)
    upper_outer, upper_inner, lower_inner, lower_outer = lips(rig).values()
    points["mouth_left"], points["mouth_right"] = upper_outer[0], upper_outer[-1]
    points["lip_top"], points["lip_upper_inner"] = upper_outer[3], upper_inner[3]
    points["lip_lower_inner"], points["lip_bottom"] = lower_inner[3], lower_outer[3]
    points["chin"] = rig.project(rig.drop(rig.profile.lift(0, i.chin_y * 0.985)))
    points["head_top"] = rig.project([0.0, -1.0, 0.0])
    places = np.array([points[name] for name in KEYPOINTS])
    inside = ((places >= 0) & (places < size)).all(1)
    return (places - 0.5).astype(np.float32), inside & facing(rig)


def facing(rig: Rig) -> np.ndarray:
    """Which key points (K,) are on the side of the head that the viewer sees."""
    side = np.array([("right" in name) - ("left" in name) for name in KEYPOINTS])
    degrees = [next((angle for part, angle in AZIMUTHS.items() if part in name), 10) for name in KEYPOINTS]
    azimuth = np.radians(side * degrees)
    return rig.rotation[2, 0] * np.sin(azimuth) + rig.rotation[2, 2] * np.cos(azimuth) > -0.05


def clay(identity: Identity, pose: Pose, size: int) -> np.ndarray:
    """The clay (size, size) uint8 of a toon, black outside the person: what a taught mask shows; size: 32..1024.

    Its shape, pose and expression in fixed greys and one light, without its colours and what does not move.
    """
    levels = {"skin": 195, "hair_colour": 85, "iris": 20, "brow_colour": 20, "lip_colour": 110}
    levels |= {"clothes_colour": 50, "clothes_accent": 50}
    greys: dict[str, Any] = {name: (level, level, level) for name, level in levels.items()}
    bare = replace(identity, **greys, beard="none", glasses="none", earrings=False, clothes="crew", pattern="plain")
    bare = replace(bare, blush=0.0, freckles=0, light_x=0.0, light_y=-0.3, contrast=1.0)
    return cv2.cvtColor(render(bare, pose, size, ground=(0, 0, 0)), cv2.COLOR_RGB2GRAY)
