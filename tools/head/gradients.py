"""How identity stretches space: displacement gradients at nodes, so that expressions adapt to the head they act on.

A displacement d drawn on the template becomes J d on a head of identity b, J = I + sum_i b_i G_i, with G_i the gradient of
identity component i near the vertex. Gradients are estimated at nodes and blended, which keeps them smooth and small.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

NODES, BLENDED, SIGMA = 140, 6, 0.011


def farthest_points(points: np.ndarray, count: int) -> np.ndarray:
    """(count,) indices spread over the points (M, 3)."""
    chosen = [int(np.argmax(points[:, 2]))]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def identity_gradients(template: np.ndarray, basis: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Node gradients and their blending.

    Args:
        template: (V, 3) metres.
        basis: (I, V, 3) metres.
        moving: (V,) true where any expression acts.

    Returns:
        gradients (I, N, 3, 3), node_index (V, 6), node_weight (V, 6).
    """
    field = np.flatnonzero(moving)
    nodes = template[field[farthest_points(template[field], NODES)]]
    gradients = np.zeros((len(basis), NODES, 3, 3))
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
    distance, index = cKDTree(nodes).query(template, k=BLENDED)
    blend = np.exp(-((distance / SIGMA) ** 2) / 2) + 1e-12
    return gradients, index, blend / blend.sum(1, keepdims=True)
