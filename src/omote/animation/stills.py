"""Several frames in one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
_GAP = 4


def strip_of(frames: Sequence[tuple[Picture, float]]) -> Picture:
    """Frames side by side on white, each with its time in its corner.

    Args:
        frames: (picture (H, W, 3) uint8, seconds), all of one size.

    Returns:
        (H, N W + gaps, 3) uint8.
    """
    from omote.render.overlay_panels import caption

    first = frames[0][0]
    gap = np.full((first.shape[0], _GAP, 3), 255, np.uint8)
    parts = []
    for picture, time in frames:
        parts += [gap, caption(np.ascontiguousarray(picture), f"{time:.2f} s")]
    return np.concatenate(parts[1:], axis=1)
