"""Changes to a take, each a function that returns a changed copy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.controls import FACS102
from omote.controls.implicit21 import EYE_KEYPOINTS, EYE_RATIOS, offset_names
from omote.edit.blinks import insert_blinks
from omote.edit.curves import ease
from omote.edit.gaze import Gaze, aim_eyes, checked_gaze
from omote.edit.names import weights_of
from omote.edit.regions import checked_regions, region_indices
from omote.edit.stage import about_neck
from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, yaw_pitch_roll_to_matrix
from omote.performance import Performance
from omote.performance.interpolation import (
    axis_angle_to_quaternion,
    mix_frames,
    quaternion_to_axis_angle,
)

Array = NDArray[Any]

_CHANGE = re.compile(
    r"(?P<name>.+?)(?P<how>==|=\+|=-|=x|=)(?P<value>(?<==)-?[\d.]+(e-?\d+)?|[\d.]+(e-?\d+)?)"
)
_LIDS = (
    *("lid_close_L", "lid_close_R", "eyeBlinkLeft", "eyeBlinkRight"),
    *EYE_RATIOS,
    *(name for keypoint in EYE_KEYPOINTS for name in offset_names(keypoint)),
)
_EXAMPLES = (
    "Write NAME=0.3 (set), NAME=+0.2 or NAME=-0.2 (add), NAME=x1.5 (multiply) or NAME==-0.3 (set below 0)."
)


def set_controls(take: Performance, *changes: str) -> Performance:
    """Set, add to or multiply controls in all frames; values stay within each control's range.

    Args:
        take: in FACS102, or in another space, whose own names are used then.
        changes: one after the other. ``"NAME=0.3"`` sets, ``"NAME=+0.2"`` and ``"NAME=-0.2"`` add, ``"NAME=x1.5"``
            multiplies, ``"NAME==-0.3"`` sets a signed control below 0. NAME is a FACS102 or ARKit name, a pattern
            such as ``mouthSmile*``, or a word such as smile (see `omote.edit.names.weights_of`).

    Raises:
        InputError: a change that cannot be read, or a name that nothing is called (names the nearest).
    """
    controls = np.array(take.controls)
    for change in changes:
        match = _CHANGE.fullmatch(change.replace(" ", ""))
        try:
            value = float(match["value"]) if match else math.nan
        except ValueError:
            value = math.nan
        if match is None or not math.isfinite(value):
            raise InputError(f"cannot read '{change}'", where="set", remedy=_EXAMPLES)
        for index, weight in _named(take, match["name"]):
            track = controls[:, index]
            if match["how"] == "=x":
                track = track * value
            elif match["how"] in ("=+", "=-"):
                track = track + weight * (value if match["how"] == "=+" else -value)
            else:
                track = np.full_like(track, weight * value)
            control = take.space.controls[index]
            controls[:, index] = np.clip(track, control.low, control.high)
    return take.with_(controls=controls)


def _named(take: Performance, name: str) -> tuple[tuple[int, float], ...]:
    if take.space == FACS102:
        return weights_of(name)
    return tuple((int(index), 1.0) for index in take.space.match(name))


def look(take: Performance, gaze: Gaze) -> Performance:
    """The eyes on "camera", or in a direction (yaw, pitch) degrees; see `omote.edit.gaze.aim_eyes`.

    Raises:
        InputError: a gaze that is neither.
    """
    target = checked_gaze(gaze)
    if target is None:
        return take
    identity = take.identity.get("facs")

    def aimed(facs: Performance) -> Array:
        return aim_eyes(facs.controls, facs.head_rotation, facs.head_translation, identity, target)

    return _in_facs(take, aimed)


def blink(take: Performance, per_minute: float, seed: int = 0) -> Performance:
    """More blinks; see `omote.edit.blinks.insert_blinks`.

    Raises:
        InputError: a negative rate.
    """
    return _in_facs(take, lambda facs: insert_blinks(facs.controls, facs.times, per_minute, seed))


def _in_facs(take: Performance, change: Callable[[Performance], Array]) -> Performance:
    facs = take.with_space(FACS102)
    return take.with_(controls=facs.with_(controls=change(facs)).with_space(take.space).controls)


def gain(take: Performance, factors: Mapping[str, float]) -> Performance:
    """Scale regions: controls from rest on, the head's turn and path (region "pose") from the first frame on.

    Args:
        take: any; one in another space is scaled through FACS102.
        factors: region ("eyes", "lips", "expression", "pose") to factor, 0 or more.

    Raises:
        InputError: no such region, or a negative factor.
    """
    checked_regions(factors, where="gain")
    for region, factor in factors.items():
        if not 0 <= factor < math.inf:
            raise InputError(f"must be 0 or more, got {factor}", where=f"gain of {region}")

    def scaled(facs: Performance) -> Array:
        controls = np.array(facs.controls)
        for region, factor in factors.items():
            controls[:, region_indices(region)] *= factor
        return FACS102.clamp(controls)

    result = _in_facs(take, scaled)
    if "pose" not in factors:
        return result
    factor = factors["pose"]
    first = axis_angle_to_matrix(take.head_rotation[0])
    turn = matrix_to_axis_angle(axis_angle_to_matrix(take.head_rotation) @ first.T)
    rotation = matrix_to_axis_angle(axis_angle_to_matrix(factor * turn) @ first)
    start = take.head_translation[:1]
    return result.with_(
        head_rotation=rotation, head_translation=start + factor * (take.head_translation - start)
    )


def turn_head(take: Performance, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Performance:
    """Turn the head in all frames by degrees: to its left, up, to its left shoulder.

    It turns in its own frame and about its joints.

    Raises:
        InputError: an angle of 90 degrees or more.
    """
    if not all(abs(angle) < 90 for angle in (yaw, pitch, roll)):
        raise InputError(f"must be below 90 degrees, got {yaw}, {pitch}, {roll}", where="turn")
    offset = yaw_pitch_roll_to_matrix(np.radians([yaw, pitch, roll]))
    own = axis_angle_to_matrix(take.head_rotation)
    return take.with_(
        head_rotation=matrix_to_axis_angle(own @ offset),
        head_translation=take.head_translation + own @ about_neck(offset),
    )


def smooth(take: Performance, seconds: float) -> Performance:
    """Smooth without lag: a Gaussian whose standard deviation is ``seconds``; blinks keep a quarter of it.

    Frames without a face give nothing to those with one. At the ends the window becomes one-sided.

    Raises:
        InputError: a time that is negative or above a minute.
    """
    if not 0 <= seconds <= 60:
        raise InputError(f"must be 0 to 60 seconds, got {seconds}", where="smooth")
    if seconds == 0 or len(take) < 3:
        return take
    wide = _Gaussian(take, seconds)
    controls = wide(take.controls)
    lids = [take.space.index(name) for name in _LIDS if name in take.space]
    if lids:
        controls[:, lids] = _Gaussian(take, seconds / 4)(take.controls[:, lids])
    quaternions = axis_angle_to_quaternion(take.head_rotation)
    flips = np.cumprod(np.where((quaternions[1:] * quaternions[:-1]).sum(1) < 0, -1.0, 1.0))
    quaternions[1:] *= flips[:, None]  # neighbours in the same half, so that their mean means something
    return take.with_(
        controls=controls,
        head_rotation=quaternion_to_axis_angle(wide(quaternions)),
        head_translation=wide(take.head_translation),
    )


class _Gaussian:
    """A weighted moving mean over frames of a take."""

    def __init__(self, take: Performance, seconds: float) -> None:
        width = max(seconds * take.fps, 1e-6)
        reach = min(max(int(3 * width), 1), len(take) - 1)
        self.kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        self.seen = (take.confidence > 0).astype(np.float64)
        self.total = self._spread(self.seen)

    def __call__(self, values: Array) -> Array:
        mean = np.stack([self._spread(column * self.seen) for column in values.T.astype(np.float64)], 1)
        kept = (self.seen * (self.total > 1e-9)).astype(bool)[:, None]
        return np.asarray(np.where(kept, mean / np.maximum(self.total, 1e-9)[:, None], values))

    def _spread(self, column: Array) -> Array:
        reach = len(self.kernel) // 2
        return np.asarray(np.convolve(column, self.kernel)[reach : reach + len(column)])


def loop(take: Performance, seconds: float = 0.5) -> Performance:
    """Ease the last ``seconds`` into the first frame, so that the take can be played round and round.

    Raises:
        InputError: a time that is not above 0, or a take of one frame.
    """
    if not 0 < seconds < math.inf or len(take) < 2:
        raise InputError(f"needs a time above 0 and two frames, got {seconds} s, {len(take)}", where="loop")
    share = ease((take.times - take.times[-1] + min(seconds, take.duration)) / min(seconds, take.duration))
    keys = ("controls", "head_rotation", "head_translation", "confidence")
    frames = {key: np.asarray(getattr(take, key)) for key in keys}
    first = {key: np.repeat(values[:1], len(take), 0) for key, values in frames.items()}
    return take.with_(**mix_frames(frames, first, share))


def changed_controls(before: Performance, after: Performance) -> list[tuple[str, float, float]]:
    """(control, mean before, mean after) of what differs by more than 0.0005, the most changed first."""
    old, new = before.controls.mean(0), after.controls.mean(0)
    same_length = len(before) == len(after)
    size = np.abs(after.controls - before.controls).max(0) if same_length else np.abs(new - old)
    order = [int(i) for i in np.argsort(-size, kind="stable") if size[i] > 5e-4]
    return [(before.space.names[i], float(old[i]), float(new[i])) for i in order]
