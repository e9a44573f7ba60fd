"""The connected parts of a mesh: head, eyeballs, teeth."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from omote.geometry.meshes import adjacency

__all__ = ["parts_of_mesh"]

Array = npt.NDArray[Any]


def parts_of_mesh(faces: Array, count: int) -> Array:
    """(count,) int64: the connected part of each vertex, the largest first; -1 where no face touches it."""
    from scipy.sparse.csgraph import connected_components

    labels = connected_components(adjacency(faces, count), directed=False)[1]
    used = np.zeros(count, bool)
    used[faces] = True
    sizes = np.bincount(labels[used], minlength=labels.max() + 1)
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.where(used, rank[labels], -1)
