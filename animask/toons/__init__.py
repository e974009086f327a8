"""Procedural talking cartoon faces: unlimited identities, any pose, exact ground truth.

Identity and pose are separate, so the frame "A in the pose of B" can be rendered and compared with what a
network makes of it; the places of the key points are known.
"""

from animask.toons.identity import HAIR_STYLES, Identity, sample_identity
from animask.toons.pose import Pose, pose_at, sample_pose
from animask.toons.rendering import KEYPOINTS, clay, keypoints, render

__all__ = ["HAIR_STYLES", "KEYPOINTS", "Identity", "Pose", "clay", "keypoints", "pose_at", "render"]
__all__ += ["sample_identity", "sample_pose"]
