"""Blinks where a take has none: when they come, and how a lid moves in one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.controls import FACS102
from omote.errors import InputError

Array = NDArray[Any]

CLOSE, HOLD, OPEN = 0.09, 0.04, 0.18
"""Seconds a lid takes to close, stays closed and takes to open. Spontaneous blinks close in 80-100 ms and open about
twice as slowly (VanderWerf et al. 2003, "Eyelid movements", J. Neurophysiology 89)."""
REST = 0.7
"""Least seconds from one blink's end to the next one's start."""
_SHUT = 0.35
"""A lid beyond this is closed already: no blink begins or runs there."""
LIDS = np.array([FACS102.index("lid_close_L"), FACS102.index("lid_close_R")])


def blink_profile(seconds: Array, hold: float = HOLD) -> Array:
    """How far the lids are closed, 0..1, ``seconds`` after a blink begins; 0 before and after it."""
    t = np.asarray(seconds, np.float64)
    down = _smoothstep(t / CLOSE)
    up = _smoothstep(np.clip((t - CLOSE - hold) / OPEN, 0, 1) ** 0.8)  # fast off the closure, slow to rest
    return np.asarray(down * (1 - up))


def blink_starts(duration: float, per_minute: float, rng: np.random.Generator, hold: float = HOLD) -> Array:
    """(N,) seconds at which blinks begin in ``duration`` seconds: a Poisson process with a dead time.

    Args:
        duration: seconds; a blink that would not end within them is left out.
        per_minute: mean rate, above 0; people at rest blink 10 to 20 times a minute. Rates that the dead time does not
            allow are met as nearly as it does.
        rng: where chance comes from.
        hold: seconds a lid stays closed.
    """
    length = CLOSE + hold + OPEN
    dead = length + REST
    mean = max(60.0 / per_minute - dead, 0.0)
    most = int(duration / dead) + 2
    waits = rng.exponential(1.0, most) * mean + dead
    waits[0] = waits[0] - dead + 0.25  # the take need not begin just after a blink
    starts = np.cumsum(waits)
    return np.asarray(starts[starts + length <= duration])


def insert_blinks(controls: Array, times: Array, per_minute: float, seed: int = 0) -> Array:
    """Controls with blinks added to both lids; each lid keeps what closes it further.

    Args:
        controls: (T, 102) of FACS102.
        times: (T,) seconds.
        per_minute: mean rate, 0 or above. Blinks that would meet an eye that is closed already do not happen.
        seed: the same seed gives the same blinks.

    Returns:
        (T, 102), a copy.

    Raises:
        InputError: the rate is negative or not a number.
    """
    if not 0 <= per_minute < np.inf:
        raise InputError(f"must be 0 blinks a minute or more, got {per_minute}", where="blinks")
    result = np.array(controls)
    if per_minute == 0 or len(times) < 2:
        return result
    hold = max(HOLD, 1.05 * float(np.median(np.diff(times))))  # so that one frame shows closed lids
    shut = np.any(result[:, LIDS] > _SHUT, axis=1)
    rng = np.random.default_rng([seed, 0xB11])
    for start in blink_starts(float(times[-1] - times[0]), per_minute, rng, hold) + times[0]:
        first, last = np.searchsorted(times, [start - 0.1, start + CLOSE + hold + OPEN + 0.1])
        if shut[first:last].any():
            continue
        lids = blink_profile(times[first:last] - start, hold)[:, None]
        result[first:last, LIDS] = np.maximum(result[first:last, LIDS], lids)
    return result


def _smoothstep(share: Array) -> Array:
    s = np.clip(share, 0, 1)
    return np.asarray(s * s * (3 - 2 * s))
