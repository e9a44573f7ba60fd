"""Deformation transfer: the shapes of one mesh, made on another mesh of a different form.

Source: Sumner and Popović, "Deformation Transfer for Triangle Meshes" (2004). Every source triangle gives a deformation
gradient S, fourth vertex along the normal included; target vertices are sought whose triangles deform alike, in the
least-squares sense. Without the fourth vertex of the target, which can always be met exactly, and with triangles
weighted by area, the normal equations are those of the cotangent Laplacian (Botsch et al. 2006, "Deformation transfer
for detail-preserving surface editing"): three times smaller and better conditioned than the paper's, with one
factorisation for all shapes and axes.

Two things the paper leaves open:

- *Frames.* S is brought to the target as J S J^-1, where J is how the neutral source is stretched and turned where it
  lies on the target, smoothed along the surface. So a turned and scaled copy of the source gets exactly the turned and
  scaled displacements, and a longer jaw a longer way to open. J of one similarity everywhere is the paper's transfer.
- *Anchors.* Gradients leave the translation of each connected part free (head, eyeballs, teeth). A soft term pulls
  the centre of each triangle to where J takes the displacement of the source; it decides what is larger
  than ``REACH`` (the back of the head stays, teeth ride with the jaw), the gradients what is smaller.

Vs, Vt vertices, Fs, Ft triangles of source and target; S shapes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from omote.checks import check_shape
from omote.errors import InputError
from omote.geometry.alignment import align
from omote.geometry.parts import parts_of_mesh

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["DeformationTransfer", "transfer_shapes"]

log = logging.getLogger("omote.geometry")

Array = npt.NDArray[Any]

_LEAST_AREA = 1e-12
"""Of a triangle, as a share of the square of the mesh's extent."""

FLAT = 1e-10
"""Twice the area over the squared longest edge below which a triangle counts as degenerate."""
STIFF = (0.01, 100.0)
"""Bounds of an edge's cotangent weight, so that slivers neither vanish nor rule."""
REACH = 0.06
"""Where the soft positional term takes over from the gradients, as a share of the target's diagonal: 2 cm of a head."""
BATCH = 32
"""Shapes solved together; bounds the memory."""


