"""Where MediaPipe's 478 landmarks sit on any head mesh: rendered from several sides, detected, put back on the surface.

Each landmark is triangulated from the views (robustly), smoothed by a thin-plate warp of the canonical face model, and
moved to the nearest point of the surface that the views see. Found correspondences are kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.capture.detect import FaceDetector, canonical_vertices, mirror_permutation
from omote.capture.landmarker import Face
from omote.errors import NoFaceError, OutputError
from omote.geometry.alignment import align
from omote.performance import Camera
from omote.rigs.contours import BROW, OVAL
from omote.rigs.landmarks import COUNT, LandmarkEmbedding, load_landmarks
from omote.rigs.protocol import Rig

Array = npt.NDArray[Any]

VERSION = 1
"""Of the method; part of the key of the cache."""
SIZE = 640
VIEWS = (
    (0, 0),
    (-15, 0),
    (15, 0),
    (-32, 0),
    (32, 0),
    (0, -14),
    (0, 14),
    (-20, -12),
    (20, -12),
    (-20, 12),
    (20, 12),
)
"""Yaw and pitch in degrees from which the face is looked at; the search uses the first three, then the tilted two."""
_SEARCH = (0, 1, 2, 5, 6)
_DISTANCE = 7.0  # of the camera, in half heights of what it shows: the perspective of a portrait
_CLAY = (0.72, 0.53, 0.44)
_BACKGROUND = (0.80, 0.82, 0.84)
_SMOOTHING, _LOOSE = (
    2e-3,
    300.0,
)  # of the thin-plate warp of a face of size 1: of firm landmarks, and times this of loose
_OFF = 0.12
"""Largest residual of the landmarks against the canonical face, after similarity, as a share of its size."""
_LOPSIDED = 0.06
"""Largest median distance of the landmarks from their own mirror image, as a share of the face's size."""


@dataclass(frozen=True)
class _Look:
    """One view in which a face was found: R (3, 3), t (3,), camera, landmarks (478, 2) px, triangle ids (H, W)."""

    rotation: Array
    translation: Array
    camera: Camera
    landmarks: Array
    triangle: Array


def mesh_landmarks(
    vertices: Array,
    faces: Array,
    *,
    albedo: Any = None,
    uv: Array | None = None,
    weld: Array | None = None,
    focus: Array | None = None,
    cache: bool = True,
) -> LandmarkEmbedding:
    """Surface points of the 478 landmarks on a neutral head.

    Args:
        vertices: (V, 3) metres, head space: +y up, face towards +z.
        faces: (F, 3), counter-clockwise seen from outside.
        albedo: vertex colours (V, 3), a texture (H, W, 3) that ``uv`` addresses, or one colour; default: clay.
        uv: (V, 2), origin top-left.
        weld: (V,) canonical vertex of each vertex split by a seam.
        focus: (V,) bool, the part to look at first, such as the face of a whole body; default: all of it.
        cache: keep what is found in the user's cache folder, by the mesh's hash, and take it from there.

    Returns:
        The embedding; ``weight`` falls where the views disagree.

    Raises:
        NoFaceError: no face is found on the renders, or its landmarks are not those of a face.
        WeightsError: the landmarker's model file is missing.
    """
    points, triangles = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    place = _cached(points, triangles, albedo) if cache else None
    if place is not None:
        known = _load(place, len(points))
        if known is not None:
            return known
    found = _find(_Studio(points, triangles, albedo, uv, weld), focus, painted=albedo is not None)
    if place is not None:
        _store(place, found)
    return found


def rig_landmarks(rig: Rig) -> LandmarkEmbedding:
    """The rig's own embedding, or the one found on its neutral head, which is then kept as ``rig.landmarks``.

    Raises:
        NoFaceError: no face is found on its renders.
        WeightsError: the landmarker's model file is missing.
    """
    if rig.landmarks is not None:
        return rig.landmarks
    from omote.rigs.reach import control_ends
    from omote.rigs.regions import face_region

    neutral, _ = control_ends(rig)
    found = mesh_landmarks(
        neutral,
        rig.faces.numpy(),
        albedo=getattr(rig, "colours", None),
        weld=rig.weld.numpy(),
        focus=face_region(rig),
    )
    vars(rig)["landmarks"] = found
    return found


