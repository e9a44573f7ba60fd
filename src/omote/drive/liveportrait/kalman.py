"""Smoothing of a sequence of parameters as a random walk: a Kalman filter forwards, then backwards."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from omote.errors import InputError

PROCESS_VARIANCE = 1e-5
"""Of one step of the walk, as published."""
OBSERVATION_VARIANCE = 3e-7
"""Published default: a frame weighs 0.972 against its past, so hardly anything is smoothed."""
_START_VARIANCE = 1.0


def smooth(
    sequence: Tensor,
    observation_variance: float = OBSERVATION_VARIANCE,
    process_variance: float = PROCESS_VARIANCE,
) -> Tensor:
    """Zero-phase smoothing of each scalar over time, of the same shape and type.

    The forward filter with the Rauch-Tung-Striebel backward pass gives the most likely walk given all samples, which
    is the solution of one tridiagonal system; that is what is solved, for all scalars at once and in float64.

    Args:
        sequence: (T, ...), T >= 1. The walk's start is expected at the first sample, with variance 1.
        observation_variance: of a sample about the walk, >= 0; larger is smoother.
        process_variance: of one step of the walk, > 0.

    Raises:
        InputError: an empty sequence, values that are not finite, or variances out of range.
    """
    from scipy.linalg import solveh_banded

    if not (0 <= observation_variance < math.inf and 0 < process_variance < math.inf):
        what = f"got observation variance {observation_variance} and process variance {process_variance}"
        raise InputError(what, where="smoothing", remedy="Give finite ones, at least 0 and above 0.")
    if not len(sequence) or not bool(torch.isfinite(sequence).all()):
        raise InputError("the sequence is empty or has values that are not finite", where="smoothing")
    count = len(sequence)
    if count == 1:
        return sequence.detach().clone()
    samples = sequence.detach().reshape(count, -1).cpu().double().numpy()
    # Normal equations of samples, steps and the start, all multiplied by the observation variance.
    coupling, start = observation_variance / process_variance, observation_variance / _START_VARIANCE
    neighbours = np.full(count, 2.0)
    neighbours[0] -= 1
    neighbours[-1] -= 1
    bands = np.stack([np.full(count, -coupling), 1 + coupling * neighbours])
    bands[1, 0] += start
    right = samples.copy()
    right[0] *= 1 + start
    walk = solveh_banded(bands, right)
    return torch.from_numpy(walk).to(sequence).reshape(sequence.shape)
