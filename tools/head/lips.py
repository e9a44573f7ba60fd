"""Lips that stay as closed on every head as on the template: opening them is an expression, not an identity."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from . import makehuman as mh

LIP_LOOPS: tuple[tuple[tuple[int, int], float], ...] = (
    ((537, 7282), 0.5),
    ((523, 7264), 1.0),
    ((474, 7229), 1.0),
    ((468, 7224), 0.6),
    ((509, 7257), 0.25),
)
"""Edge loops around the mouth from inside to outside, each by two neighbouring vertices that start it at the
middle of the upper lip, and how much of the identity's change of the gap between its upper and lower half is
taken away."""
LOOP_LENGTH = 38


def lip_pairs(start: tuple[int, int]) -> np.ndarray:
    """(19, 2) base-mesh vertices of a lip loop, upper and lower, from the subject's right corner to the left
    one or back."""
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


CONTACT_LOOPS = ((474, 7229), (468, 7224))
SPREAD = 0.0045
"""Metres over which a contact line takes its lip along."""


def separation(template: np.ndarray, delta: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """(V, 3) what keeps the lips from passing through each other when ``delta`` (V, 3) is added to the
    template, metres.

    Both lips give way by half of the overlap of their contact lines (vertically), fading over SPREAD.
    """
    position = {int(v): i for i, v in enumerate(selected)}
    pairs = [
        np.array([[position[int(v)] for v in pair] for pair in lip_pairs(start)]) for start in CONTACT_LOOPS
    ]
    moved = template + delta
    overlap = np.max([moved[p[:, 1], 1] - moved[p[:, 0], 1] for p in pairs], axis=0)
    overlap = np.maximum(np.convolve(np.pad(np.maximum(overlap, 0), 1), [0.25, 0.5, 0.25], "valid"), overlap)
    overlap = np.maximum(overlap, 0) * np.exp(
        -((template[pairs[0][:, 0], 0] / 0.018) ** 4)
    )  # the corners stay together
    out = np.zeros_like(template)
    reach = {}
    for lip in (0, 1):
        points = np.concatenate([template[p[:, lip]] for p in pairs])
        distance, nearest = cKDTree(points).query(template, k=4)
        weight = 1 / np.maximum(distance, 1e-5) ** 2
        amount = (weight * overlap[nearest % len(overlap)]).sum(1) / weight.sum(1)
        reach[lip] = (distance[:, 0], amount * np.exp(-((distance[:, 0] / SPREAD) ** 2)))
    upper = reach[0][0] < reach[1][0]
    out[:, 1] = np.where(upper, reach[0][1], -reach[1][1]) / 2
    return out
