"""Where a head of known controls and identity lies in its crop: what `omote.models.inversion.mesh` learns to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from omote.rigs.surface_points import LinearPoints

Array = np.ndarray
_DAMPING = 1e-6
POSE_MIRROR = (1, -1, -1, 1, -1, 1, 1)
"""What the pose is multiplied with where the picture is mirrored."""


class CropPoses:
    """Fits poses to landmarks in crops.

    Args:
        points: the linear model of the rig's landmarks.
    """

    def __init__(self, points: LinearPoints) -> None:
        self.points = points

    def fit(self, landmarks: Array, turn: Array, controls: Array, identity: Array) -> Array:
        """The pose as `omote.models.inversion.mesh.POSE`.

        With the head's rotation known but for the crop's own turn, scale, turn, shift and perspective follow from
        linear least squares: p (1 - k z) = s R (x, y) + t, p from the crop's middle.

        Args:
            landmarks: (478, 2) crop coordinates, 0..1, y down.
            turn: (3,) rotation vector of the head before the picture was cropped.
            controls: (C,).
            identity: (I,).
        """
        landmarks = landmarks - 0.5
        head = self.points.at(controls[None], identity[None])[0]
        turned = Rotation.from_rotvec(turn).apply(head)
        x, y, z = turned[:, 0], -turned[:, 1], turned[:, 2]
        one, none = np.ones_like(x), np.zeros_like(x)
        across = np.stack([x, -y, one, none, landmarks[:, 0] * z], 1)
        along = np.stack([y, x, none, one, landmarks[:, 1] * z], 1)
        system = np.concatenate([across, along])
        wanted = np.concatenate([landmarks[:, 0], landmarks[:, 1]])
        a, b, left, top, near = np.linalg.solve(system.T @ system + _DAMPING * np.eye(5), system.T @ wanted)
        # The picture's y points down: a turn there by an angle is one about z by its opposite.
        whole = Rotation.from_rotvec([0, 0, -np.arctan2(b, a)]) * Rotation.from_rotvec(turn)
        return np.array([*whole.as_rotvec(), np.log(np.hypot(a, b)), left, top, near], np.float32)


def mirrored_pose(pose: Array) -> Array:
    """The pose (7,) of the mirrored picture."""
    result: Array = pose * np.array(POSE_MIRROR, pose.dtype)
    return result


def strayed_pose(pose: Array, scale: float, turn: float, shift: Array) -> Array:
    """The pose (7,) in a crop that was scaled and turned (radians, y down) about its middle, then shifted (2,)."""
    if not np.isfinite(pose).all():  # of a rig without landmarks
        return pose
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    whole = Rotation.from_rotvec([0, 0, -turn]) * Rotation.from_rotvec(pose[:3])
    place = np.array([[cos, -sin], [sin, cos]]) @ pose[4:6] + shift
    return np.array([*whole.as_rotvec(), pose[3] + np.log(scale), *place, pose[6]], np.float32)
