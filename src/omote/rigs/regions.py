"""Which vertices of a rig are its face."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from omote.rigs.protocol import Rig
from omote.rigs.reach import control_ends

Array = npt.NDArray[Any]

_SHARE = 0.1  # of a control's largest movement, from which a vertex counts as moved by it
_MOST = 0.5  # of what any control moves; where two controls share less, all of it is the face
_WHOLE = 0.8  # of all vertices; a control that moves more moves the head, not the face


def face_region(rig: Rig) -> Array:
    """(V,) bool: what at least two controls move (where that is little: one), heads that turn left aside.

    On a rig of a whole body it is the face; on a head it is the face without skull, neck and most of the ears.
    """
    neutral, ends = control_ends(rig)
    counts = np.zeros(len(neutral), np.int64)
    for both in ends:
        far = np.linalg.norm(both - neutral, axis=2).max(0)
        moved = far > max(_SHARE * float(far.max()), 1e-6)
        if moved.mean() < _WHOLE:
            counts += moved
    once, twice = counts >= 1, counts >= 2
    if twice.sum() > _MOST * once.sum():
        return np.asarray(twice)
    if once.sum() > 3:
        return np.asarray(once)
    return np.ones(len(neutral), bool)