class DeformationTransfer:
    """Transfers any number of shapes from a source to a target mesh; factorised once.

    Args:
        source: (Vs, 3) neutral source vertices, any unit.
        source_faces: (Fs, 3) indices.
        target: (Vt, 3) neutral target vertices, any unit.
        target_faces: (Ft, 3) indices; None for the source's.
        correspondence: (Ft, Fs) sparse weights of 0 or more: which source triangles each target triangle follows
            (rows need not sum to 1; a triangle with an empty row deforms as little as it can). None: triangle k
            follows triangle k. `omote.geometry.registration.triangle_correspondence` finds it.
        fitted: (Vs, 3) the source as it lies on the target, from which J follows. None: the target itself, or, with a
            correspondence, the similarity that brings corresponding triangles together.
        source_weld, target_weld: (V,) canonical vertices, which close UV seams; None where nothing is split.

    Attributes:
        parts: (Vt,) int64, the connected part each target vertex belongs to; -1 where no face touches it.

    Raises:
        InputError: shapes that do not match, indices outside the mesh, values not finite, a mesh without area, a
            different number of triangles without a correspondence, or a correspondence without a pair.
    """

    def __init__(
        self,
        source: npt.ArrayLike,
        source_faces: npt.ArrayLike,
        target: npt.ArrayLike,
        target_faces: npt.ArrayLike | None = None,
        *,
        correspondence: csr_array | None = None,
        fitted: npt.ArrayLike | None = None,
        source_weld: npt.ArrayLike | None = None,
        target_weld: npt.ArrayLike | None = None,
    ) -> None:
        if target_faces is None:
            target_faces = source_faces
            target_weld = source_weld if target_weld is None else target_weld
        self._source, self._source_faces = _mesh("source", source, source_faces, source_weld)
        self._target, self._target_faces = _mesh("target", target, target_faces, target_weld)
        self._weld = np.arange(len(self._target)) if target_weld is None else np.asarray(target_weld)
        self._follow = self._corresponding(correspondence)
        self._areas = 0.5 * np.linalg.norm(_cross(self._target[self._target_faces]), axis=1)
        self._centres = self._target[self._target_faces].mean(1)
        if fitted is not None:
            self._fitted = np.asarray(fitted, np.float64)
            check_shape("fitted", self._fitted, len(self._source), 3)
        elif correspondence is None:
            self._fitted = self._on_target()
        else:
            self._fitted = self._similar()
        self._inverse = _rest_inverses(self._source[self._source_faces])
        reach = REACH * float(np.linalg.norm(np.ptp(self._target, axis=0)))
        self._set_frames(reach)
        self._factorise(reach)

    def __call__(
        self, displacements: npt.ArrayLike, *, progress: Callable[[int, int], None] | None = None
    ) -> Array:
        """Shapes of the target.

        Args:
            displacements: (S, Vs, 3) of the source's vertices, in its unit.
            progress: called with (done, all) shapes.

        Returns:
            (S, Vt, 3) float32 displacements in the target's unit.

        Raises:
            InputError: another number of vertices, or values not finite.
        """
        moved = np.asarray(displacements, np.float64)
        check_shape("displacements", moved, "S", len(self._source), 3)
        if not np.isfinite(moved).all():
            bad = int(np.flatnonzero(~np.isfinite(moved).all(axis=(1, 2)))[0])
            raise InputError("has displacements that are not finite numbers", where=f"shape {bad}")
        out = np.zeros((len(moved), len(self._target), 3), np.float32)
        for start in range(0, len(moved), BATCH):
            block = slice(start, start + BATCH)
            out[block] = self._solve(moved[block])
            if progress is not None:
                progress(min(start + BATCH, len(moved)), len(moved))
        return out

    # --- once ------------------------------------------------------------------------------------------------------

    def _corresponding(self, given: Any) -> csr_array:
        """(Ft, Fs) rows that sum to 1 or 0, where degenerate source triangles are replaced by their neighbours."""
        from scipy.sparse import csr_array, diags_array, eye_array

        count, wanted = len(self._source_faces), len(self._target_faces)
        if given is None:
            if count != wanted:
                raise InputError(
                    f"{wanted} triangles, but the source has {count}",
                    where="target",
                    remedy="Give a correspondence where the topologies differ.",
                )
            follow = csr_array(eye_array(count))
        else:
            check_shape("correspondence", given, wanted, count)
            follow = csr_array(given, dtype=np.float64)
            if not np.isfinite(follow.data).all() or (follow.data < 0).any():
                raise InputError("weights must be finite and 0 or more", where="correspondence")
        flat = _flat(self._source[self._source_faces])
        if flat.any():
            log.info("%d degenerate source triangles follow their neighbours", flat.sum())
            follow = follow @ _neighbours_of(flat, self._source_faces, len(self._source))
        total = np.asarray(follow.sum(1)).ravel()
        if not (total > 0).any():
            raise InputError(
                "no target triangle corresponds to a source triangle",
                where="correspondence",
                remedy="Align the meshes first.",
            )
        return csr_array(diags_array(np.where(total > 0, 1 / np.where(total > 0, total, 1), 0)) @ follow)

    def _on_target(self) -> Array:
        """(Vs, 3) the corners of target triangles at the source's vertices, for one topology."""
        fitted = self._source.copy()
        fitted[self._source_faces] = self._target[self._target_faces]
        return fitted

    def _similar(self) -> Array:
        """(Vs, 3) the source brought to the target by the similarity of corresponding triangles."""
        pairs = np.asarray(self._follow.sum(1)).ravel() > 0
        centres = self._follow @ self._source[self._source_faces].mean(1)
        found = align(centres[pairs], self._centres[pairs], self._areas[pairs])
        return found.apply(self._source)

    def _set_frames(self, reach: float) -> None:
        """J, smoothed along the fitted source: at its vertices, at its triangles, and inverted."""
        faces, count = self._source_faces, len(self._source)
        own = _with_normal(self._fitted[faces]) @ self._inverse
        good = ~_flat(self._source[faces])
        areas = 0.5 * np.linalg.norm(_cross(self._fitted[faces]), axis=1) * good + _LEAST_AREA * reach**2
        smooth = _Screened(self._fitted, faces, areas / reach**2)
        asked = smooth.centres(own.reshape(len(faces), 9))
        self._frame = smooth.solve(asked, count).reshape(count, 3, 3)
        self._face_frame = self._frame[faces].mean(1)
        size = np.linalg.norm(self._face_frame, axis=(1, 2))
        sound = np.linalg.det(self._face_frame) > 1e-9 * size**3
        safe = np.where(sound[:, None, None], self._face_frame, np.eye(3))
        self._face_back = np.linalg.inv(safe)
        self._face_frame = safe

    def _factorise(self, reach: float) -> None:
        faces, count = self._target_faces, len(self._target)
        followed = np.asarray(self._follow.sum(1)).ravel() > 0
        self.parts = parts_of_mesh(faces, count)
        part = self.parts[faces[:, 0]]
        self._loose = np.setdiff1d(part, part[followed])
        held = followed | np.isin(part, self._loose)
        # What has no area at all is held by next to nothing, or nothing would say where it is.
        areas = self._areas + _LEAST_AREA * reach**2
        self._screened = _Screened(self._target, faces, areas * held / reach**2)

    # --- each shape ------------------------------------------------------------------------------------------------

    def _solve(self, moved: Array) -> Array:
        """(S, Vs, 3) source displacements to (S, Vt, 3)."""
        shapes, count = len(moved), len(self._target)
        gradients = self._gradients(moved)
        pulled = np.einsum("vrc,svc->vsr", self._frame, moved)[self._source_faces].mean(1)
        beside = self._centres - self._follow @ self._fitted[self._source_faces].mean(1)
        wanted = (self._follow @ pulled.reshape(-1, 3 * shapes)).reshape(-1, shapes, 3)
        wanted += np.einsum("fsrc,fc->fsr", gradients, beside)
        asked = self._screened.edges(gradients) + self._screened.centres(wanted.reshape(-1, 3 * shapes))
        out = self._screened.solve(asked, count).reshape(count, shapes, 3)
        self._carry(out)
        return np.asarray(out[self._weld].transpose(1, 0, 2))

    def _gradients(self, moved: Array) -> Array:
        """(Ft, S, 3, 3) deformation gradient less the identity of each target triangle."""
        corners = self._source[self._source_faces]
        changed = _with_normal(corners + moved[:, self._source_faces]) - _with_normal(corners)
        own = self._face_frame @ changed @ (self._inverse @ self._face_back)
        followed = self._follow @ own.transpose(1, 0, 2, 3).reshape(len(corners), -1)
        return np.asarray(followed.reshape(-1, len(moved), 3, 3))

    def _carry(self, solved: Array) -> None:
        """Parts that follow nothing (a hat, hair) and lone vertices move as the surface next to them, in place."""
        loose = np.isin(self.parts, [*self._loose, -1]) & (self._weld == np.arange(len(self._weld)))
        if not loose.any():
            return
        from scipy.spatial import cKDTree

        fixed = np.flatnonzero((self.parts >= 0) & ~np.isin(self.parts, self._loose))
        places = np.flatnonzero(loose)
        nearest = solved[fixed[cKDTree(self._target[fixed]).query(self._target[places])[1]]]
        for index in self._loose:
            own = self.parts[places] == index
            nearest[own] = nearest[own].mean(0)
        solved[places] = nearest


