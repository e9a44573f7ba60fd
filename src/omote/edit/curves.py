"""How a value moves over time: eases, pulses, and a cubic through keys that does not overshoot. Plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def ease(share: npt.ArrayLike) -> Array:
    """0..1 to 0..1 with rest at both ends: the minimum-jerk curve of reaching movements (Flash and Hogan 1985)."""
    s = np.clip(np.asarray(share, np.float64), 0, 1)
    return np.asarray(s**3 * (10 - 15 * s + 6 * s**2))


def pulse(times: Array, start: float, onset: float, apex: float, offset: float) -> Array:
    """(T,) 0 before ``start``, up to 1 in ``onset`` seconds, held for ``apex``, back to 0 in ``offset`` seconds."""
    up = ease((times - start) / max(onset, 1e-6))
    down = ease((times - start - onset - apex) / max(offset, 1e-6))
    return np.asarray(up - down)


def fitted(
    duration: float, onset: float, offset: float, lead: float = 0.15
) -> tuple[float, float, float, float]:
    """(start, onset, apex, offset) seconds of a pulse that fills a take and leaves ``lead`` seconds at either end.

    Where the take is too short for them, all shrink alike and the apex keeps a tenth of it.
    """
    wanted = onset + offset + 2 * lead
    scale = min(1.0, 0.9 * duration / wanted)
    apex = duration - scale * wanted
    return scale * lead, scale * onset, apex, scale * offset


def gate(times: Array, seconds: float = 0.3) -> Array:
    """(T,) 1 within a take, easing to exactly 0 at its first and last frame."""
    span = float(times[-1] - times[0])
    room = max(min(seconds, span / 3), 1e-6)
    return ease((times - times[0]) / room) * ease((times[-1] - times) / room)


def monotone_cubic(keys: Array, values: Array, times: Array) -> Array:
    """A smooth curve through keys that never leaves the range of the two keys around it; level at both ends.

    Source: Fritsch and Butland 1984 (the harmonic mean of the two slopes; 0 where they differ in sign).

    Args:
        keys: (K,) seconds, strictly increasing.
        values: (K, C).
        times: (T,) seconds; before the first and after the last key that key is held.

    Returns:
        (T, C).
    """
    values = np.asarray(values, np.float64)
    if len(keys) == 1:
        return np.repeat(values, len(times), 0)
    step = np.diff(keys)[:, None]
    slope = np.diff(values, axis=0) / step
    tangent = np.zeros_like(values)
    before, after = slope[:-1], slope[1:]
    wide = step[:-1] + 2 * step[1:], 2 * step[:-1] + step[1:]
    same = before * after > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (wide[0] + wide[1]) / (wide[1] / before + wide[0] / after)
    tangent[1:-1] = np.where(same, mean, 0.0)
    i = np.clip(np.searchsorted(keys, times, side="right") - 1, 0, len(keys) - 2)
    h = step[i]
    s = np.clip((times - keys[i])[:, None] / h, 0, 1)
    rise = s * s * (3 - 2 * s)
    first, last = s * (1 - s) ** 2, -s * s * (1 - s)
    return np.asarray(
        (1 - rise) * values[i] + rise * values[i + 1] + h * (first * tangent[i] + last * tangent[i + 1])
    )
