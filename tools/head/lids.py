"""Eyelids that close exactly: a linear operator that moves paired rim vertices onto each other.

For any neutral or expression field x (V, 3), ``closure[side] @ x`` is the displacement that brings the upper
rim of that field onto its lower rim. Applied to the neutral head it is the blink; applied to another shape it is the
correction which keeps the blink exact while that shape acts.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from . import makehuman as mh
from .cut import EYE_VERTICES, lid_loops

LOWER_SHARE = 0.14
"""How far up from the lower lid the lids meet, as a share of the opening."""

UPPER = np.array([*range(21, 28), *range(7)])
LOWER = (13 - UPPER) % 28


def _add(
    entries: list[tuple[int, int, float]], vertex: int, pair: np.ndarray, share: float, weight: float
) -> None:
    """Let vertex move by weight * share * (partner - own)."""
    entries += [(vertex, int(pair[1]), weight * share), (vertex, int(pair[0]), -weight * share)]


def closure(
    template: np.ndarray, selected: np.ndarray, lash: np.ndarray, blink: dict[str, np.ndarray]
) -> dict[str, csr_matrix]:
    """(V, V) sparse operator for each side.

    Args:
        template: (V, 3) metres.
        selected: (V,) base-mesh index of each vertex.
        lash: (V,) true on lash vertices.
        blink: side -> (V, 3) the sculpted blink, whose fading over the lid skin is kept.
    """
    position = {int(v): i for i, v in enumerate(selected)}
    result = {}
    for side, eye in EYE_VERTICES.items():
        loops = [np.array([position[int(v)] for v in loop[side]]) for loop in lid_loops()]
        rim = np.concatenate([np.stack([loop[UPPER], loop[LOWER]], axis=1) for loop in loops])
        outer = np.stack([loops[-1][UPPER], loops[-1][LOWER]], axis=1)
        inner = np.stack([loops[0][UPPER], loops[0][LOWER]], axis=1)
        entries: list[tuple[int, int, float]] = []
        for upper, lower in rim:
            _add(entries, upper, np.array([upper, lower]), 1 - LOWER_SHARE, 1.0)
            _add(entries, lower, np.array([lower, upper]), LOWER_SHARE, 1.0)
        done = set(rim.ravel().tolist())
        centre = template[[position[v] for v in range(eye.start, eye.stop)]].mean(0)
        near = np.linalg.norm(template - centre, axis=1) < 0.034
        own_side = (template[:, 0] > 0) == (side == "L")
        is_eye = np.isin(selected, np.r_[EYE_VERTICES["L"], EYE_VERTICES["R"]])
        rim_motion = np.linalg.norm(blink[side][outer[:, 0]], axis=1)
        inside = (
            np.linalg.norm(template - centre, axis=1)
            < np.linalg.norm(template[inner[:, 0]] - centre, axis=1).max()
        )
        outer_tree, inner_tree = cKDTree(template[outer.ravel()]), cKDTree(template[inner.ravel()])
        for v in np.flatnonzero(near & own_side & ~is_eye):
            if int(v) in done:
                continue
            behind = inside[v] and not lash[v]
            pairs, tree = (inner, inner_tree) if behind else (outer, outer_tree)
            distance, nearest = tree.query(template[v], k=4)
            on_lower = int(nearest[0]) % 2 == 1
            along = [int(n) for n in nearest if int(n) % 2 == on_lower]
            weights = 1 / np.maximum(distance[[int(n) % 2 == on_lower for n in nearest]], 1e-5) ** 2
            weights /= weights.sum()
            if lash[v]:
                fade = 1.0
            elif behind:
                fade = float(np.exp(-((distance[0] / 0.004) ** 2)))
            elif on_lower:
                fade = float(np.exp(-((distance[0] / 0.005) ** 2)))
            else:
                here = np.linalg.norm(blink[side][v])
                fade = float(np.clip(here / max(1e-6, weights @ rim_motion[[n // 2 for n in along]]), 0, 1))
            if fade < 0.01:
                continue
            for n, weight in zip(along, weights, strict=True):
                pair = pairs[n // 2][::-1] if on_lower else pairs[n // 2]
                _add(
                    entries, int(v), pair, LOWER_SHARE if on_lower else 1 - LOWER_SHARE, fade * float(weight)
                )
        rows, columns, values = zip(*entries, strict=True)
        size = len(selected)
        result[side] = csr_matrix((values, (rows, columns)), shape=(size, size))
    return result


def bind_lashes(template: np.ndarray, selected: np.ndarray, lash: np.ndarray) -> np.ndarray:
    """(V,) index of the rim vertex each lash vertex hangs on (every vertex of one hair card row the same),
    else itself."""
    position = {int(v): i for i, v in enumerate(selected)}
    bound = np.arange(len(selected))
    rims = np.array([position[int(v)] for side in ("L", "R") for v in lid_loops()[-1][side]])
    _, nearest = cKDTree(template[rims]).query(template[lash])
    bound[np.flatnonzero(lash)] = rims[nearest]
    return bound


def lid_rims(selected: np.ndarray) -> dict[str, np.ndarray]:
    """side -> (3, 14, 2) vertex indices: loop (inner to outer), pair, (upper, lower)."""
    position = {int(v): i for i, v in enumerate(selected)}
    return {
        side: np.stack(
            [
                np.stack(
                    [
                        [position[int(v)] for v in loop[side][UPPER]],
                        [position[int(v)] for v in loop[side][LOWER]],
                    ],
                    axis=1,
                )
                for loop in lid_loops()
            ]
        )
        for side in EYE_VERTICES
    }


def sculpted_blink(selected: np.ndarray, scale: float) -> dict[str, np.ndarray]:
    return {"L": mh.arkit("eyeBlinkLeft")[selected] * scale, "R": mh.arkit("eyeBlinkRight")[selected] * scale}
