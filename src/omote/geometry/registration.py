"""Non-rigid registration: one head mesh laid onto another of any topology, and which triangles then correspond.

Landmarks give a similarity; from there the source bends onto the target in steps from stiff to soft, as the
optimal-step non-rigid ICP of Amberg, Romdhani and Vetter (2007): each step takes the nearest target points that face
the same way and do not lie on an open edge, and solves for the displacement field d that minimises, areas a,

    sum_v a_v w_v |x_v + d_v - nearest_v|^2 + r sum_k b_k |landmark_k(x + d) - target_k|^2
        + r^4 |plate(d)|^2 + r^3/16 |grad d|^2

where the bending energy of a thin plate (squared cotangent Laplacian; Botsch and Sorkine 2008) takes the place of
their affine map at each vertex: a quarter of the unknowns. r, the radius over which the surface is stiff, falls.

Parts that hang in the head unconnected (eyeballs, teeth) are carried by the field around them, then moved and sized to
the part of the target that lies where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from omote.checks import check_shape
from omote.errors import InputError
from omote.geometry.alignment import Similarity, align
from omote.geometry.closest import Surface
from omote.geometry.meshes import cotangent_laplacian, face_normals, vertex_normals
from omote.geometry.parts import parts_of_mesh

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["HeadMesh", "Registration", "register", "triangle_correspondence"]

Array = npt.NDArray[Any]

STEPS = ((1.0, 2), (0.6, 3), (0.35, 3), (0.2, 4), (0.12, 4), (0.07, 4), (0.045, 4))
"""(stiff radius as a share of the face's size, rounds): the first step follows the landmarks alone."""
CATCH = (0.5, 0.15)
"""Nearest points further away than this share of the face's size do not pull: in the first and in the last step."""
LANDMARKS = 4.0
"""What all landmarks weigh together, in squares of the face's size of surface; falls with the radius."""
FAR = 0.35
"""Triangles further apart than this share of the face's size do not correspond."""
ALIKE = (0.4, 2.5)
"""How much larger or smaller a part may be than the part it is moved onto."""
BESIDE = 0.5
"""How far from there it may be, as a share of its radius."""


@dataclass(frozen=True)
class HeadMesh:
    """A head to register.

    Attributes:
        vertices: (V, 3), any unit.
        faces: (F, 3), counter-clockwise seen from outside.
        landmarks: (K, 3) indices and (K, 3) barycentrics of corresponding surface points, at least 4.
        weld: (V,) canonical vertices; None where nothing is split.
        outside: (V,) bool, what can be seen from outside and so may be matched by distance; None: all.
    """

    vertices: Array
    faces: Array
    landmarks: tuple[Array, Array]
    weld: Array | None = None
    outside: Array | None = None

    @property
    def joined(self) -> Array:
        """(F, 3) faces with seams closed."""
        return self.faces if self.weld is None else self.weld[self.faces]

    def points(self, vertices: Array | None = None) -> Array:
        """(K, 3) landmarks, of other vertices where given."""
        corners, share = self.landmarks
        return np.einsum("kjc,kj->kc", (self.vertices if vertices is None else vertices)[corners], share)


@dataclass(frozen=True)
class Registration:
    """A source on a target.

    Attributes:
        vertices: (Vs, 3) the source's vertices on the target, the target's unit.
        distance: (N,) how far those of its vertices that lie outside are from the target's surface.
        landmark_distance: (K,) how far the landmarks are from each other.
        start: the similarity it began with.
        size: of the target's face: the root mean square distance of its landmarks from their middle.
    """

    vertices: Array
    distance: Array
    landmark_distance: Array
    start: Similarity
    size: float


def register(
    source: HeadMesh,
    target: HeadMesh,
    weights: npt.ArrayLike | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Registration:
    """Lay the source onto the target.

    Args:
        source: the head that bends.
        target: the head it is laid on; landmark k of one is landmark k of the other.
        weights: (K,) >= 0, how far to trust each landmark; default all 1.
        progress: called with (done, all) rounds.

    Raises:
        InputError: shapes that do not match, values not finite, indices outside a mesh, too few landmarks, or surfaces
            that do not come near each other.
    """
    moving, fixed = _checked("source", source), _checked("target", target)
    trust = np.ones(len(moving.landmarks[0])) if weights is None else np.asarray(weights, np.float64)
    if len(moving.landmarks[0]) != len(fixed.landmarks[0]):
        what = f"{len(moving.landmarks[0])} in the source, {len(fixed.landmarks[0])} in the target"
        raise InputError(what, where="landmarks", remedy="Give pairs of corresponding points.")
    start = align(moving.points(), fixed.points(), trust)
    size = float(np.sqrt(((fixed.points() - fixed.points().mean(0)) ** 2).sum(1).mean()))
    parts = parts_of_mesh(moving.joined, len(moving.vertices))
    skin = _main_part(moving, parts)
    bend = _Bend(moving, start.apply(moving.vertices), parts == skin, fixed.points(), trust, size)
    surface = Surface(fixed.vertices, fixed.joined, _outer_faces(fixed))
    rounds, done = sum(n for _, n in STEPS), 0
    placed = bend.rest
    for number, (radius, repeats) in enumerate(STEPS):
        catch = size * np.geomspace(*CATCH, len(STEPS))[number]
        bend.stiffen(radius)
        for _ in range(repeats):
            placed = bend.towards(surface, placed, catch if number else 0.0)
            done += 1
            if progress is not None:
                progress(done, rounds)
    near = bend.reached(surface, placed)
    if not np.isfinite(near).any() or np.median(near[np.isfinite(near)]) > CATCH[1] * size:
        raise InputError(
            "the surfaces do not come near each other",
            where="registration",
            remedy="Check the landmarks, and that both meshes are heads that face outwards.",
        )
    final = _carry_parts(bend, placed, parts, skin, fixed, size)
    if moving.weld is not None:
        final = final[moving.weld]
    gaps = np.linalg.norm(source.points(final) - target.points(), axis=1)
    return Registration(final, near, gaps, start, size)


class _Bend:
    """The displacement of the main part of the source, solved for again and again."""

    def __init__(
        self, source: HeadMesh, rest: Array, main: Array, goals: Array, trust: Array, size: float
    ) -> None:
        from scipy.sparse import coo_array, csr_array, diags_array

        self.rest, self._size, self._goals = rest, size, goals
        self._index = np.flatnonzero(main)
        number = np.full(len(rest), -1)
        number[self._index] = np.arange(len(self._index))
        self._faces = source.joined[main[source.joined[:, 0]]]
        local = number[self._faces]
        points = rest[self._index] / size
        area = np.zeros(len(points))
        np.add.at(
            area,
            local.ravel(),
            np.repeat(np.linalg.norm(face_normals(points, local, unit=False), axis=1) / 6, 3),
        )
        self._area = np.maximum(area, 1e-3 * area.mean())
        stiffness = cotangent_laplacian(points, local)
        self._membrane = csr_array(stiffness)
        self._plate = csr_array(stiffness @ diags_array(1 / self._area) @ stiffness)
        outside = np.ones(len(rest), bool) if source.outside is None else source.outside
        self._active = outside[self._index]
        self.outer = self._index[self._active]
        corners, share = source.landmarks
        corners = corners if source.weld is None else source.weld[corners]
        held = (number[corners] >= 0).all(1)
        rows = np.repeat(np.arange(held.sum()), 3)
        entries = share[held].ravel(), (rows, number[corners[held]].ravel())
        self._at = csr_array(coo_array(entries, (int(held.sum()), len(points))))
        self._missing = goals[held] - self._at @ rest[self._index]
        self._trust = trust[held]

    def stiffen(self, radius: float) -> None:
        """Set the radius over which the surface is stiff."""
        from scipy.sparse import diags_array, eye_array

        pull = diags_array(LANDMARKS * radius * self._trust / max(self._trust.sum(), 1e-30))
        self._landmark = self._at.T @ pull
        soft = 1e-9 * float(self._area.mean()) * eye_array(len(self._area))
        self._fixed = radius**4 * self._plate + radius**3 / 16 * self._membrane + soft
        self._fixed = self._fixed + self._landmark @ self._at

    def towards(self, surface: Surface, placed: Array, catch: float) -> Array:
        """(Vs, 3) the source after one round towards what is nearest to it within ``catch``."""
        from scipy.sparse import csc_array, diags_array
        from scipy.sparse.linalg import splu

        weight, goal = np.zeros(len(self._index)), np.zeros((len(self._index), 3))
        if catch > 0:
            points, normals = self._points(placed)
            found = surface.nearest(points[self._active], normals[self._active])
            far = found.distance / catch
            good = (far < 1) & ~found.at_edge
            weight[self._active] = np.where(good, (1 - np.minimum(far, 1) ** 2) ** 2, 0)
            goal[self._active] = found.point - self.rest[self._index][self._active]
        weight *= self._area
        matrix = csc_array(self._fixed + diags_array(weight))
        solver = splu(
            matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        moved = solver.solve(weight[:, None] * goal + self._landmark @ self._missing)
        out = placed.copy()
        out[self._index] = self.rest[self._index] + moved
        return out

    def reached(self, surface: Surface, placed: Array) -> Array:
        """(N,) distances of what may be matched; inf where nothing near faces the same way."""
        points, normals = self._points(placed)
        return surface.nearest(points[self._active], normals[self._active]).distance

    def _points(self, placed: Array) -> tuple[Array, Array]:
        return placed[self._index], vertex_normals(placed, self._faces)[self._index]


def triangle_correspondence(fitted: Array, source: HeadMesh, target: HeadMesh, *, size: float) -> csr_array:
    """(Ft, Fs) weights: which source triangles each target triangle follows.

    Each target triangle follows the source triangle nearest to its middle that faces the same way, and those source
    triangles to whose middle it is the nearest (Sumner and Popović 2004, section 4). Parts go with parts: an eyeball
    follows the eyeball, not the lid before it.

    Args:
        fitted: (Vs, 3) the source on the target, `Registration.vertices`.
        source: the head that was laid on the target.
        target: the head whose triangles are to follow.
        size: `Registration.size`.

    Raises:
        InputError: shapes that do not match, or nothing corresponds.
    """
    from scipy.sparse import coo_array, csr_array

    moving, fixed = _checked("source", source), _checked("target", target)
    placed = np.asarray(fitted, np.float64)
    check_shape("fitted", placed, len(moving.vertices), 3)
    rows, columns, weights = [], [], []
    for theirs, ours, strict in _matched_parts(placed, moving, fixed, size):
        there, here = Surface(fixed.vertices, fixed.joined, theirs), Surface(placed, moving.joined, ours)
        to_ours = _follow(fixed.vertices, fixed.joined, there.index, here, FAR * size, strict=strict)
        to_theirs = _follow(placed, moving.joined, here.index, there, FAR * size / 4, strict=True)
        areas = np.linalg.norm(face_normals(placed, moving.joined, unit=False), axis=1)
        kept, back = to_ours >= 0, to_theirs >= 0
        rows += [there.index[kept], to_theirs[back]]
        columns += [to_ours[kept], here.index[back]]
        weights += [areas[to_ours[kept]], areas[here.index[back]]]
    shape = (len(fixed.faces), len(moving.faces))
    if not sum(map(len, rows)):
        raise InputError(
            "no triangles of the two meshes lie near each other",
            where="correspondence",
            remedy="Register them first.",
        )
    entries = np.concatenate(weights) + 1e-30, (np.concatenate(rows), np.concatenate(columns))
    return csr_array(coo_array(entries, shape))


def _follow(
    vertices: Array, faces: Array, chosen: Array, surface: Surface, limit: float, *, strict: bool
) -> Array:
    """(N,) for each of the chosen triangles the nearest of ``surface``, -1 where none is within ``limit``.

    Those with none that faces the same way take one that does not: of hair and lashes any, else one very near.
    """
    corners = faces[chosen]
    middles, normals = vertices[corners].mean(1), face_normals(vertices, corners)
    result = np.full(len(chosen), -1)
    for cosine, within in ((0.5, limit), (0.0, limit), (-1.0, limit / 6 if strict else limit)):
        missing = np.flatnonzero(result < 0)
        if not len(missing):
            break
        found = surface.nearest(middles[missing], normals[missing], cosine=cosine)
        near = found.distance <= within
        result[missing[near]] = found.face[near]
    return result


def _matched_parts(
    placed: Array, source: HeadMesh, target: HeadMesh, size: float
) -> list[tuple[Array, Array, bool]]:
    """(target triangles, source triangles, whether normals must agree): what may follow what."""
    from scipy.spatial import cKDTree

    ours, theirs = (parts_of_mesh(mesh.joined, len(mesh.vertices)) for mesh in (source, target))
    skin, their_skin = _main_part(source, ours), _main_part(target, theirs)
    our_faces, their_faces = ours[source.joined[:, 0]], theirs[target.joined[:, 0]]
    inner = [p for p in np.unique(our_faces) if p != skin]
    trees = {p: cKDTree(placed[ours == p]) for p in [skin, *inner]}
    skin_tree = cKDTree(target.vertices[theirs == their_skin])
    pairs, nearer = [], set()
    for part in np.unique(their_faces):
        if part == their_skin:
            continue
        points = target.vertices[theirs == part]
        gaps = {p: _gap(tree, points) for p, tree in trees.items()}
        reach = 0.1 * float(np.linalg.norm(np.ptp(points, axis=0)))
        close = [p for p in inner if gaps[p] <= max(0.5 * gaps[skin], reach) and gaps[p] <= 0.5 * FAR * size]
        inside = cKDTree(points)
        nearer |= {p for p in close if _gap(inside, placed[ours == p]) < _gap(skin_tree, placed[ours == p])}
        chosen = np.isin(our_faces, close) if close else np.ones(len(our_faces), bool)
        pairs.append((their_faces == part, chosen, False))
    left = [skin, *(p for p in inner if p not in nearer)]
    pairs.append((their_faces == their_skin, np.isin(our_faces, left), True))
    return pairs


def _gap(tree: Any, points: Array) -> float:
    return float(np.median(tree.query(points)[0]))


def _carry_parts(bend: _Bend, placed: Array, parts: Array, skin: int, target: HeadMesh, size: float) -> Array:
    """(Vs, 3) with the parts that are not the skin brought along and onto their counterparts."""
    from scipy.interpolate import RBFInterpolator

    rest, final = bend.rest, placed.copy()
    inner = [p for p in np.unique(parts) if p not in (skin, -1)]
    if not inner:
        return final
    others = np.flatnonzero((parts != skin) & (parts >= 0))
    near = np.linalg.norm(rest[bend.outer] - rest[others].mean(0), axis=1).argsort()
    near = bend.outer[near[: max(2000, len(near) // 3)]]
    sample = near[:: max(1, len(near) // 600)]
    field = RBFInterpolator(
        rest[sample], placed[sample] - rest[sample], kernel="linear", smoothing=1e-3 * size
    )
    final[others] = rest[others] + field(rest[others])
    theirs = parts_of_mesh(target.joined, len(target.vertices))
    their_skin = _main_part(target, theirs)
    balls = {p: _ball(target.vertices[theirs == p]) for p in np.unique(theirs) if p not in (their_skin, -1)}
    ours = {p: _ball(final[parts == p]) for p in inner}
    pairs = [
        (float(np.linalg.norm(centre - middle)) / radius, part, other)
        for part, (middle, radius) in ours.items()
        for other, (centre, reach) in balls.items()
        if ALIKE[0] <= reach / radius <= ALIKE[1]
    ]
    taken: set[tuple[str, int]] = set()
    for apart, part, other in sorted(pairs):
        if apart < BESIDE and not {("ours", part), ("theirs", other)} & taken:
            taken |= {("ours", part), ("theirs", other)}
            (middle, radius), (centre, reach) = ours[part], balls[other]
            final[parts == part] = centre + (final[parts == part] - middle) * (reach / radius)
    return final


def _ball(points: Array) -> tuple[Array, float]:
    """Middle and root mean square radius."""
    middle = points.mean(0)
    return middle, float(np.sqrt(((points - middle) ** 2).sum(1).mean())) + 1e-12


def _main_part(mesh: HeadMesh, parts: Array) -> int:
    """The part that carries most landmarks."""
    corners = mesh.landmarks[0] if mesh.weld is None else mesh.weld[mesh.landmarks[0]]
    carried = parts[corners[:, 0]]
    return int(np.bincount(carried[carried >= 0], minlength=1).argmax())


def _outer_faces(mesh: HeadMesh) -> Array | None:
    return None if mesh.outside is None else np.asarray(mesh.outside[mesh.faces].all(1))


def _checked(name: str, mesh: HeadMesh) -> HeadMesh:
    """The mesh in float64, checked."""
    points, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    check_shape(f"{name} vertices", points, "V", 3)
    check_shape(f"{name} faces", faces, "F", 3)
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points).all(1)).sum())
        raise InputError(f"{bad} of {len(points)} vertices are not finite numbers", where=name)
    if not len(faces) or faces.min() < 0 or faces.max() >= len(points):
        raise InputError(f"faces must be indices of its {len(points)} vertices", where=name)
    corners, share = (np.asarray(a) for a in mesh.landmarks)
    check_shape(f"{name} landmarks", corners, "K", 3)
    check_shape(f"{name} landmarks' barycentrics", share, len(corners), 3)
    if len(corners) < 4:
        raise InputError(f"{len(corners)} landmarks, at least 4 are needed", where=name)
    if corners.min() < 0 or corners.max() >= len(points) or not np.isfinite(share).all():
        raise InputError("landmarks must lie on its vertices", where=name)
    for array, what in ((mesh.weld, "weld"), (mesh.outside, "outside")):
        if array is not None:
            check_shape(f"{name} {what}", np.asarray(array), len(points))
    return HeadMesh(points, faces.astype(np.int64), (corners, share), mesh.weld, mesh.outside)
