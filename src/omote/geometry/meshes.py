"""Triangle meshes: normals, edges, subdivision, Laplacians, volume.

V vertices, F faces (F, 3) of vertex indices, counter-clockwise seen from outside. A mesh with UV seams has
split vertices; ``weld`` (V,) holds for each the index of its canonical vertex, and ``weld[faces]`` is the
closed surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "Subdivision",
    "adjacency",
    "cotangent_laplacian",
    "edges",
    "face_normals",
    "signed_volume",
    "subdivide",
    "uniform_laplacian",
    "vertex_normals",
]

Array = npt.NDArray[Any]
Points = Any  # a numpy array, which gives an array, or a torch tensor, which gives a differentiable tensor


def face_normals(vertices: Points, faces: Any, *, unit: bool = True) -> Points:
    """(..., V, 3) to (..., F, 3) outward normals, unit or as long as twice the triangle's area."""
    v = vertices
    a, b, c = (v[..., faces[:, i], :] for i in range(3))
    if isinstance(v, np.ndarray):
        normals = np.cross(b - a, c - a)
        return _unit_array(normals) if unit else normals
    import torch

    normal = torch.linalg.cross(b - a, c - a)
    return _unit_tensor(normal) if unit else normal


def vertex_normals(vertices: Points, faces: Any, weld: Any = None) -> Points:
    """(..., V, 3) to (..., V, 3) unit normals, the faces around a vertex weighted by their area.

    Args:
        vertices: (..., V, 3) metres.
        faces: (F, 3) integers.
        weld: (V,) canonical vertices, so that both sides of a UV seam get one normal.

    Returns:
        Unit normals; +z where no face of any area touches a vertex.
    """
    v = vertices
    joined = faces if weld is None else weld[faces]
    normals: Any = face_normals(v, faces, unit=False)
    if isinstance(v, np.ndarray):
        batch, count = v.shape[:-2], v.shape[-2]
        flat = normals.reshape(-1, len(faces), 1, 3)
        target = joined + count * np.arange(len(flat))[:, None, None]
        corners = np.broadcast_to(flat, (*target.shape, 3)).reshape(-1, 3)
        size = len(flat) * count
        total = np.stack([np.bincount(target.ravel(), corners[:, k], size) for k in range(3)], -1)
        total = total.astype(v.dtype).reshape(*batch, count, 3)
        return _unit_array(total if weld is None else total[..., weld, :])
    import torch

    summed = torch.zeros_like(v)
    for corner in range(3):
        summed = summed.index_add(-2, torch.as_tensor(joined[:, corner], device=v.device), normals)
    return _unit_tensor(summed if weld is None else summed[..., weld, :])


def _unit_array(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    forward = np.array([0, 0, 1], vectors.dtype)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1), forward)


def _unit_tensor(vectors: Any) -> Any:
    square = (vectors * vectors).sum(-1, keepdim=True)
    safe = square.where(square > 0, square.new_ones(()))
    return (vectors / safe.sqrt()).where(square > 0, vectors.new_tensor([0.0, 0.0, 1.0]))


def signed_volume(vertices: Points, faces: Any) -> Points:
    """(...) cubic units enclosed by (..., V, 3); positive when a closed mesh's faces look outwards."""
    v = vertices
    a, b, c = (v[..., faces[:, i], :] for i in range(3))
    x, y, z = (b[..., i] * c[..., j] - b[..., j] * c[..., i] for i, j in ((1, 2), (2, 0), (0, 1)))
    return (a[..., 0] * x + a[..., 1] * y + a[..., 2] * z).sum(-1) / 6