class _Studio:
    """Renders one mesh."""

    def __init__(
        self, vertices: Array, faces: Array, albedo: Any, uv: Array | None, weld: Array | None
    ) -> None:
        from omote.render.texture_sampling import Albedo

        self.vertices, self.faces, self.uv, self.weld = vertices, faces, uv, weld
        self.albedo = Albedo.from_srgb(np.asarray(_CLAY if albedo is None else albedo))

    def look(
        self, detector: FaceDetector, view: tuple[float, float], centre: Array, half: float
    ) -> tuple[_Look, Face] | None:
        """Render from ``view`` (yaw, pitch in degrees) at ``centre`` (3,), ``half`` metres high; None: no face."""
        from omote.render.scene import render_mesh

        rotation = _turn(*view)
        distance = _DISTANCE * half
        translation = np.array([0, 0, -distance]) - rotation @ centre
        camera = Camera(focal=SIZE / 2 * _DISTANCE, principal=(SIZE / 2, SIZE / 2), size=(SIZE, SIZE))
        placed = (self.vertices @ rotation.T + translation).astype(np.float32)
        buffers = render_mesh(
            placed,
            self.faces,
            camera,
            uv=self.uv,
            weld=self.weld,
            albedo=self.albedo,
            background=_BACKGROUND,
            supersample=2,
        )
        image = np.round(np.clip(buffers.rgb, 0, 1) * 255).astype(np.uint8)
        faces = detector.find(image)
        if not faces:
            return None
        face = detector.refine(image, faces[0])
        landmarks = face.landmarks[:, :2].astype(np.float64)
        return _Look(rotation, translation, camera, landmarks, np.asarray(buffers.triangle_id)), face


def _find(studio: _Studio, focus: Array | None, *, painted: bool) -> LandmarkEmbedding:
    shown = studio.vertices if focus is None or not focus.any() else studio.vertices[focus]
    low, high = shown.min(0).astype(np.float64), shown.max(0).astype(np.float64)
    centre, half = (low + high) / 2, max(float((high - low)[:2].max()) * 0.6, 1e-6)
    centre[2] = high[2] - half / 2
    with FaceDetector("image", max_faces=1) as detector:
        first = None
        for index in _SEARCH:
            first = studio.look(detector, VIEWS[index], centre, half)
            if first is not None:
                break
        if first is None:
            raise NoFaceError(
                "no face was found on the renders of this mesh",
                remedy="It needs a human face that looks along +z, +y up; give its axes if it does not.",
            )
        rough = _hits(first[0], studio)
        middle = np.median(rough, axis=0)
        size = float(np.percentile(np.linalg.norm(rough - middle, axis=1), 95))
        centre, half = middle, 1.7 * size
        found = [studio.look(detector, view, centre, half) for view in VIEWS]
    looks = [look for look, _ in (pair for pair in found if pair is not None)]
    if len(looks) < 3:
        raise NoFaceError(
            f"a face was found in {len(looks)} of {len(VIEWS)} renders only",
            remedy="Is the head whole, and its surface not turned inside out?",
        )
    points, spread = _triangulated(looks, [_hits(look, studio) for look in looks])
    _check_plausible(points)
    smooth = _smoothed(points, size, painted=painted)
    corners, barycentric, far = _onto_surface(smooth, studio, looks)
    weight = load_landmarks().weight / (1 + (np.hypot(spread, far) / (0.04 * size)) ** 2)
    if not painted:
        weight[:468][_bare()] *= 0.5
    return LandmarkEmbedding(corners, barycentric.astype(np.float32), weight.astype(np.float32))


def _turn(yaw: float, pitch: float) -> Array:
    """(3, 3) head to camera: yaw to the subject's left, then pitch up."""
    cy, sy = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    cp, sp = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    return np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


def _hits(look: _Look, studio: _Studio) -> Array:
    """(478, 3) head space: the surface seen at each landmark, or at the nearest pixel that shows any."""
    from scipy.spatial import cKDTree

    seen = np.argwhere(look.triangle >= 0)
    _, nearest = cKDTree(seen[:, ::-1] + 0.5).query(look.landmarks)
    rows, columns = seen[nearest].T
    corners = studio.vertices[studio.faces[look.triangle[rows, columns]]].astype(np.float64)
    origin, rays = _rays(look, np.stack([columns + 0.5, rows + 0.5], axis=1))
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    along = np.einsum("kc,kc->k", rays, normal)
    middle = corners.mean(1)
    depth = np.einsum("kc,kc->k", middle - origin, normal) / np.where(along == 0, np.inf, along)
    ends = np.einsum(
        "kjc,kc->kj", corners - origin, rays
    )  # a triangle seen edge-on bounds what its plane says
    depth = np.clip(depth, ends.min(1), ends.max(1))
    return np.asarray(origin + depth[:, None] * rays)


