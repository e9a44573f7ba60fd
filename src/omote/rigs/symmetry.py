"""Whether a rig is the same in a mirror: only then may pictures of it be mirrored, and its controls with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from omote.controls import ControlSpace
from omote.rigs.protocol import Rig
from omote.rigs.reach import control_ends
from omote.rigs.shapes import listed

Array = npt.NDArray[Any]

_ALIKE = 0.5
"""Cosine between mirrored motion and the motion of mirrored controls from which they count as one: about 1 of pairs, 0
of a control on one side whose partner is missing."""
_STILL = 1e-5  # metres, root mean square: what moves less moves nothing


def asymmetric_controls(rig: Rig) -> tuple[str, ...]:
    """The controls that, mirrored by name, do not move the face as in a mirror; see `unlike_in_a_mirror`.

    A rig that says how its identity is mirrored is symmetric as it is made.
    """
    return () if hasattr(rig, "identity_mirror") else unlike_in_a_mirror(rig.space, *control_ends(rig))


def can_be_mirrored(rig: Rig) -> bool:
    """Whether a rig's controls are symmetric, and it has no identity or says how its identity is mirrored."""
    known = hasattr(rig, "identity_mirror") or not rig.identity_space
    return known and not asymmetric_controls(rig)


def unlike_in_a_mirror(space: ControlSpace, neutral: Array, ends: Array) -> tuple[str, ...]:
    """The controls whose motion in a mirror is not that of their partner, or their own with its sign in a mirror.

    Motions are compared at the nearest vertices across the middle of the face, which looks along z.

    Args:
        space: of C controls.
        neutral: (V, 3).
        ends: (C, 2, V, 3) with each control at its high and at its low end (`omote.rigs.reach.control_ends`).

    Returns:
        Their names; none for a symmetric rig.
    """
    from scipy.spatial import KDTree

    flip = np.array([-1, 1, 1], np.float32)
    across = neutral * flip
    across[:, 0] += neutral[:, 0].min() + neutral[:, 0].max()
    nearest = KDTree(neutral).query(across)[1]
    found = []
    for index, control in enumerate(space.controls):
        end = int(control.high < -control.low)  # the one that lies farther
        sign = space.mirror_signs[index]
        motion = (ends[index, end] - neutral) * flip
        other = (ends[space.mirror_indices[index], end if sign > 0 else 1 - end] - neutral)[nearest]
        sizes = np.array([np.sqrt(np.square(part).mean()) for part in (motion, other)])
        if (sizes > _STILL).any() and (motion * other).mean() <= _ALIKE * sizes.prod():
            found.append(control.name)
    return tuple(found)


def symmetry_note(names: tuple[str, ...]) -> str:
    """One sentence about a rig whose controls ``names`` are not symmetric."""
    verb = "moves" if len(names) == 1 else "move"
    return f"{listed(names)} {verb} no face as in a mirror: its pictures are not mirrored"
