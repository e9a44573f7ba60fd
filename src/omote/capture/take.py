"""A take: identity and camera once from key frames, then pose and controls frame by frame, then smoothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omote.capture.fit import Fit, LandmarkFitter
from omote.capture.landmark_model import Head
from omote.capture.observation import Observation, Pose, observe
from omote.capture.priors import variables
from omote.capture.smooth import smooth
from omote.capture.tracks import Track
from omote.controls import FACS102, ControlSpace
from omote.geometry.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    matrix_to_axis_angle,
    quaternion_to_axis_angle,
)
from omote.performance import Camera, Performance

Array = NDArray[np.float64]

KEY_FRAMES = 6
LOST_ERROR = 0.03
"""Mean landmark error (share of the eye distance) beyond which a warm start is given up for a cold one."""
CONTROL_NOISE, GAZE_NOISE = 0.01, 0.02
"""Usual jitter of a control when nothing moves; of gaze, whose landmarks are few, more (0.6 degrees)."""
TURN_NOISE, PLACE_NOISE, DEPTH_NOISE = 0.0008, 0.0010, 0.0010
"""Usual jitter of the head: half-angle radians, shares of the eye distance in the image, share of the distance."""


EYE_CORNERS_M = 0.09


@dataclass
class Solved:
    """A take as it was fitted, before it becomes a `Performance`.

    Attributes:
        rotations (T, 3) axis-angle, translations (T, 3) metres, controls (T, C), evidence (T, C), confidence (T,),
        error (T,) mean landmark error as a share of the eye distance; identity (I,), focal px, size (w, h) px;
        surprise: `Fit.surprise`, median over the key frames. C is 102, but for takes of another rig.
    """

    rotations: Array
    translations: Array
    controls: Array
    evidence: Array
    confidence: Array
    error: Array
    identity: Array
    focal: float
    size: tuple[int, int]
    surprise: float = 0.0

    @classmethod
    def empty(
        cls,
        frames: int,
        identity: Array,
        focal: float,
        size: tuple[int, int],
        width: int = len(FACS102),
    ) -> Solved:
        """A take of ``width`` controls without any frame fitted yet."""
        turns, places, controls, evidence = (np.zeros((frames, n)) for n in (3, 3, width, width))
        error = np.full(frames, np.nan)
        return cls(turns, places, controls, evidence, np.zeros(frames), error, identity, focal, size)

    def put(self, frame: int, fit: Fit) -> None:
        """Enter one frame's fit."""
        self.place(frame, fit.pose, fit.controls, fit.error)
        self.evidence[frame] = fit.evidence

    def place(self, frame: int, pose: Pose, controls: Array, error: float) -> None:
        """Enter one frame: its pose, its controls (C,), and its landmark error."""
        self.rotations[frame] = matrix_to_axis_angle(pose.rotation)
        self.translations[frame] = pose.translation
        self.controls[frame], self.error[frame] = controls, error
        self.confidence[frame] = frame_confidence(np.array(error))

    def hold_lost(self, found: NDArray[np.bool_]) -> None:
        """Frames without a face hold the last one that had one (at the beginning: the first), with confidence 0."""
        last = np.maximum.accumulate(np.where(found, np.arange(len(found)), -1))
        last[last < 0] = int(np.argmax(found))
        for array in (self.rotations, self.translations, self.controls):
            array[:] = array[last]
        self.evidence[~found] = 0.0
        self.confidence[~found] = 0.0


