"""Interpolation of rotations, and of frames that may have no face in them. Plain numpy, float64.

Rotations are (..., 3) axis-angle radians at rest and (..., 4) unit quaternions xyzw in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_TIE = 1e-6  # a sample this close to a frame (in frame periods) is that frame


def axis_angle_to_quaternion(rotation: npt.ArrayLike) -> Array:
    """(..., 3) axis-angle radians to (..., 4) unit quaternions xyzw, float64."""
    vector = np.asarray(rotation, np.float64)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.concatenate([vector * (0.5 * np.sinc(angle / (2 * np.pi))), np.cos(angle / 2)], axis=-1)


def quaternion_to_axis_angle(quaternion: npt.ArrayLike) -> Array:
    """(..., 4) quaternions xyzw of any length to (..., 3) axis-angle radians of at most pi."""
    q = np.asarray(quaternion, np.float64)
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = np.linalg.norm(q[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., 3:])
    small = sine < 1e-12
    scale = np.where(small, 2 / np.maximum(np.abs(q[..., 3:]), 1e-300), angle / np.where(small, 1, sine))
    return np.asarray(q[..., :3] * scale)


def slerp(first: npt.ArrayLike, second: npt.ArrayLike, share: npt.ArrayLike) -> Array:
    """Between (..., 4) unit quaternions xyzw on the shorter arc; share (...) 0 is the first, 1 the second."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    t = np.asarray(share, np.float64)[..., None]
    cosine = (a * b).sum(-1, keepdims=True)
    b = np.where(cosine < 0, -b, b)
    # The angle from the chord: accurate for small arcs, where arccos is not.
    apart, along = (np.linalg.norm(c, axis=-1, keepdims=True) for c in (b - a, b + a))
    angle = 2 * np.arctan2(apart, along)
    near = angle < 1e-6
    sine = np.where(near, 1, np.sin(angle))
    wa = np.where(near, 1 - t, np.sin((1 - t) * angle) / sine)
    wb = np.where(near, t, np.sin(t * angle) / sine)
    mixed = wa * a + wb * b
    return np.asarray(mixed / np.linalg.norm(mixed, axis=-1, keepdims=True))


def slerp_axis_angle(first: npt.ArrayLike, second: npt.ArrayLike, share: npt.ArrayLike) -> Array:
    """`slerp` for (..., 3) axis-angle radians; shares of exactly 0 and 1 return the inputs untouched."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    t = np.asarray(share, np.float64)[..., None]
    between = quaternion_to_axis_angle(
        slerp(axis_angle_to_quaternion(a), axis_angle_to_quaternion(b), t[..., 0])
    )
    return np.where(t <= 0, a, np.where(t >= 1, b, between))


def locate(times: Array, wanted: Array) -> tuple[Array, Array, Array]:
    """Where moments fall between frames.

    Args:
        times: (T,) seconds, strictly increasing.
        wanted: (N,) seconds; before the first and after the last frame that frame is held.

    Returns:
        (N,) frame before, (N,) frame after, (N,) share 0..1 of the latter, exactly 0 or 1 close to a frame.
    """
    after = np.clip(np.searchsorted(times, wanted, side="right"), 1, max(len(times) - 1, 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    period = np.where(after > before, times[after] - times[before], 1.0)
    share = np.clip((wanted - times[before]) / period, 0.0, 1.0)
    share = np.where(share < _TIE, 0.0, np.where(share > 1 - _TIE, 1.0, share))
    return before, after, share


def mix_frames(first: Mapping[str, Array], second: Mapping[str, Array], share: Array) -> dict[str, Any]:
    """Mix N pairs of frames; a frame without a face gives nothing to a mixture with one that has a face.

    Args:
        first: "controls" (N, C), "head_rotation" (N, 3), "head_translation" (N, 3), "confidence" (N,), and
            optionally "control_confidence" (N, C).
        second: the same keys.
        share: (N,) 0..1 of the second.

    Returns:
        The same keys. Confidence is mixed by the shares asked for, so it falls towards a lost frame.
    """
    seen, seen_too = first["confidence"] > 0, second["confidence"] > 0
    used = np.where(seen & ~seen_too & (share < 1), 0.0, share)
    used = np.where(~seen & seen_too & (share > 0), 1.0, used)
    mixed = {}
    for key, a in first.items():
        b = second[key]
        if key == "head_rotation":
            mixed[key] = slerp_axis_angle(a, b, used)
            continue
        t = (share if key == "confidence" else used).reshape(-1, *[1] * (a.ndim - 1))
        mixed[key] = np.where(t <= 0, a, np.where(t >= 1, b, (1 - t) * a + t * b))
    return mixed
