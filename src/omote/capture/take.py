"""A take: identity and camera once from key frames, then pose and controls frame by frame, then smoothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from omote.capture.fit import Fit, LandmarkFitter
from omote.capture.landmarker import SCORE_NAMES
from omote.capture.observation import Observation, Pose, observe
from omote.capture.smooth import smooth
from omote.capture.tracks import Track
from omote.controls import FACS102
from omote.geometry.rotations import axis_angle_to_quaternion, matrix_to_axis_angle, quaternion_to_axis_angle
from omote.performance import Camera, Performance

Array = NDArray[np.float64]

KEY_FRAMES = 6
_KEY_NOISE = 0.012
NOT_A_FACE = 0.0
"""Set below."""


@dataclass(frozen=True)
class Solved:
    """A take as it was fitted, before it becomes a `Performance`. Rows of frames without a face hold the nearest one."""

    rotations: Array  # (T, 3, 3)
    translations: Array  # (T, 3)
    controls: Array  # (T, 102)
    evidence: Array  # (T, 102)
    confidence: Array  # (T,)
    error: Array  # (T,)
    identity: Array  # (I,)
    focal: float
    size: tuple[int, int]


def choose_key_frames(track: Track, count: int = KEY_FRAMES) -> NDArray[np.int64]:
    """Frames (at most ``count``) that show the head from different sides with a calm face; the calmest frontal one first."""
    frames = np.flatnonzero(track.found)
    if len(frames) <= count:
        return frames
    matrices = track.matrices[frames].astype(np.float64)
    facing = matrices[:, :3, 2]  # where the face points, in camera space
    expressive = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthPucker", "mouthFunnel")
    busy = track.scores[frames][:, [SCORE_NAMES.index(n) for n in expressive]].sum(1).astype(np.float64)
    chosen = [int(np.argmin(busy + 2.0 * (1 - facing[:, 2])))]
    distance = np.full(len(frames), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(facing - facing[chosen[-1]], axis=1))
        # Far views help, but strong expressions and extreme profiles say little about the resting shape.
        chosen.append(int(np.argmax(np.minimum(distance, 0.5) - 0.15 * busy - 0.3 * (facing[:, 2] < 0.6))))
        distance[chosen[-1]] = -np.inf
    return frames[np.unique(chosen)]


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
    seen = {int(f): observe(track.landmarks[f], size, track.scores[f]) for f in keys}
    key_fits = fitter.fit_key_frames(list(seen.values()), iterations=12)
    head = fitter.model.prepare(key_fits[0].identity)
    focal = key_fits[0].pose.focal
    warm = dict(zip(seen, key_fits, strict=True))
    fits: list[Fit | None] = [None] * len(track.found)
    for first, last in shots:
        previous: Fit | None = None
        for frame in range(first, last):
            if track.found[frame]:
                observation = observe(track.landmarks[frame], size, track.scores[frame])
                start = warm.get(frame) or previous
                previous = _fit_one(fitter, observation, head, focal, start, fits, frame)
                fits[frame] = previous
            else:
                previous = None
            if progress is not None:
                progress(frame + 1)
    return _gather(fits, key_fits[0].identity, focal, size)


