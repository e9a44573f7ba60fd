"""Another topology of the same surface."""

from __future__ import annotations

import numpy as np

from omote.geometry.closest import Surface
from omote.geometry.meshes import vertex_normals


def flip_edges(faces: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The triangles with about ``share`` of the inner edges turned to the other diagonal of their two triangles."""
    sides: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for triangle, corners in enumerate(faces.tolist()):
        for k in range(3):
            sides.setdefault(tuple(sorted((corners[k], corners[(k + 1) % 3]))), []).append((triangle, k))
    inner = [side for side, users in sides.items() if len(users) == 2]
    random.shuffle(inner)
    result, touched, known = faces.copy(), set(), set(sides)
    for side in inner[: int(share * len(inner))]:
        (one, k), (two, j) = sides[side]
        a, b, c, d = *(faces[one][(k + i) % 3] for i in range(3)), faces[two][(j + 2) % 3]
        other = (min(c, d), max(c, d))
        if c == d or other in known or {one, two} & touched:
            continue
        result[one], result[two] = (a, d, c), (d, b, c)
        touched |= {one, two}
        known.add(other)
    return result


def slide(
    vertices: np.ndarray, faces: np.ndarray, surface: Surface, share: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices moved by ``share`` of an edge along the surface they lie on, and the triangle each then lies on."""
    edge = float(np.median(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1)))
    normals = vertex_normals(vertices, faces)
    there = surface.nearest(vertices, normals, cosine=-1)
    moved = surface.nearest(vertices + random.normal(0, share * edge, vertices.shape), normals, cosine=0.7)
    good = moved.face >= 0
    return np.where(good[:, None], moved.point, there.point), np.where(good, moved.face, there.face)
