"""What an animated face shows: landmarks detected afresh, and the rig's pose, controls and gaze fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omote.capture.detect import FaceDetector
from omote.capture.fit import Fit, LandmarkFitter
from omote.capture.landmark_model import gaze_rotation
from omote.capture.landmarker import Face, make_face
from omote.capture.observation import OUTER_CORNERS, observe
from omote.capture.priors import variables
from omote.capture.tracks import box_iou
from omote.controls import FACS102
from omote.geometry.alignment import align
from omote.geometry.rotations import geodesic_angle

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

_EYE_OPEN = 0.5
"""Gaze is compared where ``lid_close`` of the eye that is to be matched is below this."""
_IDENTITY_FRAMES = 6
_FORWARD = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Seen:
    """A face as detected in an image: landmarks (478, 2) px and MediaPipe's 52 scores."""

    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]

    @property
    def eye_distance(self) -> float:
        """Pixels between the outer eye corners, or a quarter of the face's extent where that is more (profiles)."""
        return observe(self.landmarks, (1, 1), None).eye_distance


class FaceReader:
    """Detects one face an image as a photo is captured (image mode, close-ups, mirrored average). A context manager.

    The networks are loaded when they are first needed.
    """

    def __init__(self) -> None:
        self._detectors: dict[bool, FaceDetector] = {}

    def __enter__(self) -> FaceReader:
        return self

    def __exit__(self, *_: object) -> None:
        for detector in self._detectors.values():
            detector.close()
        self._detectors.clear()

    def _detector(self, quick: bool) -> FaceDetector:
        if quick not in self._detectors:
            self._detectors[quick] = FaceDetector("image", flip_average=not quick)
        return self._detectors[quick]

    def look(self, image: Image, near: NDArray[np.floating], *, quick: bool = False) -> Seen | None:
        """The face of an image, or None.

        Args:
            image: (H, W, 3) uint8.
            near: (478, 2) px: where a face is expected. It only says where to look first; if no face is there, the
                whole image is searched.
            quick: without the mirrored close-up, in half the time; for jitter, where left/right bias cancels.
        """
        detector, hint = self._detector(quick), _face_at(near)
        face = detector.refine(image, hint)
        if face is hint:  # nothing was seen there
            found = detector.find(image)
            if not found:
                return None
            face = detector.refine(image, max(found, key=lambda f: (box_iou(f.box, hint.box), f.area)))
        return Seen(face.landmarks[:, :2].copy(), face.scores)


def _face_at(landmarks: NDArray[np.floating]) -> Face:
    flat = np.column_stack([landmarks[:, :2], np.zeros(len(landmarks))])
    return make_face(flat, np.zeros(52), np.eye(4))


@dataclass(frozen=True)
class Shown:
    """The rig's state that a face shows: rotation (3, 3) of the head in camera space, and 102 controls."""

    rotation: Array
    controls: Array

    def gaze(self) -> Array:
        """(2, 3) unit vectors: where the left and the right eye look, camera space."""
        looks = []
        for side in ("L", "R"):
            yaw, pitch = (float(self.controls[FACS102.index(f"gaze_{n}_{side}")]) for n in ("yaw", "pitch"))
            looks.append(self.rotation @ gaze_rotation(yaw, pitch)[0] @ _FORWARD)
        return np.array(looks)

    def moved_like(self, before: Shown, after: Shown) -> Shown:
        """This state plus the motion from one state of another face to another one (relative motion)."""
        low, high = FACS102.low, FACS102.high
        controls = np.clip(self.controls + after.controls - before.controls, low, high)
        return Shown(after.rotation @ before.rotation.T @ self.rotation, controls)


