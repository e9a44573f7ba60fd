"""The nearest points of a surface that faces the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.geometry.meshes import face_normals

__all__ = ["Nearest", "Surface"]

Array = npt.NDArray[Any]

CANDIDATES = 10
"""Triangles with the nearest middles that are looked at for each point."""
BLOCK = 20_000


@dataclass(frozen=True)
class Nearest:
    """For each of N points its nearest point of a surface.

    Attributes:
        face: (N,) int64 triangle, -1 where none is near that faces the same way.
        point: (N, 3); the point itself where there is none.
        distance: (N,) inf where there is none.
        at_edge: (N,) whether it lies on an open edge of the surface, beyond which the counterpart may be missing.
    """

    face: Array
    point: Array
    distance: Array
    at_edge: Array


class Surface:
    """A triangle mesh to be searched.

    Args:
        vertices: (V, 3).
        faces: (F, 3), welded.
        chosen: (F,) bool or indices, the triangles to search; default all. Those without area are left out.
    """

    def __init__(self, vertices: Array, faces: Array, chosen: Array | None = None) -> None:
        from scipy.spatial import cKDTree

        normals = face_normals(vertices, faces, unit=False)
        solid = np.linalg.norm(normals, axis=1) > 0
        use = np.zeros(len(faces), bool)
        use[slice(None) if chosen is None else chosen] = True
        self.index = np.flatnonzero(use & solid)
        self._corners = vertices[faces[self.index]]
        self._normals = normals[self.index] / np.linalg.norm(normals[self.index], axis=1, keepdims=True)
        self._open = _open_edges(faces)[self.index]
        self._tree = cKDTree(self._corners.mean(1)) if len(self.index) else None

    def nearest(self, points: Array, normals: Array | None = None, *, cosine: float = 0.5) -> Nearest:
        """The nearest surface point of each of (N, 3) points.

        Args:
            points: (N, 3).
            normals: (N, 3) unit; only triangles whose normal makes at least ``cosine`` with it count. None: all.
            cosine: of the largest angle.
        """
        count = len(points)
        face, edge = np.full(count, -1), np.zeros(count, bool)
        where, distance = points.astype(np.float64).copy(), np.full(count, np.inf)
        if self._tree is None:
            return Nearest(face, where, distance, edge)
        from trimesh.triangles import closest_point, points_to_barycentric

        number = min(CANDIDATES, len(self.index))
        for start in range(0, count, BLOCK):
            some = points[start : start + BLOCK]
            near = self._tree.query(some, k=number)[1].reshape(len(some), number)
            many = np.repeat(some, number, axis=0)
            found = closest_point(self._corners[near.ravel()], many)
            far = np.linalg.norm(found - many, axis=1).reshape(near.shape)
            if normals is not None:
                agree = np.einsum("nkc,nc->nk", self._normals[near], normals[start : start + BLOCK])
                far = np.where(agree >= cosine, far, np.inf)
            best = far.argmin(1)
            rows = np.arange(len(some))
            shortest, chosen = far[rows, best], near[rows, best]
            good = np.isfinite(shortest)
            place = np.flatnonzero(good) + start
            spot = found.reshape(*near.shape, 3)[rows, best][good]
            face[place], distance[place], where[place] = self.index[chosen[good]], shortest[good], spot
            if len(place):
                share = points_to_barycentric(self._corners[chosen[good]], spot)
                edge[place] = ((share < 1e-4) & self._open[chosen[good]]).any(1)
        return Nearest(face, where, distance, edge)


def _open_edges(faces: Array) -> Array:
    """(F, 3) bool: whether the edge opposite to each corner belongs to this triangle alone."""
    sides = np.stack([np.sort(np.delete(faces, k, axis=1), axis=1) for k in range(3)], 1).reshape(-1, 2)
    _, same, number = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    return np.asarray((number[same.ravel()] == 1).reshape(-1, 3))
