"""Whether a rig is the same in a mirror: only then may pictures of it be mirrored, and its controls with them."""

from __future__ import annotations

import torch

from omote.rigs.protocol import Rig
from omote.rigs.shapes import listed

_ALIKE = 0.5
"""Cosine between mirrored motion and the motion of mirrored controls from which they count as one: about 1 of pairs, 0
of a control on one side whose partner is missing."""
_STILL = 1e-5  # metres, root mean square: what moves less moves nothing
_AT_ONCE = 16


@torch.no_grad()
def asymmetric_controls(rig: Rig) -> tuple[str, ...]:
    """The controls that, mirrored by name, do not move the face as in a mirror.

    Each is moved to the end of its range that lies farther, and its motion compared with that of its partner (its own,
    with its sign in a mirror) at the nearest vertices across the middle of the face.

    A rig that says how its identity is mirrored is symmetric as it is made.

    Args:
        rig: any; its face looks along z.

    Returns:
        Their names; none for a symmetric rig.
    """
    from scipy.spatial import KDTree

    if hasattr(rig, "identity_mirror"):
        return ()
    space = rig.space
    neutral = _surfaces(rig, torch.zeros(1, len(space)))[0]
    flip = neutral.new_tensor([-1, 1, 1])
    across = neutral * flip
    across[:, 0] += neutral[:, 0].amin() + neutral[:, 0].amax()
    nearest = torch.from_numpy(KDTree(neutral.numpy()).query(across.numpy())[1])
    ends = [c.high if c.high >= -c.low else c.low for c in space.controls]
    values = torch.diag(torch.tensor(ends))
    mirrored = torch.from_numpy(space.mirror(values.numpy()))
    found = []
    for first in range(0, len(space), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        motion, other = (_surfaces(rig, rows[part]) - neutral for rows in (values, mirrored))
        alike = ((motion * flip) * other[:, nearest]).mean((1, 2))
        one, two = (moved.square().mean((1, 2)).sqrt() for moved in (motion, other))
        still = (one < _STILL) & (two < _STILL)
        found += [
            name
            for name, good in zip(space.names[part], still | (alike > _ALIKE * one * two), strict=True)
            if not good
        ]
    return tuple(found)


def _surfaces(rig: Rig, controls: torch.Tensor) -> torch.Tensor:
    """(N, V, 3) of controls (N, C) on the neutral identity."""
    return rig(controls, torch.zeros(len(controls), len(rig.identity_space))).float().cpu()


def symmetry_note(names: tuple[str, ...]) -> str:
    """One sentence about a rig whose controls ``names`` are not symmetric."""
    verb = "moves" if len(names) == 1 else "move"
    return f"{listed(names)} {verb} no face as in a mirror: its pictures are not mirrored"