def choose_key_frames(track: Track, most: int = KEY_FRAMES) -> NDArray[np.int64]:
    """Frames (at most ``most``, fewer in short takes) that between them show most.

    The calmest frontal one comes first, then ever the one most different from those chosen.

    Different means in head direction and in the face's scores; what is seen once for a single frame (a misdetection,
    a blur) is not chosen, since its neighbours do not look like it.
    """
    frames = np.flatnonzero(track.found)
    count = min(most, 3 + len(frames) // 25)
    if len(frames) <= count:
        return frames
    facing = track.matrices[frames, :3, 2].astype(np.float64)
    looks = np.concatenate([2.0 * facing, track.scores[frames]], axis=1)
    step = np.linalg.norm(np.diff(looks, axis=0), axis=1)
    unsteady = np.minimum(np.append(step, step[-1]), np.insert(step, 0, step[0]))
    jump = _landmark_jump(track.landmarks[frames])
    usable = (unsteady <= np.quantile(unsteady, 0.9)) & (jump <= np.quantile(jump, 0.9))
    calm = np.linalg.norm(track.scores[frames], axis=1) + 2.0 * (1 - facing[:, 2])
    chosen = [int(np.argmin(np.where(usable, calm, np.inf)))]
    distance = np.where(usable, np.inf, -np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(looks - looks[chosen[-1]], axis=1))
        # Beyond half a profile the far side is guessed; such a view says little about the shape.
        chosen.append(int(np.argmax(distance - 2.0 * np.maximum(0.6 - facing[:, 2], 0))))
    return frames[np.unique(chosen)]


def _landmark_jump(landmarks: NDArray[np.float32]) -> Array:
    """(N,) how far each frame's landmarks are from the mean of its neighbours, relative to the face's extent."""
    points = landmarks[:, :, :2].astype(np.float64)
    padded = np.concatenate([points[1:2], points, points[-2:-1]])
    away = np.linalg.norm(points - (padded[2:] + padded[:-2]) / 2, axis=2).mean(1)
    extent = np.linalg.norm(points.max(1) - points.min(1), axis=1)
    return away / np.maximum(extent, 1e-6)


def solve_take(
    track: Track,
    size: tuple[int, int],
    shots: list[tuple[int, int]],
    fitter: LandmarkFitter,
    progress: Callable[[int], None] | None = None,
) -> Solved:
    """Fit every frame of one face.

    Args:
        track: landmarks and scores over T frames; at least one frame has a face.
        size: (w, h) of the frames, pixels.
        shots: (first, after last) frame of each shot; a shot starts cold.
        fitter: the solver.
        progress: called with the number of frames done.
    """
    keys = choose_key_frames(track)
    key_fits = fitter.fit_key_frames([observe(track.landmarks[f], size, track.scores[f]) for f in keys])
    head = fitter.model.prepare(key_fits[0].identity)
    focal = key_fits[0].pose.focal
    solved = Solved.empty(len(track.found), key_fits[0].identity, focal, size)
    for first, last in shots:
        previous: Fit | None = None
        for frame in range(first, last):
            if track.found[frame]:
                observation = observe(track.landmarks[frame], size, track.scores[frame])
                previous = _follow(fitter, observation, head, focal, previous)
                solved.put(frame, previous)
            else:
                previous = None
            if progress is not None:
                progress(frame + 1)
    solved.hold_lost(track.found)
    solved.surprise = float(np.median([fit.surprise for fit in key_fits]))
    return solved


def _follow(
    fitter: LandmarkFitter, observation: Observation, head: Head, focal: float, before: Fit | None
) -> Fit:
    """Fit a frame from the one before, or from nothing where that fails or there is none."""
    if before is not None:
        fit = fitter.follow_frame(observation, head, before.pose, before.values)
        if fit.error <= max(2.0 * before.error, LOST_ERROR):
            return fit
    pose = fitter.settled_pose(observation, head, focal)
    return fitter.fit_frame(observation, head, pose, np.zeros(len(fitter.table.positive)))


def frame_confidence(error: Array) -> Array:
    """0..1 from the mean landmark error (a share of the eye distance): 1 to about 1 %, 0.5 at 3 %, none at 8 %."""
    return np.exp(-np.log(2) * (np.maximum(error - 0.008, 0) / 0.022) ** 2)


def smooth_take(
    solved: Solved, times: Array, found: NDArray[np.bool_], shots: list[tuple[int, int]], strength: float
) -> None:
    """Smooth pose and controls in place, without lag, each shot by itself; frames without a face end a stretch."""
    table = variables()
    gaze = [FACS102.names[c].startswith("gaze") for c in table.positive]
    noise = np.where(gaze, GAZE_NOISE, CONTROL_NOISE)
    for first, last in shots:
        for start, stop in stretches(found, first, last):
            part = slice(start, stop)
            values = table.from_controls(solved.controls[part])
            calm = smooth(values, times[part], strength, noise=noise)
            solved.controls[part] = [table.controls(v) for v in np.clip(calm, table.low, table.high)]
            smooth_pose(solved, part, times[part], strength)
    solved.hold_lost(found)  # what they hold is the smoothed frame


def smooth_pose(
    solved: Solved, part: slice, times: Array, strength: float, middle: Array | None = None
) -> None:
    """Smooth what is seen of a pose: rotation, place in the image in units of the eye distance, and log distance.

    The place is that of ``middle`` (3,), head space, in a face whose origin may lie far below it.
    """
    middle = np.zeros(3) if middle is None else middle
    quaternions = axis_angle_to_quaternion(solved.rotations[part])
    flips = np.cumprod(np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0))
    quaternions[1:] *= flips[:, None]
    x, y, z = (solved.translations[part] + axis_angle_to_matrix(solved.rotations[part]) @ middle).T
    # The head is about nine centimetres wide between the outer eye corners.
    seen = np.column_stack(
        [x / z / (EYE_CORNERS_M / z.mean()), y / z / (EYE_CORNERS_M / z.mean()), np.log(-z)]
    )
    noise = np.array([*[TURN_NOISE] * 4, PLACE_NOISE, PLACE_NOISE, DEPTH_NOISE])
    calm = smooth(np.concatenate([quaternions, seen], axis=1), times, strength, noise=noise)
    turned = calm[:, :4] / np.linalg.norm(calm[:, :4], axis=1, keepdims=True)
    solved.rotations[part] = quaternion_to_axis_angle(turned)
    depth = -np.exp(calm[:, 6])
    place = np.column_stack([*(calm[:, 4:6].T * EYE_CORNERS_M / z.mean() * depth), depth])
    solved.translations[part] = place - axis_angle_to_matrix(solved.rotations[part]) @ middle


def stretches(found: NDArray[np.bool_], first: int, last: int) -> list[tuple[int, int]]:
    """(start, stop) of the runs of found frames within a shot."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], found[first:last].astype(np.int8), [0]])))
    return [(first + int(a), first + int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def to_performance(
    solved: Solved, times: Array, source: dict[str, object], space: ControlSpace = FACS102
) -> Performance:
    """The take as a `Performance` of the embedded rig, or of a rig with controls of its own."""
    return Performance(
        space=space,
        controls=solved.controls,
        head_rotation=solved.rotations,
        head_translation=solved.translations,
        confidence=solved.confidence,
        control_confidence=solved.evidence,
        times=times,
        identity={"facs": solved.identity} if space == FACS102 else {},
        camera=Camera(solved.focal, (solved.size[0] / 2, solved.size[1] / 2), solved.size),
        source=source,
    )
