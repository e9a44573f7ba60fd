"""Smoothing over time without lag, for times of any spacing; rotations stay rotations.

The smoothed sequence x of samples y minimises ``integral (x - y)^2 + tau^4 (x'')^2`` (Whittaker 1923, uneven times).
It passes a frequency f with the factor ``1 / (1 + (2 pi f tau)^4)``: movements slower than tau are left as they are,
steady ones exactly, and noise from frame to frame goes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, project_to_so3
from omote.models.liveportrait.keypoints import Motion

Array = NDArray[Any]

EXPRESSION_TAU, HEAD_TAU, SCALE_TAU = 0.04, 0.1, 0.6
"""Time constants in seconds at full strength: lips and lids are fast, heads slow, and their size hardly changes."""
CALM = 2.0
"""How many times slower the head of the "expression-friendly" option is."""


def smooth_over_time(values: Array, times: Array, tau: float, cuts: tuple[int, ...] = ()) -> Array:
    """(T, N) float64: the values smoothed along time, each shot for itself.

    Args:
        values: (T, N).
        times: (T,) seconds, strictly increasing.
        tau: time constant, seconds; 0 changes nothing.
        cuts: frames that begin a new shot.
    """
    smoothed = np.array(values, np.float64)
    if tau > 0:
        for start, end in pairwise((0, *cuts, len(times))):
            if end - start > 2:
                smoothed[start:end] = _whittaker(smoothed[start:end], np.asarray(times[start:end]), tau)
    return smoothed


def _whittaker(values: Array, times: Array, tau: float) -> Array:
    from scipy.linalg import solveh_banded

    unit = float(np.median(np.diff(times)))
    steps = np.diff(times) / unit
    before, after = steps[:-1], steps[1:]
    both = before + after
    left, right = 2 / (before * both), 2 / (after * both)  # of the second divided difference
    middle = -(left + right)
    strength = (tau / unit) ** 4 * both / 2
    weight = np.concatenate([steps[:1], both, steps[-1:]]) / 2
    bands = np.zeros((3, len(times)))  # upper form: two diagonals above, then the main one
    bands[2] = weight
    bands[2, :-2] += strength * left**2
    bands[2, 1:-1] += strength * middle**2
    bands[2, 2:] += strength * right**2
    bands[1, 1:-1] += strength * left * middle
    bands[1, 2:] += strength * middle * right
    bands[0, 2:] = strength * left * right
    solved: Array = solveh_banded(bands, weight[:, None] * values)
    return solved


def smooth_rotations(rotation: Tensor, times: Array, tau: float, cuts: tuple[int, ...] = ()) -> Tensor:
    """(T, 3, 3) rotations smoothed as turns away from the mean of their shot; orthonormal to rounding."""
    if tau <= 0 or len(rotation) < 3:
        return rotation
    matrices = rotation.double().numpy()
    made = matrices.copy()
    for start, end in pairwise((0, *cuts, len(times))):
        middle = project_to_so3(matrices[start:end].mean(0))
        turns = matrix_to_axis_angle(middle.T @ matrices[start:end])
        turns = smooth_over_time(turns, times[start:end], tau)
        made[start:end] = middle @ axis_angle_to_matrix(turns)
    return torch.from_numpy(made).to(rotation)


def smooth_motion(
    motion: Motion,
    times: Array,
    strength: float,
    *,
    cuts: tuple[int, ...] = (),
    lip: Tensor | None = None,
    calm: bool = False,
) -> Motion:
    """A motion without jitter, whose head does not grow and shrink with its mouth.

    Args:
        motion: T frames.
        times: (T,) seconds.
        strength: 0..1; 0 changes nothing.
        cuts: frames that begin a new shot.
        lip: (T, 1) close ratios, if they are known; what of the size follows them is taken out.
        calm: move the head more slowly (`CALM`).
    """
    if strength <= 0 or len(motion) < 3:
        return motion
    head = HEAD_TAU * strength * (CALM if calm else 1.0)

    def smoothed(values: Tensor, tau: float) -> Tensor:
        flat = values.reshape(len(values), -1).double().numpy()
        return torch.from_numpy(smooth_over_time(flat, times, tau, cuts)).to(values).reshape(values.shape)

    size = motion.scale
    if lip is not None:
        size = without_mouth(size, lip, cuts)
    return replace(
        motion,
        rotation=smooth_rotations(motion.rotation, times, head, cuts),
        t=smoothed(motion.t, head),
        scale=smoothed(size, SCALE_TAU * strength),
        exp=smoothed(motion.exp, EXPRESSION_TAU * strength),
    )


def without_mouth(size: Tensor, lip: Tensor, cuts: tuple[int, ...] = ()) -> Tensor:
    """(T, 1) sizes less what follows the opening of the mouth.

    The motion extractor's size is measured from the whole face, which grows when the jaw drops: users see heads that
    shrink as mouths open. The changes from frame to frame are regressed on those of the lips, so that a slow approach
    to the camera is not taken for it.
    """
    made = size.clone()
    for start, end in pairwise((0, *cuts, len(size))):
        rows, opening = size[start:end].double(), lip[start:end].to(size).double()
        change = opening.diff(dim=0)
        power = float((change**2).sum())
        if power > 1e-8:
            share = float((change * rows.diff(dim=0)).sum()) / power
            made[start:end] = (rows - share * (opening - opening.median())).to(size)
    return made
