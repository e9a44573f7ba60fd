"""Where faces are, over time: squares from our 478 landmarks, and the keypoints' way from one square to another.

The published crops come from 203 landmarks, which end at the brows. Of the 478 those of the forehead are left out
here, so that a crop of the published scale frames a face as the published one does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omote.checks import check_shape
from omote.drive.liveportrait.crops import Placement, Square, face_square
from omote.drive.liveportrait.smoothing import smooth_over_time
from omote.models.liveportrait.keypoints import Motion, eye_close_ratio, lip_close_ratio
from omote.rigs.contours import BROW, EYE, LIPS_INNER, LIPS_OUTER, NOSE_BASE, NOSE_BRIDGE, OVAL

Array = NDArray[Any]

_BARE = Placement(1.0)
_NOSE_TIP = 1
_TEMPLES = (356, 127)
"""The oval's points at the height of the eyes; those above belong to the forehead."""
SQUARE_TAU = 0.4
"""Time constant in seconds of the smoothing of squares at full strength."""


def _framed() -> NDArray[np.int64]:
    """(478,) for each landmark itself, or the tip of the nose where it is not to widen the square."""
    jaw = OVAL[OVAL.index(_TEMPLES[0]) : OVAL.index(_TEMPLES[1]) + 1]
    kept = [*jaw, *LIPS_OUTER, *LIPS_INNER, *NOSE_BASE, *NOSE_BRIDGE, *range(468, 478)]
    for group in (*EYE.values(), *BROW.values()):
        kept += list(group)
    index = np.full(478, _NOSE_TIP)
    index[kept] = kept
    return index


_INDEX = _framed()


@dataclass(frozen=True)
class Faces:
    """One face over T frames (1 for a photo), as its landmarks show it; about 60 bytes a frame.

    Attributes:
        square: the bare square about each face (scale 1), turned with it.
        eyes: (T, 2) close ratios, the image's left eye first.
        lip: (T, 1).
        found: (T,) bool; where it is not, all else is that of a frame where it is.
    """

    square: Square
    eyes: torch.Tensor
    lip: torch.Tensor
    found: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.found)

    @classmethod
    def of(cls, landmarks: Array, found: NDArray[np.bool_] | None = None) -> Faces:
        """From landmarks (T, 478, 2) px, counted from the picture's corner."""
        check_shape("landmarks", landmarks, "T", 478, 2)
        points = torch.from_numpy(np.asarray(landmarks, np.float64))
        there = np.ones(len(landmarks), bool) if found is None else found
        eyes, lip = eye_close_ratio(points).float(), lip_close_ratio(points).float()
        centred = np.asarray(landmarks)[:, _INDEX] - 0.5  # crops count from the middle of the first pixel
        return cls(face_square(centred, _BARE), eyes, lip, there)

    @classmethod
    def join(cls, parts: list[tuple[int, Faces]], count: int) -> Faces:
        """From single frames.

        Args:
            parts: (frame, the face in it), increasing; at least one.
            count: frames in all. Those that are missing hold the one before (the first ones, the one after).
        """
        frames = np.array([frame for frame, _ in parts])
        found = np.zeros(count, bool)
        found[frames] = True
        held = held_frames(found)
        at = np.searchsorted(frames, held)
        squares = [one.square for _, one in parts]
        square = Square(
            *(np.concatenate([getattr(s, k) for s in squares])[at] for k in ("centre", "side", "angle"))
        )
        eyes, lip = (torch.cat([getattr(one, k) for _, one in parts])[at] for k in ("eyes", "lip"))
        return cls(square, eyes, lip, found)


def held_frames(found: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(T,) the frame whose face each frame shows: itself, else the last one with a face, else the first one."""
    count = len(found)
    held = np.maximum.accumulate(np.where(found, np.arange(count), -1))
    return np.where(held < 0, int(np.argmax(found)), held)


def place(square: Square, placement: Placement) -> Square:
    """Bare squares enlarged and shifted along the face's own axes."""
    side = square.side * placement.scale
    cos, sin = np.cos(square.angle), np.sin(square.angle)
    x, y = placement.vx * side, placement.vy * side
    shift = np.stack([cos * x - sin * y, sin * x + cos * y], -1)
    return replace(square, centre=square.centre + shift, side=side)


def smooth_squares(square: Square, times: Array, cuts: tuple[int, ...], strength: float) -> Square:
    """Squares (T) that follow their faces calmly, so that the crop itself brings no motion; ``strength`` 0..1."""
    tau = SQUARE_TAU * strength
    rows = np.concatenate(
        [square.centre, np.log(square.side)[:, None], np.unwrap(square.angle)[:, None]], axis=1
    )
    rows = smooth_over_time(rows, times, tau, cuts)
    return Square(rows[:, :2], np.exp(rows[:, 2]), rows[:, 3])


def median_square(square: Square) -> Square:
    """One upright square () in the middle of many (T)."""
    return Square(np.median(square.centre, axis=0), np.median(square.side), np.zeros(()))


def in_square(motion: Motion, own: Square, other: Square) -> Motion:
    """The motion measured in crops of its own, as if all had been measured in one.

    Keypoints are ``s (x_c R + d) + t`` in a crop that spans -1..1, so moving and resizing an upright crop changes only
    s and t, and exactly.

    Args:
        motion: T frames.
        own: (T) upright squares in which it was measured.
        other: () the one square.
    """
    ratio = torch.from_numpy(np.asarray(own.side / other.side)).to(motion.t)[:, None]
    shift = torch.from_numpy(2 * (own.centre - other.centre) / other.side).to(motion.t)
    t = motion.t * ratio
    t = torch.cat([t[:, :2] + shift, motion.t[:, 2:]], 1)
    return replace(motion, scale=motion.scale * ratio, t=t)
