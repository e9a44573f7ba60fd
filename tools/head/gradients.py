"""How identity stretches space: displacement gradients at nodes, so that expressions adapt to the head they
act on.

A displacement d drawn on the template becomes J d on a head of identity b, J = I + sum_i b_i G_i, with G_i the
gradient of identity component i near the vertex. Gradients are estimated at nodes and blended, which keeps
them smooth and small.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

NODES, BLENDED, SIGMA = 140, 6, 0.011


def spread_nodes(points: np.ndarray, count: int) -> np.ndarray:
    """(about count, 3) nodes spread over the points (M, 3), exactly symmetric in x: farthest points, then
    their mirror."""
    half = points[points[:, 0] >= 0] * [1, 1, 1]
    half[half[:, 0] < 0.003, 0] = 0
    nodes = half[np.argmax(half[:, 2])][None]
    distance = np.linalg.norm(half - nodes[0], axis=1)
    while len(nodes) < count:
        new = half[np.argmax(distance)]
        pair = np.stack([new, new * [-1, 1, 1]])[: 2 if new[0] > 0 else 1]
        for node in pair:
            distance = np.minimum(distance, np.linalg.norm(half - node, axis=1))
        nodes = np.concatenate([nodes, pair])
    return nodes


def identity_gradients(
    template: np.ndarray, basis: np.ndarray, moving: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Node gradients and their blending.

    Args:
        template: (V, 3) metres.
        basis: (I, V, 3) metres.
        moving: (V,) true where any expression acts.

    Returns:
        gradients (I, N, 3, 3), node_index (V, 6), node_weight (V, 6).
    """
    field = np.flatnonzero(moving)
    nodes = spread_nodes(template[field], NODES)
    gradients = np.zeros((len(basis), len(nodes), 3, 3))
    for n, node in enumerate(nodes):
        offset = template[field] - node
        weight = np.exp(-((np.linalg.norm(offset, axis=1) / SIGMA) ** 2) / 2)
        use = weight > 1e-3
        design = np.column_stack([np.ones(use.sum()), offset[use] / SIGMA]) * np.sqrt(weight[use])[:, None]
        ridge = np.diag([1e-6, *[0.05 * weight.sum()] * 3])
        solve = np.linalg.solve(design.T @ design + ridge, design.T * np.sqrt(weight[use]))
        # d_c(x) = ... + (x - node)_k / SIGMA * coefficient[k, c], so gradient[c, k] = coefficient / SIGMA
        coefficient = np.einsum("kv,ivc->ikc", solve[1:], basis[:, field[use]])
        gradients[:, n] = np.swapaxes(coefficient, 1, 2) / SIGMA
    distance, index = cKDTree(nodes).query(template, k=BLENDED + 1)
    # Less the weight of the first node left out: blending stays continuous, and a tie at the cut is no
    # asymmetry.
    closest = distance[:, :1] ** 2
    blend = np.exp((closest - distance**2) / (2 * SIGMA**2))
    blend = blend[:, :BLENDED] - 0.999 * blend[:, BLENDED:]
    return gradients, index[:, :BLENDED], blend / blend.sum(1, keepdims=True)
