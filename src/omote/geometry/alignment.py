"""Fitting one set of points onto another: rigid, similarity and thin-plate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.checks import check_shape
from omote.errors import InputError

__all__ = ["Similarity", "align", "thin_plate_warp"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Similarity:
    """``scale * rotation @ point + translation``, in D dimensions (2 or 3).

    Args:
        scale: above 0.
        rotation: (D, D), no reflection.
        translation: (D,) in the target's unit.
    """

    scale: float
    rotation: Array
    translation: Array

    def apply(self, points: Array) -> Array:
        """(..., D) points moved."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)

    def inverse(self) -> Similarity:
        """The motion back."""
        back = self.rotation.T / self.scale
        return Similarity(1 / self.scale, self.rotation.T, -back @ self.translation)

    def matrix(self) -> Array:
        """(D+1, D+1) for homogeneous column vectors."""
        size = len(self.translation)
        result = np.eye(size + 1)
        result[:size, :size], result[:size, size] = self.scale * self.rotation, self.translation
        return result


def align(
    source: npt.ArrayLike, target: npt.ArrayLike, weights: npt.ArrayLike | None = None, *, scale: bool = True
) -> Similarity:
    """The similarity (or with ``scale=False`` the rigid motion) that brings source nearest to target.

    Minimises the weighted sum of squared distances, in closed form (Umeyama 1991; Kabsch 1976 without scale).
    Never a reflection.

    Args:
        source: (N, D) points, N >= D, D 2 or 3.
        target: (N, D) points.
        weights: (N,) >= 0, by default all 1.
        scale: whether the size may change.

    Raises:
        InputError: shapes that do not match, no weight, values not finite, or points all in one place.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if a.ndim != 2 or a.shape[1] not in (2, 3) or len(a) < a.shape[1]:
        raise InputError(
            f"got shape {a.shape}, expected (N, 2) or (N, 3) with N at least 2 or 3", where="source"
        )
    check_shape("target", b, *a.shape)
    w = np.ones(len(a)) if weights is None else np.asarray(weights, np.float64)
    check_shape("weights", w, len(a))
    if not (np.isfinite(a).all() and np.isfinite(b).all() and np.isfinite(w).all()):
        raise InputError("points and weights must be finite", where="align")
    if (w < 0).any() or w.sum() <= 0:
        raise InputError("must be 0 or more, and some above 0", where="weights")
    w = w / w.sum()
    middle_a, middle_b = w @ a, w @ b
    a0, b0 = a - middle_a, b - middle_b
    spread = float(w @ (a0**2).sum(1))
    if spread <= 1e-24 * max(1.0, float(middle_a @ middle_a)):
        raise InputError("the points are all in one place", where="source")
    u, s, v = np.linalg.svd((b0 * w[:, None]).T @ a0)
    signs = np.ones(len(s))
    signs[-1] = np.sign(np.linalg.det(u @ v))
    rotation = (u * signs) @ v
    size = float(s @ signs) / spread if scale else 1.0
    if size <= 0:
        raise InputError("the points are all in one place", where="target")
    return Similarity(size, rotation, middle_b - size * rotation @ middle_a)


def thin_plate_warp(
    source: npt.ArrayLike, target: npt.ArrayLike, *, smoothing: float = 0.0
) -> Callable[[npt.ArrayLike], Array]:
    """The smoothest map that takes N source points to their targets; an affine map is reproduced exactly.

    Args:
        source: (N, D) distinct points, N above D, not all in one line or plane.
        target: (N, E) where they go.
        smoothing: 0 goes through the targets; more bends less.

    Returns:
        A function of (..., D) points to (..., E): thin-plate splines r^2 log r (Duchon 1977), by scipy.

    Raises:
        InputError: shapes that do not match, or points from which no map follows.
    """
    from scipy.interpolate import RBFInterpolator

    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise InputError(
            f"got shapes {a.shape} and {b.shape}, expected (N, D) and (N, E)", where="thin_plate_warp"
        )
    try:
        spline = RBFInterpolator(a, b, kernel="thin_plate_spline", degree=1, smoothing=smoothing)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"no warp follows from these points ({error})", where="thin_plate_warp") from None

    def warp(points: npt.ArrayLike) -> Array:
        p = np.asarray(points, np.float64)
        check_shape("points", p, "...", a.shape[1])
        return np.asarray(spline(p.reshape(-1, a.shape[1])).reshape(*p.shape[:-1], b.shape[1]))

    return warp
