"""Lips that stay as closed on every head as on the template: opening them is an expression, not an identity."""

from __future__ import annotations

import numpy as np

from . import makehuman as mh

LIP_LOOPS: tuple[tuple[tuple[int, int], float], ...] = (
    ((537, 7282), 0.5),
    ((523, 7264), 1.0),
    ((474, 7229), 1.0),
    ((468, 7224), 0.6),
    ((509, 7257), 0.25),
)
"""Edge loops around the mouth from inside to outside, each by two neighbouring vertices that start it at the middle of the
upper lip, and how much of the identity's change of the gap between its upper and lower half is taken away."""
LOOP_LENGTH = 38


def lip_pairs(start: tuple[int, int]) -> np.ndarray:
    """(19, 2) base-mesh vertices of a lip loop, upper and lower, from the subject's right corner to the left one or back."""
    loop = np.array(mh.edge_loop(*start))
    along = np.arange(-(LOOP_LENGTH // 4), LOOP_LENGTH // 4 + 1)
    return np.stack([loop[along], loop[(LOOP_LENGTH // 2 - along) % LOOP_LENGTH]], axis=1)


def keep_lips_closed(basis: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """(I, V, 3) the identity basis whose contact lines of the lips keep the template's gap.

    Args:
        basis: (I, V, 3) metres.
        selected: (V,) base-mesh index of each vertex.
    """
    position = {int(v): i for i, v in enumerate(selected)}
    out = basis.copy()
    for start, amount in LIP_LOOPS:
        upper, lower = np.array([[position[int(v)] for v in pair] for pair in lip_pairs(start)]).T
        half = amount * (basis[:, upper] - basis[:, lower]) / 2
        out[:, upper] -= half
        out[:, lower] += half
    return out