def edges(faces: Array) -> Array:
    """(E, 2) int64 undirected edges, each once, the smaller index first, sorted."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(pairs, axis=1), axis=0).astype(np.int64)


def adjacency(faces: Array, count: int) -> csr_array:
    """(count, count) sparse float64 of 0 and 1: which of ``count`` vertices share an edge."""
    from scipy.sparse import coo_array

    pair = edges(faces)
    rows, columns = np.concatenate([pair, pair[:, ::-1]]).T
    return coo_array((np.ones(len(rows)), (rows, columns)), (count, count)).tocsr()


def uniform_laplacian(faces: Array, count: int) -> csr_array:
    """(count, count) sparse graph Laplacian, degree minus adjacency: symmetric, positive semi-definite."""
    from scipy.sparse import diags_array

    near = adjacency(faces, count)
    return (diags_array(np.asarray(near.sum(1)).ravel()) - near).tocsr()


def cotangent_laplacian(vertices: Array, faces: Array) -> csr_array:
    """(V, V) sparse stiffness matrix of (V, 3): symmetric, its rows sum to 0.

    An edge weighs half the sum of the cotangents opposite to it (Pinkall and Polthier 1993), so ``x @ L @ x``
    is the integral of the squared gradient of x. Triangles without area count nothing. Pass ``weld[faces]``
    to close UV seams.
    """
    from scipy.sparse import coo_array, diags_array

    rows, columns, values = [], [], []
    for i in range(3):
        here, left, right = faces[:, i], faces[:, (i + 1) % 3], faces[:, (i + 2) % 3]
        a, b = vertices[left] - vertices[here], vertices[right] - vertices[here]
        sine = np.linalg.norm(np.cross(a, b), axis=-1)
        weight = np.where(sine > 0, 0.5 * (a * b).sum(-1) / np.where(sine > 0, sine, 1), 0)
        rows += [left, right]
        columns += [right, left]
        values += [weight, weight]
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    weights = coo_array(entries, (len(vertices), len(vertices))).tocsr()
    return (diags_array(np.asarray(weights.sum(1)).ravel()) - weights).tocsr()


@dataclass(frozen=True)
class Subdivision:
    """Every triangle cut into four at its edges' midpoints.

    Args:
        matrix: (V', V) sparse; times per-vertex values (positions, UV, shapes) gives them on the finer mesh.
            The first V rows are the identity, the others average an edge's ends.
        faces: (4F, 3) int64.
        parents: (4F,) int64, the face each came from.
        weld: (V',) int64 canonical vertices of the finer mesh.
    """

    matrix: csr_array
    faces: Array
    parents: Array
    weld: Array

    def apply(self, values: Array) -> Array:
        """(..., V, K) per-vertex values on the finer mesh, (..., V', K)."""
        rows = np.moveaxis(values, -2, 0)
        fine = self.matrix @ rows.reshape(len(rows), -1)
        return np.moveaxis(fine.reshape(-1, *rows.shape[1:]), 0, -2).astype(values.dtype, copy=False)


def subdivide(faces: Array, count: int, weld: Array | None = None) -> Subdivision:
    """Midpoint subdivision of a mesh of ``count`` vertices; winding and UV seams are kept."""
    from scipy.sparse import coo_array

    weld = np.arange(count) if weld is None else np.asarray(weld)
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2), axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    middle = count + inverse.reshape(-1, 3)  # on edges 01, 12, 20
    a, b, c = faces.T
    ab, bc, ca = middle.T
    finer = np.stack([a, ab, ca, b, bc, ab, c, ca, bc, ab, bc, ca], -1).reshape(-1, 3)
    total = count + len(unique)
    rows = np.concatenate([np.arange(count), np.repeat(np.arange(count, total), 2)])
    columns = np.concatenate([np.arange(count), unique.ravel()])
    weights = np.where(rows < count, 1.0, 0.5)
    _, first, same = np.unique(np.sort(weld[unique], axis=1), axis=0, return_index=True, return_inverse=True)
    return Subdivision(
        matrix=coo_array((weights, (rows, columns)), (total, count)).tocsr(),
        faces=finer.astype(np.int64),
        parents=np.repeat(np.arange(len(faces)), 4),
        weld=np.concatenate([weld, count + first[same.ravel()]]).astype(np.int64),
    )
