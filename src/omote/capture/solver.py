"""Box-constrained Levenberg-Marquardt on normal equations (projected Newton: Bertsekas 1982)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

Array = NDArray[np.float64]
State = TypeVar("State")
Built = TypeVar("Built", bound="System[Any]")


@dataclass
class System(Generic[State]):
    """A state with its cost, and the gradient (n,) and Gauss-Newton matrix (n, n) of the cost there.

    values (n,) are the coordinates that have bounds; free ones (pose increments) are 0 with infinite bounds.
    """

    state: State
    cost: float
    gradient: Array
    matrix: Array
    values: Array


def boxed_step(system: System[State], low: Array, high: Array, damping: float) -> Array:
    """One damped Gauss-Newton step (n,) within the box.

    Variables at a bound that the gradient pushes outwards are held. Those the step would carry outside go to
    their bound, and the others are solved again given that, a few times.
    """
    values, gradient = system.values, system.gradient
    held = ((values <= low) & (gradient > 0)) | ((values >= high) & (gradient < 0))
    step = np.zeros_like(values)
    damped = system.matrix.copy()
    damped.flat[:: len(values) + 1] = damped.diagonal() * (1 + damping) + 1e-9
    for _ in range(4):
        free, fixed = np.flatnonzero(~held), np.flatnonzero(held)
        if not len(free):
            break
        rows = damped[free]
        right = -(gradient[free] + rows[:, fixed] @ step[fixed])
        _, solution, failed = dposv(rows[:, free], right)
        if failed:
            return boxed_step(system, low, high, _more_damping(damping))
        step[free] = solution
        target = values + step
        leaving = ~held & ((target < low) | (target > high))
        if not leaving.any():
            break
        step[leaving] = np.clip(target, low, high)[leaving] - values[leaving]
        held |= leaving
    return np.clip(values + step, low, high) - values


def _more_damping(damping: float) -> float:
    """The next damping to try on a matrix that is not positive definite.

    Matrices are summed in single precision: two variables that hardly differ (depth and focal length of a far
    face) can leave them indefinite by that much.

    Raises:
        LinAlgError: the matrix is not the sum of squares at all.
    """
    if not damping < 1.0:
        raise np.linalg.LinAlgError("the normal equations are not positive definite")
    return max(10 * damping, 1e-6)


def minimise(
    build: Callable[[State], Built],
    move: Callable[[State, Array], State],
    start: State,
    low: Array,
    high: Array,
    *,
    iterations: int,
    tolerance: float = 1e-4,
    damping: float = 1e-4,
) -> Built:
    """Minimise from ``start``.

    Args:
        build: the system at a state.
        move: a state moved by a step (n,).
        start: where to begin.
        low: (n,) lower bounds of ``System.values``.
        high: (n,) upper bounds.
        iterations: most evaluations after the first.
        tolerance: stop when a step lowers the cost by less than this share.
        damping: initial Levenberg-Marquardt damping, relative to the matrix's diagonal.

    Returns:
        The best system found.
    """
    best = build(start)
    for _ in range(iterations):
        step = boxed_step(best, low, high, damping)
        tried = build(move(best.state, step))
        if not np.isfinite(tried.cost) or tried.cost > best.cost:
            damping = max(damping, 1e-3) * 8
            if damping > 1e6:
                break
            continue
        gain = best.cost - tried.cost
        best, damping = tried, max(damping / 4, 1e-7)
        if gain <= tolerance * best.cost:
            break
    return best
