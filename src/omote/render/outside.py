"""Which of a mesh can be seen from outside: skin, teeth behind open lips, but not the back of the mouth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.geometry.meshes import face_normals
from omote.performance import Camera

Array = npt.NDArray[Any]

SIZE = 320
DIRECTIONS = 24
_FAR = 8.0  # of the camera, in half sizes of the mesh: nearly parallel rays


def outside_vertices(vertices: Array, faces: Array, weld: Array | None = None) -> Array:
    """(V,) bool: corners of the triangles that are seen from 24 sides all around, and of those next to them.

    Args:
        vertices: (V, 3), any unit.
        faces: (F, 3), counter-clockwise seen from outside.
        weld: (V,) canonical vertices, so that both sides of a seam are alike.
    """
    from omote.render.scene import render_mesh

    middle = (vertices.min(0) + vertices.max(0)) / 2
    half = max(float(np.linalg.norm(vertices - middle, axis=1).max()), 1e-12)
    points = ((vertices - middle) / half).astype(np.float32)
    camera = Camera(focal=0.49 * SIZE * _FAR, principal=(SIZE / 2, SIZE / 2), size=(SIZE, SIZE))
    seen = np.zeros(len(vertices), bool)
    joined = faces if weld is None else weld[faces]
    normals = face_normals(points, faces, unit=False)
    for index in range(DIRECTIONS):
        turn = _look(index)
        placed = points @ turn.T
        placed[:, 2] -= _FAR
        drawn = render_mesh(
            np.ascontiguousarray(placed), faces, camera, albedo=(0.5, 0.5, 0.5), weld=weld, supersample=1
        )
        ids = np.unique(np.asarray(drawn.triangle_id))
        ids = ids[ids >= 0]
        seen[joined[ids[normals[ids] @ turn[2] > 0]]] = True  # backs are the inside of a head open below
    touched = seen[joined].any(1)  # triangles smaller than a pixel lie between those that were hit
    seen[joined[touched]] = True
    return seen if weld is None else np.asarray(seen[weld])


def _look(index: int) -> Array:
    """(3, 3) float32: the world to a camera at point ``index`` of a Fibonacci sphere."""
    height = 1 - 2 * (index + 0.5) / DIRECTIONS
    turn = index * math.pi * (3 - math.sqrt(5))
    ring = math.sqrt(1 - height * height)
    back = np.array([ring * math.cos(turn), height, ring * math.sin(turn)])
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back]).astype(np.float32)
