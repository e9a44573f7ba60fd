"""A rig at a few points of its surface, as a linear model: what a network must know of it to find its way in a picture.

Points move by the sum of what each control moves alone, at full strength, and of what each identity coefficient moves;
combinations of controls, rotations and what an identity does to a displacement are left out. On the embedded rig that
is right to a millimetre or so: enough to look at about the right pixel, and the same in training and in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.geometry.alignment import Similarity, align
from omote.geometry.meshes import vertex_normals

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Floats = NDArray[np.float32]

SPAN, CENTRE = 0.30, np.array([0.0, -0.045, 0.0], np.float32)
"""A cube that an average head and its neck fill, metres, head space."""
_FACE = ((-0.085, 0.085), (-0.135, 0.055))  # metres, x and y of an average head: what a face crop shows
_GRID = ((-0.085, 0.085), (-0.118, 0.055))  # metres: arc to both sides, and height
_AXIS, _RADIUS = 0.03, 0.11  # metres: the arc's axis lies so far behind the origin, the arc so far before it
_TOWARDS = 0.15  # least z of the normal of a point
_INSIDE = {"tongue": 30, "teeth_upper": 15, "teeth_lower": 15}
_HIDDEN = ("eye_socket", "mouth", "lashes", "eye_L", "eye_R", *_INSIDE)


@dataclass(frozen=True)
class LinearPoints:
    """M points as a function of C controls and I identity coefficients.

    Attributes:
        rest: (M, 3) metres, where an average head of the same rig would be, neutral.
        up, down: (C, M, 3) metres a unit of a control above and below its neutral value.
        identity: (I, M, 3) metres a unit of an identity coefficient.
        neutral: (C,) controls at rest.
    """

    rest: Floats
    up: Floats
    down: Floats
    identity: Floats
    neutral: Floats

    def at(self, controls: Floats, identity: Floats) -> Floats:
        """(B, M, 3) metres of controls (B, C) and identities (B, I)."""
        controls = controls - self.neutral
        moved = np.concatenate([np.maximum(controls, 0), np.maximum(-controls, 0), identity], 1)
        basis = np.concatenate([self.up, self.down, self.identity])
        points: Floats = self.rest + np.einsum("bk,kmc->bmc", moved, basis, optimize=True)
        return points.astype(np.float32)


def linear_points(rig: Rig, pick: Callable[[Floats], Floats]) -> LinearPoints:
    """The linear model of some points of a rig.

    Args:
        rig: a foreign one is brought to where the average head is, and to its size.
        pick: the points (M, 3) of all vertices (V, 3).
    """
    import torch

    neutral = torch.from_numpy(np.array(rig.space.neutral, np.float32)[None])
    nobody = torch.zeros(1, len(rig.identity_space))
    place = average_head(rig)

    def points(controls: torch.Tensor, identity: torch.Tensor) -> Floats:
        with torch.no_grad():
            return np.asarray(pick(place.apply(rig(controls, identity)[0].numpy())), np.float32)

    rest = points(neutral, nobody)
    moved = {}
    for name, ends in (("up", rig.space.high), ("down", rig.space.low)):
        rows = np.zeros((len(rig.space), *rest.shape), np.float32)
        for index, end in enumerate(ends):
            reach = abs(float(end) - float(neutral[0, index]))
            if reach > 0:
                controls = neutral.clone()
                controls[0, index] = float(end)
                rows[index] = (points(controls, nobody) - rest) / reach
        moved[name] = rows
    basis = np.zeros((len(rig.identity_space), *rest.shape), np.float32)
    for index in range(len(basis)):
        basis[index] = points(neutral, torch.eye(len(basis))[index : index + 1]) - rest
    return LinearPoints(rest, moved["up"], moved["down"], basis, neutral[0].numpy())


def average_head(rig: Rig) -> Similarity:
    """Moves and scales a foreign rig to where the average head is; without landmarks, into the cube of `SPAN`.

    Args:
        rig: the embedded one stays as it is.
    """
    import torch

    from omote.rigs.facs import FacsRig, load_rig

    if isinstance(rig, FacsRig):
        return Similarity(1.0, np.eye(3), np.zeros(3))
    rest = torch.from_numpy(np.array(rig.space.neutral, np.float32)[None])
    with torch.no_grad():
        neutral = rig(rest, torch.zeros(1, len(rig.identity_space)))[0].numpy()
        if rig.landmarks is None:
            low, high = neutral.min(0), neutral.max(0)
            scale = SPAN / max(float((high - low).max()), 1e-9)
            return Similarity(scale, np.eye(3), CENTRE - scale * (low + high) / 2)
        ours = load_rig()
        usual = torch.from_numpy(np.array(ours.space.neutral, np.float32)[None])
        head = ours(usual, torch.zeros(1, len(ours.identity_space)))[0].numpy()
    return align(rig.landmarks.apply(neutral), ours.landmarks.apply(head), ours.landmarks.weight)


def face_points(rig: Rig, count: int = 1000) -> NDArray[np.int64]:
    """Vertices of a rig to look at: half spread evenly over the front of the face, half where its vertices lie dense.

    A rig whose parts are named adds some of tongue and teeth.

    Args:
        rig: see `omote.rigs.protocol.Rig`.
        count: of points on the face; fewer where the rig has fewer.

    Returns:
        (M,) indices of vertices.
    """
    import torch

    rest = torch.from_numpy(np.array(rig.space.neutral, np.float32)[None])
    with torch.no_grad():
        vertices = rig(rest, torch.zeros(1, len(rig.identity_space)))[0].numpy()
    vertices = average_head(rig).apply(vertices).astype(np.float32)
    faces, weld = rig.faces.numpy(), rig.weld.numpy()
    parts: dict[str, NDArray[np.int64]] = {}
    names = tuple(getattr(rig, "part_names", ()))
    for index, name in enumerate(names):
        parts[name] = np.unique(weld[faces[rig.face_part.numpy() == index]])  # type: ignore[attr-defined]
    skin = np.unique(weld[faces])
    for name in _HIDDEN:
        skin = np.setdiff1d(skin, parts.get(name, []))
    normals = vertex_normals(vertices, faces, weld)
    x, y = vertices[skin].T[:2]
    seen = (x > _FACE[0][0]) & (x < _FACE[0][1]) & (y > _FACE[1][0]) & (y < _FACE[1][1])
    front = skin[seen & (normals[skin, 2] > _TOWARDS)]
    even = spread_out(vertices, front, count // 2)
    left = np.setdiff1d(front, even)
    dense = np.random.default_rng(0).permutation(left)[: count - len(even)]
    inside = [spread_out(vertices, parts[name], most) for name, most in _INSIDE.items() if name in parts]
    return np.concatenate([even, dense, *inside]).astype(np.int64)


def face_grid(points: Floats, size: tuple[int, int]) -> tuple[NDArray[np.int64], Floats]:
    """A map of the face's skin: an even grid over the arc around the head and the height, between points of the face.

    Args:
        points: (M, 3) metres, on the face of an average head at rest; those of tongue and teeth left out.
        size: (height, width) of the grid, from above the brows to below the chin.

    Returns:
        The three points around each place of the grid, row by row, (G, 3), and their weights (G, 3), which sum to 1.
        Outside of the points, the nearest one alone.
    """
    from scipy.spatial import Delaunay, cKDTree

    flat = np.stack([np.arctan2(points[:, 0], points[:, 2] + _AXIS) * _RADIUS, points[:, 1]], 1)
    (left, right), (bottom, top) = _GRID
    x, y = np.meshgrid(np.linspace(left, right, size[1]), np.linspace(top, bottom, size[0]))
    places = np.stack([x.ravel(), y.ravel()], 1)
    triangles = Delaunay(flat)
    found = triangles.find_simplex(places)
    into = triangles.transform[found]
    two = np.einsum("gij,gj->gi", into[:, :2], places - into[:, 2])
    weight = np.column_stack([two, 1 - two.sum(1)])
    index = triangles.simplices[found]
    outside = found < 0
    index[outside], weight[outside] = cKDTree(flat).query(places[outside], 3)[1], (1, 0, 0)
    return index.astype(np.int64), weight.astype(np.float32)


def points_inside(rig: Rig) -> int:
    """How many of the last of `face_points` lie inside the mouth."""
    faces, weld = rig.faces.numpy(), rig.weld.numpy()
    count = 0
    for index, name in enumerate(getattr(rig, "part_names", ())):
        part = weld[faces[rig.face_part.numpy() == index]]  # type: ignore[attr-defined]
        count += min(_INSIDE.get(name, 0), len(np.unique(part)))
    return count


def spread_out(vertices: Floats, chosen: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most ``count`` of the ``chosen`` vertices (V, 3), each as far from those before it as can be."""
    points = vertices[chosen]
    apart = np.full(len(chosen), np.inf)
    taken = [0][: len(chosen)]
    while len(taken) < min(count, len(chosen)):
        apart = np.minimum(apart, ((points - points[taken[-1]]) ** 2).sum(1))
        taken.append(int(apart.argmax()))
    return chosen[taken]
