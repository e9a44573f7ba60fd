"""How well a captured performance agrees with its evidence: landmarks, MediaPipe's scores, gaze."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from omote.capture.landmark_model import gaze_rotation, landmark_model
from omote.capture.landmarker import SCORE_NAMES
from omote.capture.observation import OUTER_CORNERS
from omote.controls import ARKIT52, FACS102
from omote.geometry.rotations import axis_angle_to_matrix
from omote.performance import Performance

Array = NDArray[np.float64]


def fitted_landmarks(performance: Performance) -> Array:
    """(T, 478, 2) pixels: the rig's landmarks under the performance's controls, pose, identity and camera."""
    model = landmark_model()
    head = model.prepare(performance.identity["facs"].astype(np.float64))
    camera = performance.camera
    result = np.empty((len(performance), len(model.weight), 2))
    turns = axis_angle_to_matrix(performance.head_rotation.astype(np.float64))
    for t in range(len(performance)):
        points = model.points(head, performance.controls[t].astype(np.float64))
        points = points @ turns[t].T + performance.head_translation[t]
        result[t] = np.array(camera.principal) + camera.focal * points[:, :2] * (1.0, -1.0) / -points[:, 2:]
    return result


def landmark_error(performance: Performance, landmarks: NDArray[np.float32]) -> Array:
    """(T,) mean distance to detected landmarks (T, 478, 2), share of the outer-eye-corner distance; NaN if none."""
    away = np.linalg.norm(fitted_landmarks(performance) - landmarks, axis=2).mean(1)
    eyes = landmarks[:, OUTER_CORNERS[0]] - landmarks[:, OUTER_CORNERS[1]]
    return away / np.linalg.norm(eyes, axis=1)


def score_correlations(
    performance: Performance, scores: NDArray[np.float32], *, moving: float = 0.1
) -> dict[str, float]:
    """Temporal correlation of ARKit channels with MediaPipe's scores (T, 52), for the channels that move.

    Args:
        performance: any space that converts to ARKit-52.
        scores: (T, 52) MediaPipe scores; frames with NaN are left out.
        moving: a channel moves if its score's 5th and 95th percentile are further apart than this.

    Returns:
        Channel name -> Pearson correlation; 0 where the performance's channel is constant.
    """
    ours = performance.space.convert(performance.controls, ARKIT52)
    seen = np.isfinite(scores).all(1)
    result = {}
    for i, name in enumerate(SCORE_NAMES):
        if name not in ARKIT52:
            continue
        theirs, mine = scores[seen, i].astype(np.float64), ours[seen, ARKIT52.index(name)].astype(np.float64)
        low, high = np.quantile(theirs, [0.05, 0.95])
        if high - low > moving:
            result[name] = float(np.corrcoef(theirs, mine)[0, 1]) if mine.std() > 1e-9 else 0.0
    return result


def gaze_to_camera(performance: Performance, frame: int = 0) -> tuple[float, float]:
    """Degrees between where the left and the right eye look and the direction to the camera."""
    model = landmark_model()
    head = model.prepare(performance.identity["facs"].astype(np.float64))
    turn = axis_angle_to_matrix(performance.head_rotation[frame].astype(np.float64))
    controls = performance.controls[frame]
    angles = []
    for side in ("L", "R"):
        yaw, pitch = (float(controls[FACS102.index(f"gaze_{n}_{side}")]) for n in ("yaw", "pitch"))
        look = turn @ gaze_rotation(yaw, pitch)[0] @ np.array([0.0, 0.0, 1.0])
        eye = turn @ head.lids[side].centre + performance.head_translation[frame]
        angles.append(float(np.degrees(np.arccos(np.clip(look @ -eye / np.linalg.norm(eye), -1, 1)))))
    return angles[0], angles[1]