def _rays(look: _Look, pixels: Array) -> tuple[Array, Array]:
    """Origin (3,) and unit directions (K, 3) in head space of pixels (K, 2)."""
    flat = (pixels - look.camera.principal) / look.camera.focal * (1, -1)
    rays = np.concatenate([flat, -np.ones((len(flat), 1))], axis=1) @ look.rotation
    return -look.rotation.T @ look.translation, rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _triangulated(looks: list[_Look], hits: list[Array]) -> tuple[Array, Array]:
    """(478, 3) points nearest to the views' rays, robustly, and (478,) metres by which the rays miss them.

    Each ray pulls across itself with weight 1 and along itself, towards the surface it hits, with a tenth: a landmark
    seen from nearly one side only stays on the surface. Weights fall with the miss (Cauchy) and with the angle.
    """
    rays = np.stack([_rays(look, look.landmarks)[1] for look in looks])
    origins = np.stack([_rays(look, look.landmarks)[0] for look in looks])
    targets = np.stack(hits)
    turned = np.array([look.rotation[2, 2] for look in looks]) ** 4  # frontal views tell most
    points = np.median(targets, axis=0)
    size = float(np.percentile(np.linalg.norm(points - points.mean(0), axis=1), 95))
    across = np.eye(3) - rays[..., :, None] * rays[..., None, :] * 0.9
    miss = np.zeros(points.shape[0])
    for _ in range(12):
        offset = points[None] - origins[:, None]
        beside = offset - np.einsum("vkc,vkc->vk", offset, rays)[..., None] * rays
        far = np.linalg.norm(beside, axis=2)
        weight = turned[:, None] / (1 + (far / (0.02 * size)) ** 2)
        matrix = np.einsum("vk,vkij->kij", weight, across)
        right = np.einsum("vk,vkij,vkj->ki", weight, across, targets)
        points = np.linalg.solve(matrix, right[..., None])[..., 0]
        miss = np.sqrt((weight * far**2).sum(0) / weight.sum(0))
    return points, miss


def _check_plausible(points: Array) -> None:
    """Raise unless the points lie as those of a face do: like the canonical one, and about mirror-symmetric."""
    canonical = canonical_vertices()[:468].astype(np.float64)
    size = float(np.ptp(canonical, axis=0).max())
    fit = align(points[:468], canonical)
    off = float(np.sqrt(np.mean(np.sum((fit.apply(points[:468]) - canonical) ** 2, axis=1)))) / size
    placed = fit.apply(points)
    mirrored = placed[mirror_permutation()] * (-1, 1, 1)
    lopsided = float(np.median(np.linalg.norm(mirrored - placed, axis=1))) / size
    if off > _OFF or lopsided > _LOPSIDED:
        raise NoFaceError(
            f"what was found on the renders does not lie as a face does ({100 * off:.0f} % off, "
            f"{100 * lopsided:.0f} % lopsided)",
            remedy="It needs a human face that looks along +z, +y up.",
        )


def _smoothed(points: Array, size: float, *, painted: bool) -> Array:
    """(478, 3) with the noise of single landmarks taken out: a smooth warp of the canonical face; irises as found.

    Loose landmarks follow their neighbours: those of the outline, which slide with the view, and on a head without
    colours the brows and the forehead, where nothing tells the network where the hair grows.
    """
    from scipy.interpolate import RBFInterpolator

    canonical = canonical_vertices()[:468].astype(np.float64)
    loose = np.isin(np.arange(468), OVAL) | (_bare() & ~painted)
    start = align(canonical, points[:468] / size).apply(canonical)
    smoothing = np.where(loose, _SMOOTHING * _LOOSE, _SMOOTHING)
    warp = RBFInterpolator(start, points[:468] / size, kernel="thin_plate_spline", smoothing=smoothing)
    return np.concatenate([warp(start) * size, points[468:]])