class _Screened:
    """Least squares for values at vertices: their differences along edges and, softly, their means over triangles.

    Args:
        vertices, faces: the mesh.
        weights: (F,) of the mean over each triangle.
    """

    def __init__(self, vertices: Array, faces: Array, weights: Array) -> None:
        from scipy.sparse import coo_array, csc_array, csr_array, diags_array
        from scipy.sparse.linalg import splu

        count, size = len(vertices), 3 * len(faces)
        heads = np.concatenate([faces[:, (k + 1) % 3] for k in range(3)])
        tails = np.concatenate([faces[:, (k + 2) % 3] for k in range(3)])
        cotangents = _cotangents(vertices[faces]).T.ravel()
        self._used = np.unique(faces)
        self._edge = (vertices[heads] - vertices[tails]).reshape(3, -1, 3)
        signs, places = np.repeat([1.0, -1.0], size), np.tile(np.arange(size), 2)
        difference = csr_array(coo_array((signs, (places, np.r_[heads, tails])), (size, count)))
        mean = csr_array(
            coo_array(
                (np.full(size, 1 / 3), (np.repeat(np.arange(len(faces)), 3), faces.ravel())),
                (len(faces), count),
            )
        )
        self._from_edges = csr_array((difference.T @ diags_array(cotangents))[self._used])
        self._from_centres = csr_array((mean.T @ diags_array(weights))[self._used])
        matrix = self._from_edges @ difference[:, self._used] + self._from_centres @ mean[:, self._used]
        self._solver = splu(
            csc_array(matrix),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def edges(self, gradients: Array) -> Array:
        """What (F, S, 3, 3) gradients ask for: (U, 3 S) for the U vertices in use."""
        wanted = np.einsum("fsrc,kfc->kfsr", gradients, self._edge)
        return np.asarray(self._from_edges @ wanted.reshape(-1, 3 * gradients.shape[1]))

    def centres(self, values: Array) -> Array:
        """What (F, K) values at the centres ask for: (U, K)."""
        return np.asarray(self._from_centres @ values)

    def solve(self, asked: Array, count: int) -> Array:
        """(count, K) values at the vertices; 0 where no face touches one."""
        out = np.zeros((count, asked.shape[1]))
        out[self._used] = self._solver.solve(asked)
        return out


def transfer_shapes(
    source: npt.ArrayLike,
    source_faces: npt.ArrayLike,
    displacements: npt.ArrayLike,
    target: npt.ArrayLike,
    target_faces: npt.ArrayLike | None = None,
    **options: Any,
) -> Array:
    """(S, Vt, 3) displacements of the target for (S, Vs, 3) of the source; options as of `DeformationTransfer`."""
    return DeformationTransfer(source, source_faces, target, target_faces, **options)(displacements)


def _mesh(name: str, vertices: npt.ArrayLike, faces: npt.ArrayLike, weld: Any) -> tuple[Array, Array]:
    """Checked (V, 3) float64 vertices and (F, 3) int64 welded faces."""
    points, corners = np.asarray(vertices, np.float64), np.asarray(faces)
    check_shape(f"{name} vertices", points, "V", 3)
    check_shape(f"{name} faces", corners, "F", 3)
    if not len(corners):
        raise InputError("has no triangles", where=name)
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points).all(1)).sum())
        raise InputError(f"{bad} of {len(points)} vertices are not finite numbers", where=name)
    if corners.dtype.kind not in "iu" or corners.min() < 0 or corners.max() >= len(points):
        raise InputError(f"faces must be indices of its {len(points)} vertices", where=name)
    if weld is not None:
        check_shape(f"{name} weld", np.asarray(weld), len(points))
        corners = np.asarray(weld)[corners]
    corners = corners.astype(np.int64)
    if _flat(points[corners]).all():
        raise InputError("all its triangles are degenerate", where=name, remedy="Give a surface with area.")
    return points, corners


