"""Smoothing over time without lag: small jitter goes, fast large moves such as blinks stay.

A bilateral filter in time (Tomasi and Manduchi 1998): each frame is the mean of its neighbours, weighted by how near
they are in time and how near in value. It is symmetric in time, so nothing lags. The value range is a few times the
usual noise, so steady noise is averaged while whatever is larger passes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LONGEST_S = 0.16
"""Standard deviation of the time window at full strength, seconds."""
_RANGE = 4.0
"""Differences of so many deviations count as noise; larger ones as motion."""


_MOST = 3.0
"""No value is moved by more than so many deviations."""


def smooth(values: Array, times: Array, strength: float, *, noise: float | Array) -> Array:
    """Smooth series over time, without lag.

    Args:
        values: (T, N) series.
        times: (T,) seconds, increasing.
        strength: 0 (off) to 1.
        noise: usual standard deviation of ``values`` when nothing moves, a number or (N,); at full strength twice that
            is taken for noise. No value is moved by more than three such deviations.

    Returns:
        (T, N); the input itself if strength is 0 or there are fewer than 3 frames.
    """
    if strength <= 0 or len(values) < 3:
        return values
    sigma = _LONGEST_S * strength
    reach = 3 * sigma
    deviation = 2 * strength * np.asarray(noise)
    spread = _RANGE * deviation
    guide = _local_mean(values, times, sigma=min(sigma, 0.035), reach=0.105)
    first = np.searchsorted(times, times - reach, "left")
    last = np.searchsorted(times, times + reach, "right")
    widest = int((last - first).max())
    total, weights = np.zeros_like(values), np.zeros_like(values)
    frames = np.arange(len(times))
    for lag in range(-widest, widest + 1):
        other = frames + lag
        inside = (other >= first) & (other < last)
        here, there = frames[inside], other[inside]
        in_time = np.exp(-(((times[there] - times[here]) / sigma) ** 2) / 2)[:, None]
        near = in_time * np.exp(-(((guide[there] - guide[here]) / spread) ** 2) / 2)
        total[here] += near * values[there]
        weights[here] += near
    change = total / weights - values
    return values + np.clip(change, -_MOST * deviation, _MOST * deviation)


def _local_mean(values: Array, times: Array, *, sigma: float, reach: float) -> Array:
    """Narrow Gaussian mean, so that the value range is judged on something less noisy than single frames."""
    first = np.searchsorted(times, times - reach, "left")
    last = np.searchsorted(times, times + reach, "right")
    widest = int((last - first).max())
    total, weights = np.zeros_like(values), np.zeros((len(times), 1))
    frames = np.arange(len(times))
    for lag in range(-widest, widest + 1):
        other = frames + lag
        inside = (other >= first) & (other < last)
        here, there = frames[inside], other[inside]
        near = np.exp(-(((times[there] - times[here]) / sigma) ** 2) / 2)[:, None]
        total[here] += near * values[there]
        weights[here] += near
    return total / weights