def _bare() -> Array:
    """(468,) bool: the brows and the forehead, which colour alone tells apart."""
    height = canonical_vertices()[:468, 1]
    return np.asarray(height >= height[[i for side in BROW.values() for i in side]].min())


def _onto_surface(points: Array, studio: _Studio, looks: list[_Look]) -> tuple[Array, Array, Array]:
    """Nearest seen surface: vertex indices (K, 3), barycentrics (K, 3) and the distances (K,) in metres."""
    from scipy.spatial import cKDTree

    seen = np.unique(np.concatenate([look.triangle.ravel() for look in looks]))
    seen = seen[seen >= 0]
    corners = studio.faces[seen]
    triangles = studio.vertices[corners].astype(np.float64)
    count = min(60, len(seen))
    _, near = cKDTree(triangles.mean(1)).query(points, k=count)
    near = near.reshape(len(points), count)
    barycentric = closest_barycentric(triangles[near], points[:, None])
    placed = np.einsum("kncj,knc->knj", triangles[near], barycentric)
    far = np.linalg.norm(placed - points[:, None], axis=2)
    best = far.argmin(1)
    rows = np.arange(len(points))
    return corners[near[rows, best]], barycentric[rows, best], far[rows, best]


def closest_barycentric(triangles: Array, points: Array) -> Array:
    """(..., 3) barycentrics of the point of each triangle (..., 3, 3) nearest to points (..., 3).

    Ericson, "Real-Time Collision Detection", 2004, section 5.1.5: inside, else the nearest of the three edges.
    """
    a, b, c = (triangles[..., i, :] for i in range(3))
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (np.sum(p * q, axis=-1) for p, q in ((ab, ab), (ab, ac), (ac, ac)))
    d20, d21 = np.sum(ap * ab, axis=-1), np.sum(ap * ac, axis=-1)
    area = d00 * d11 - d01 * d01
    flat = area <= 1e-18
    v = (d11 * d20 - d01 * d21) / np.where(flat, 1, area)
    w = (d00 * d21 - d01 * d20) / np.where(flat, 1, area)
    best = np.stack([1 - v - w, v, w], axis=-1)
    outside = flat | (best < 0).any(axis=-1)
    distance = np.where(outside, np.inf, 0.0)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, edge = triangles[..., i, :], triangles[..., j, :] - triangles[..., i, :]
        length = np.maximum(np.sum(edge * edge, axis=-1), 1e-18)
        share = np.clip(np.sum((points - start) * edge, axis=-1) / length, 0, 1)
        far = np.sum((start + share[..., None] * edge - points) ** 2, axis=-1)
        nearer = outside & (far < distance)
        on_edge = np.zeros_like(best)
        on_edge[..., i], on_edge[..., j] = 1 - share, share
        best = np.where(nearer[..., None], on_edge, best)
        distance = np.where(nearer, far, distance)
    return best


def _cached(vertices: Array, faces: Array, albedo: Any) -> Path:
    """Where the correspondence of this mesh is kept."""
    from omote.weights import cache_dir

    digest = hashlib.sha256(f"mesh landmarks {VERSION}".encode())
    parts = (vertices.astype("<f4"), faces.astype("<i8"), None if albedo is None else np.asarray(albedo))
    for part in parts:
        digest.update(
            b"-" if part is None else str(part.shape).encode() + np.ascontiguousarray(part).tobytes()
        )
    return cache_dir() / "landmarks" / f"{digest.hexdigest()[:32]}.npz"


def _load(path: Path, count: int) -> LandmarkEmbedding | None:
    """What is kept at ``path``; None where nothing is, or it does not fit ``count`` vertices."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            vertices, barycentric = (
                stored["vertices"].astype(np.int64),
                stored["barycentric"].astype(np.float32),
            )
            weight = stored["weight"].astype(np.float32)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    whole = vertices.shape == (COUNT, 3) and barycentric.shape == (COUNT, 3) and weight.shape == (COUNT,)
    if not whole or vertices.min() < 0 or vertices.max() >= count:
        return None
    return LandmarkEmbedding(vertices, barycentric, weight)


def _store(path: Path, found: LandmarkEmbedding) -> None:
    """Keep a correspondence; a cache that cannot be written to is none."""
    from omote.media import atomic_path

    with contextlib.suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, Path(temporary).open("wb") as stream:
            np.savez_compressed(
                stream, vertices=found.vertices, barycentric=found.barycentric, weight=found.weight
            )