def _cross(corners: Array) -> Array:
    """(..., F, 3) normals twice the area long of triangles (..., F, 3, 3)."""
    return np.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])


def _flat(corners: Array) -> Array:
    """(F,) whether a triangle (F, 3, 3) has no area worth the name."""
    longest = ((corners - np.roll(corners, 1, axis=1)) ** 2).sum(2).max(1)
    return np.asarray(np.linalg.norm(_cross(corners), axis=1) <= FLAT * longest)


def _with_normal(corners: Array) -> Array:
    """(..., F, 3, 3) columns: two edges and the paper's fourth edge, the normal over the root of its length."""
    normal = _cross(corners)
    root = np.sqrt(np.linalg.norm(normal, axis=-1, keepdims=True))
    fourth = normal / np.where(root > 0, root, 1)
    return np.stack(
        [corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :], fourth], -1
    )


def _rest_inverses(corners: Array) -> Array:
    """(F, 3, 3) inverses of the rest triangles' matrices; 0 for degenerate ones."""
    flat = _flat(corners)
    matrices = np.where(flat[:, None, None], np.eye(3), _with_normal(corners))
    return np.where(flat[:, None, None], 0.0, np.linalg.inv(matrices))


def _cotangents(corners: Array) -> Array:
    """(F, 3) weight of the edge opposite to each corner: half its cotangent, bounded."""
    out = []
    for k in range(3):
        a, b = (corners[:, (k + j) % 3] - corners[:, k] for j in (1, 2))
        sine = np.linalg.norm(np.cross(a, b), axis=1)
        out.append(0.5 * (a * b).sum(1) / np.maximum(sine, 1e-300))
    weights = np.clip(np.stack(out, 1), *STIFF)
    return np.where(_flat(corners)[:, None], 1e-6 * STIFF[0], weights)


def _neighbours_of(flat: Array, faces: Array, count: int) -> csr_array:
    """(Fs, Fs): each good triangle itself, a degenerate one the mean of the good triangles that touch it."""
    from scipy.sparse import coo_array, csr_array, diags_array

    index = np.repeat(np.arange(len(faces)), 3)
    touches = csr_array(coo_array((np.ones(len(index)), (index, faces.ravel())), (len(faces), count)))
    good = diags_array((~flat).astype(float))
    around = diags_array(flat.astype(float)) @ touches @ touches.T @ good
    total = np.asarray(around.sum(1)).ravel()
    return csr_array(good + diags_array(1 / np.where(total > 0, total, 1)) @ around)