class FaceFitter:
    """Fits the rig to single frames of one person, whose identity and focal length are known.

    Args:
        identity: (I,) coefficients, the same for all that is compared, so that it adds no noise.
        focal: px.
        size: (w, h) px of the images.
    """

    def __init__(self, identity: NDArray[np.floating], focal: float, size: tuple[int, int]) -> None:
        self._fitter = LandmarkFitter()
        self._head = self._fitter.model.prepare(np.asarray(identity, np.float64))
        self._focal, self._size = focal, size

    def fit(self, seen: Seen) -> Shown:
        """The state of the rig that explains a face."""
        observation = observe(seen.landmarks, self._size, seen.scores)
        pose = self._fitter.settled_pose(observation, self._head, self._focal)
        fit: Fit = self._fitter.fit_frame(
            observation, self._head, pose, np.zeros(len(self._fitter.table.positive))
        )
        return Shown(fit.pose.rotation, fit.controls)


def motion_errors(shown: Shown, wanted: Shown) -> dict[str, float]:
    """How far a face is from the motion it was to show.

    Returns:
        ``aed``: mean absolute difference of the rig's controls that landmarks can see (control units; expression and
        gaze, without pose); ``apd_degrees``: angle between the head rotations; ``gaze_degrees``: angle between the
        directions of gaze in camera space, mean of the eyes that are to be open, NaN if both are to be closed.
    """
    away = np.abs(shown.controls - wanted.controls)[_seen_controls()]
    angle = np.degrees(float(geodesic_angle(shown.rotation, wanted.rotation)))
    cosine = np.clip((shown.gaze() * wanted.gaze()).sum(1), -1, 1)
    is_open = [wanted.controls[FACS102.index(f"lid_close_{s}")] < _EYE_OPEN for s in ("L", "R")]
    gaze = np.degrees(np.arccos(cosine))[is_open]
    return {
        "aed": float(away.mean()),
        "apd_degrees": float(angle),
        "gaze_degrees": float(gaze.mean()) if len(gaze) else float("nan"),
    }


def _seen_controls() -> NDArray[np.int64]:
    table = variables()
    return np.unique(np.concatenate([table.positive, table.negative[table.negative >= 0]]))


def landmark_distance(output: Seen, truth: Seen) -> float:
    """AKD of one frame: mean distance of 478 landmarks, percent of the truth's outer-eye-corner distance."""
    away = np.linalg.norm(output.landmarks - truth.landmarks, axis=1).mean()
    return 100 * float(away) / truth.eye_distance


def jitter(run: Sequence[Seen | None]) -> float:
    """Mean length of the landmarks' second difference over consecutive frames, percent of the eye distance.

    Frames in which no face was found, and their neighbours, are left out; NaN where nothing is left.
    """
    steps = []
    for before, here, after in zip(run[:-2], run[1:-1], run[2:], strict=True):
        if before is not None and here is not None and after is not None:
            bend = before.landmarks - 2 * here.landmarks + after.landmarks
            steps.append(100 * float(np.linalg.norm(bend, axis=1).mean()) / here.eye_distance)
    return float(np.mean(steps)) if steps else float("nan")


def identity_distance(frames: Sequence[Seen], size: tuple[int, int], identity: NDArray[np.floating]) -> float:
    """How far the head that frames show is from a known one, percent of that one's outer-eye-corner distance.

    One identity is fitted to (at most six of) the frames together; compared is the root mean square distance of the
    two neutral heads' 478 landmarks, aligned rigidly. It sees shape only: no network that recognises faces is used.

    Args:
        frames: faces of one person; NaN is returned for none.
        size: (w, h) px of the images.
        identity: (I,) of the head that is expected.
    """
    if not frames:
        return float("nan")
    chosen = np.unique(np.round(np.linspace(0, len(frames) - 1, _IDENTITY_FRAMES)).astype(int))
    fitter = LandmarkFitter()
    observations = [observe(frames[i].landmarks, size, frames[i].scores) for i in chosen]
    found = fitter.fit_key_frames(observations)[0].identity
    ours, theirs = (
        fitter.model.prepare(np.asarray(i, np.float64)).points for i in (found, np.asarray(identity))
    )
    moved = align(ours, theirs, scale=False)
    away = np.sqrt((np.linalg.norm(moved.apply(ours) - theirs, axis=1) ** 2).mean())
    return 100 * float(away / np.linalg.norm(theirs[OUTER_CORNERS[0]] - theirs[OUTER_CORNERS[1]]))
