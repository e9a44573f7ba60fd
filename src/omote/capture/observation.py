"""One frame as the fit sees it: 2-D landmarks with weights, and the pinhole that explains them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omote.capture.landmark_model import LandmarkModel
from omote.capture.priors import score_expectation

Array = NDArray[np.float64]

OUTER_CORNERS = (33, 263)
IRISES = slice(468, 478)
FOCAL_OVER_SIDE = 1.8
"""Expected focal length over the image's long side; 478 landmarks hardly show it (embedded_rig.md, section 4.3)."""


@dataclass(frozen=True)
class Observation:
    """A face in an image.

    Attributes:
        landmarks: (K, 2) pixels.
        eye_distance: pixels between the outer eye corners.
        size: (w, h) of the image.
        expected: (n,) solver variables that MediaPipe's scores speak for, or None.
    """

    landmarks: Array
    eye_distance: float
    size: tuple[int, int]
    expected: Array | None

    @property
    def principal(self) -> Array:
        """(2,) pixels: the middle of the image."""
        return np.array(self.size, np.float64) / 2


def observe(
    landmarks: NDArray[np.float32], size: tuple[int, int], scores: NDArray[np.float32] | None
) -> Observation:
    """An observation from MediaPipe landmarks (478, 2 or 3) in pixels."""
    points = landmarks[:, :2].astype(np.float64)
    # In profile the corners fall together; the face's own extent then gives the scale.
    extent = np.linalg.norm(points.max(0) - points.min(0))
    corners = float(np.linalg.norm(points[OUTER_CORNERS[0]] - points[OUTER_CORNERS[1]]))
    expected = None if scores is None else score_expectation(scores)
    return Observation(points, max(corners, 0.25 * float(extent), 1e-3), size, expected)


@dataclass
class Pose:
    """Head in camera space: rotation (3, 3), translation (3,) metres; focal in pixels."""

    rotation: Array
    translation: Array
    focal: float

    def moved(self, step: Array) -> Pose:
        """Step (6,): rotation vector (camera axes, about the head's origin), then relative translation."""
        return Pose(rotation_matrix(step[:3]) @ self.rotation, self.translation + step[3:6], self.focal)

    def to_camera(self, points: Array) -> Array:
        """(K, 3) camera-space points of head-space points."""
        return points @ self.rotation.T + self.translation

    def project(self, points: Array, principal: Array) -> Array:
        """(K, 2) pixels of head-space points (K, 3)."""
        camera = self.to_camera(points)
        return principal + self.focal * camera[:, :2] * (1.0, -1.0) / -camera[:, 2:]


def rotation_matrix(vector: Array) -> Array:
    """(3, 3) from an axis-angle vector, radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if angle < 1e-8:
        return np.eye(3) + skew
    return np.eye(3) + np.sin(angle) / angle * skew + (1 - np.cos(angle)) / angle**2 * (skew @ skew)


def initial_pose(model: LandmarkModel, observation: Observation, focal: float) -> Pose:
    """Scaled orthography on the template (POSIT's first step): a rotation, a distance and an offset.

    Raises nothing: a degenerate set of points gives a frontal pose.
    """
    points = model.rest
    weight = model.weight[:, None]
    image = (observation.landmarks - observation.principal) * (1.0, -1.0)
    middle, image_middle = (points * weight).sum(0) / weight.sum(), (image * weight).sum(0) / weight.sum()
    rows, *_ = np.linalg.lstsq((points - middle) * weight, (image - image_middle) * weight, rcond=None)
    lengths = np.linalg.norm(rows, axis=0)
    scale = float(lengths.mean())
    if scale > 1e-6 and lengths.min() > 0.05 * scale:
        first, second = rows.T / lengths[:, None]
        u, _, vt = np.linalg.svd(np.stack([first, second, np.cross(first, second)]))
        rotation = u @ vt
    else:
        rotation = np.eye(3)
    scale = max(scale, 1e-3)
    depth = focal / scale
    translation = np.array([*(image_middle / scale), -depth]) - rotation @ middle
    return Pose(rotation, translation, focal)
