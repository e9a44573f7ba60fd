"""What belongs together in a mesh: its connected parts (head, eyeballs, teeth), and vertices split by seams."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from omote.geometry.meshes import adjacency

__all__ = ["parts_of_mesh", "weld_vertices"]

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


def weld_vertices(vertices: Array) -> Array:
    """(V,) int64: the first vertex at each place, for files in which textures and normals split vertices."""
    same = np.unique(np.ascontiguousarray(vertices), axis=0, return_index=True, return_inverse=True)
    return np.asarray(same[1][same[2].ravel()], np.int64)
