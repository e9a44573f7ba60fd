"""Where a rig of one's own is in a picture, once a network has read its controls: a rigid body at its landmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.capture.observation import IRISES, Observation, Pose
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Array = NDArray[np.float64]
_FROM_CV = np.diag([1.0, -1.0, -1.0])
"""OpenCV's camera looks along +z with y down; ours along -z with y up."""
_USUAL = 0.02
"""Landmarks beyond this share of the eye distance lose influence (Cauchy): on another head, many are a little off."""
_STEPS = (0.1, 0.1, 0.1, 0.01, 0.01, 0.1)
"""Usual steps of a turn, radians, and of the place, metres."""


class RigPose:
    """Places a rig where its landmarks are seen.

    Args:
        rig: with landmarks (`omote.capture.mesh_landmarks.rig_landmarks`). Where it has an identity, its average head.

    Attributes:
        middle: (3,) of the face at rest, metres, head space; the origin may be at the feet.

    Raises:
        InputError: the rig has no landmarks.
    """

    def __init__(self, rig: Rig) -> None:
        import torch

        if rig.landmarks is None:
            raise InputError(
                "its landmarks were not looked for", where=rig.name, remedy="Call rig_landmarks."
            )
        self.rig, self.landmarks = rig, rig.landmarks
        self._nobody = torch.zeros(1, len(rig.identity_space))
        self._firm = np.delete(np.arange(len(self.landmarks.weight)), IRISES)  # eyes turn

        self.middle = self.points(np.asarray(rig.space.neutral, np.float64))[self._firm].mean(0)

    def points(self, controls: Array) -> Array:
        """(478, 3) metres, head space, of controls (C,)."""
        import torch

        with torch.no_grad():
            head = self.rig(torch.tensor(controls, dtype=torch.float32)[None], self._nobody)[0].numpy()
        return np.asarray(self.landmarks.apply(head), np.float64)

    def fit(self, seen: Observation, controls: Array, focal: float) -> tuple[Pose, float]:
        """The pose at which the landmarks lie nearest to where they are seen, those of the irises apart.

        Args:
            seen: the face.
            controls: (C,) of the rig.
            focal: px.

        Returns:
            The pose, and the mean distance of all landmarks from where they are seen, as a share of the eye distance.
        """
        import cv2
        from scipy.optimize import least_squares

        points = self.points(controls)
        firm, target = points[self._firm], seen.landmarks[self._firm]
        camera = np.array([[focal, 0, seen.principal[0]], [0, focal, seen.principal[1]], [0, 0, 1]])
        _, turn, place = cv2.solvePnP(firm, target, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        rough = Pose(_FROM_CV @ cv2.Rodrigues(turn)[0], _FROM_CV @ place[:, 0], focal)

        def away(step: Array) -> Array:
            off = rough.moved(step).project(firm, seen.principal) - target
            return (off / seen.eye_distance).ravel()

        step = least_squares(away, np.zeros(6), loss="cauchy", f_scale=_USUAL, x_scale=_STEPS).x
        pose = rough.moved(step)
        far = np.linalg.norm(pose.project(points, seen.principal) - seen.landmarks, axis=1)
        return pose, float(far.mean()) / seen.eye_distance
