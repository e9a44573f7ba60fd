"""Scans as pictures: a head from a file is turned to the camera, brought to metres, and rendered with its normals.

Nothing is asked about a scan: it is rendered from 24 sides, the face detector looks at each, and what it finds must
also be a face in relief, which tells faces from their hollow insides and from the pattern of an ear or of hair.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.capture.detect import FaceDetector
from omote.capture.fit import FitOptions
from omote.capture.landmark_model import landmark_model
from omote.capture.landmarker import Face
from omote.capture.observation import FOCAL_OVER_SIDE
from omote.capture.scan_files import CLAY, Scan, load_scan
from omote.errors import InputError, NoFaceError
from omote.geometry.alignment import Similarity, align
from omote.performance import Camera

Array = NDArray[Any]

SIDE = 512
"""Width and height of the pictures of a scan, px."""
DISTANCE_M = 0.65
"""From the camera to the middle of the face: at this focal length the whole head fits."""
BACKGROUND = (127, 127, 127)
_SEARCHED = 320  # px of the pictures that are searched for the face
_FAR = 5.0  # the search's camera: so many times the scan's extent away
_CLEAR_MM, _DOUBTFUL_MM = 5.0, 11.0
"""Distance of the scan's landmarks from those of an average head (root mean square, after alignment) below which the
search ends at once, and above which what was found is no face."""
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254}
_SAME_UNIT = 1.25
"""A scan is in a unit if its face is then at most so many times larger or smaller than the average one."""
_FROM_MOUTH = -0.05  # metres below the eyes: landmarks below here move with the expression


@dataclass(frozen=True)
class ScanView:
    """A scan seen from the front.

    Attributes:
        rgb: (H, W, 3) uint8 sRGB, under the three-point light, over grey.
        normals: (H, W, 3) uint8 encoded camera-space normals (`omote.render.encode_normals`).
        alpha: (H, W) 0..1.
        camera: what it was rendered with.
        face: the face in ``rgb``.
        placement: scan file coordinates to camera space, metres.
        unit: "m", "cm", "mm", "in", or "" where the face has none of these sizes and got the average one.
        coloured: whether the file has colours.
    """

    rgb: NDArray[np.uint8]
    normals: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    camera: Camera
    face: Face
    placement: Similarity
    unit: str
    coloured: bool


def view_scan(path: str | Path, detector: FaceDetector | None = None, *, side: int = SIDE) -> ScanView:
    """Load a scan, find its face, and render it from the front.

    Args:
        path: ``.obj``, ``.ply`` or ``.glb``.
        detector: one for images; default: a new one.
        side: width and height of the pictures, px.

    Raises:
        NoFaceError: no side of the scan shows a face.
        InputError: the file cannot be read; see `omote.capture.scan_files.load_scan`.
    """
    scan = load_scan(path)
    own = FaceDetector("image") if detector is None else detector
    try:
        return _front_view(scan, own, side)
    except NoFaceError as error:
        raise NoFaceError(error.what, where=path, remedy=error.remedy) from error
    except InputError as error:
        raise InputError(error.what, where=path, remedy=error.remedy) from error
    finally:
        if detector is None:
            own.close()


def scan_options(options: FitOptions | None) -> FitOptions:
    """The fit's options for the picture of a scan, whose camera is known."""
    return replace(options or FitOptions(), focal_spread=0.0)


def describe_view(view: ScanView) -> dict[str, Any]:
    """What a performance remembers of its scan."""
    return {"scan": {"unit": view.unit, "metres_per_unit": view.placement.scale, "coloured": view.coloured}}


def front_camera(side: int = SIDE) -> Camera:
    """The camera of a `ScanView`."""
    return Camera(FOCAL_OVER_SIDE * side, (side / 2, side / 2), (side, side))


def _front_view(scan: Scan, detector: FaceDetector, side: int) -> ScanView:
    to_head = find_face(scan, detector)
    camera = front_camera(side)
    for _ in range(2):  # what is seen from the front is more exact than what was found first
        to_camera = _before_camera(to_head)
        picture = render_scan(scan, to_camera, camera)
        face = _largest(detector.find(picture.rgb))
        if face is None:
            break
        found = _head_alignment(detector.refine(picture.rgb, face), picture, to_camera, camera)
        if found is None:
            break
        to_head = found[0]
    to_head, unit = _to_unit(to_head)
    to_camera = _before_camera(to_head)
    picture = render_scan(scan, to_camera, camera)
    face = _largest(detector.find(picture.rgb))
    if face is None:
        raise _no_face()
    face = detector.refine(picture.rgb, face)
    return ScanView(
        picture.rgb,
        picture.normals,
        picture.alpha,
        camera,
        face,
        to_camera,
        unit,
        scan.coloured,
    )


# ---- rendering -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScanPicture:
    """rgb and encoded normals (H, W, 3) uint8, alpha (H, W) 0..1, depth (H, W) metres, 0 where nothing is."""

    rgb: NDArray[np.uint8]
    normals: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]


def render_scan(scan: Scan, to_camera: Similarity, camera: Camera, *, supersample: int = 2) -> ScanPicture:
    """Render all parts of a scan, the nearest in front.

    Args:
        scan: what to render; without colours it is grey clay.
        to_camera: file coordinates to camera space; what is not in front of the camera is left out.
        camera: where from.
        supersample: as in `omote.render.render_mesh`.
    """
    from omote.render import encode_normals, render_mesh

    width, height = camera.size
    colour = np.zeros((height, width, 3), np.float32)  # times alpha
    normal = np.zeros((height, width, 3), np.float32)  # times alpha
    alpha, depth = np.zeros((2, height, width), np.float32)
    for part, vertices, faces in zip(scan.parts, *_placed(scan, to_camera), strict=True):
        if not len(faces):
            continue
        drawn = render_mesh(
            vertices,
            faces,
            camera,
            uv=part.uv,
            albedo=part.albedo if scan.coloured and part.albedo is not None else CLAY,
            weld=part.weld,
            supersample=supersample,
        )
        nearer = (drawn.depth > 0) & ((depth == 0) | (drawn.depth < depth))
        ours = drawn.alpha * np.where(nearer, 1, 1 - alpha)
        theirs = np.where(nearer, 1 - drawn.alpha, 1)
        colour = colour * theirs[..., None] + drawn.rgb * ours[..., None]
        normal = normal * theirs[..., None] + drawn.normal_camera * ours[..., None]
        alpha, depth = alpha * theirs + ours, np.where(nearer, drawn.depth, depth)
    rgb = colour * 255 + np.array(BACKGROUND, np.float32) * (1 - alpha[..., None])
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = normal / np.maximum(length, 1e-6)
    return ScanPicture(
        np.rint(rgb.clip(0, 255)).astype(np.uint8), encode_normals(normal, alpha), alpha, depth
    )


def _placed(scan: Scan, to_camera: Similarity) -> tuple[list[Array], list[Array]]:
    """Vertices in camera space, and the triangles wholly in front of the camera, of each part."""
    points = [to_camera.apply(part.vertices.astype(np.float64)).astype(np.float32) for part in scan.parts]
    faces = []
    for part, placed in zip(scan.parts, points, strict=True):
        good = np.isfinite(placed).all(1) & (placed[:, 2] < -1e-3)
        placed[~good] = (0, 0, -1)
        faces.append(part.faces if good.all() else part.faces[good[part.faces].all(1)])
    return points, faces


def _before_camera(to_head: Similarity) -> Similarity:
    """File coordinates to camera space, the middle of the face straight ahead."""
    middle = _average_landmarks().mean(0)
    shift = np.array([0.0, 0.0, -DISTANCE_M]) - (*middle[:2], 0.0)
    return Similarity(to_head.scale, to_head.rotation, to_head.translation + shift)


# ---- where the face is -----------------------------------------------------------------------------------------------


def find_face(scan: Scan, detector: FaceDetector) -> Similarity:
    """File coordinates to head space: the scan is rendered from 24 sides, and the best face found counts.

    Args:
        scan: of any unit and axes.
        detector: for images.

    Raises:
        NoFaceError: no side shows a face.
        InputError: the scan has no extent.
    """
    points = scan.vertices[np.isfinite(scan.vertices).all(1)]
    low, high = np.quantile(points, [0.002, 0.998], axis=0)  # scans have crumbs far away
    extent = float(np.linalg.norm(high - low))
    if not extent > 0 or not np.isfinite(extent):
        raise InputError("the scan is one point")
    camera = Camera(0.92 * _FAR * _SEARCHED, (_SEARCHED / 2,) * 2, (_SEARCHED, _SEARCHED))
    for hard in (False, True):
        best: tuple[Similarity, float] | None = None
        for rotation in _sides():
            # The search's own unit: the scan is as large as a head in metres, so that any file fits the renderer.
            scale = 0.3 / extent
            middle = scale * rotation @ ((low + high) / 2)
            view = Similarity(scale, rotation, np.array([0, 0, -_FAR * 0.3]) - middle)
            picture = render_scan(scan, view, camera, supersample=1)
            faces = detector.find(picture.rgb) if hard else detector.glance(picture.rgb)
            found = [_head_alignment(face, picture, view, camera) for face in faces]
            best = min([best, *found], key=lambda f: np.inf if f is None else f[1])
            if best is not None and best[1] < _CLEAR_MM:
                return best[0]
        if best is not None and best[1] < _DOUBTFUL_MM:
            return best[0]
    raise _no_face()


def _no_face() -> NoFaceError:
    return NoFaceError(
        "no face was found on the scan",
        remedy="Is it a human head, whole enough to have eyes, nose and mouth?",
    )


@cache
def _sides() -> tuple[Array, ...]:
    """The 24 rotations of a cube, the usual ones first: facing +z, -y with z up, +y with z up, -z; then the others."""
    usual = [
        np.eye(3),
        np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
        np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]),
        np.diag([-1, 1, -1]),
    ]
    others = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0 and not any((matrix == known).all() for known in usual):
                others.append(matrix)
    return (*[matrix.astype(np.float64) for matrix in usual], *others)


@cache
def _average_landmarks() -> Array:
    """(478, 3) metres, head space: the landmarks of the average head."""
    return landmark_model().rest


def _head_alignment(
    face: Face, picture: ScanPicture, view: Similarity, camera: Camera
) -> tuple[Similarity, float] | None:
    """File coordinates to head space by the landmarks' places on the surface, and how badly they fit, mm.

    Detected landmarks are taken to the surface by the depth under them; a hollow or flat face then does not fit.
    """
    from omote.geometry.cameras import unproject

    pixels = face.landmarks[:, :2].astype(np.float64)
    column, row = (np.floor(pixels).astype(int)).T
    width, height = camera.size
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    depth = np.zeros(len(pixels))
    depth[inside] = picture.depth[row[inside], column[inside]]
    target = _average_landmarks()
    weight = landmark_model().weight * (depth > 0) * np.where(target[:, 1] > _FROM_MOUTH, 1.0, 0.1)
    weight[468:] = 0  # irises: eyes may be open holes
    if (weight > 0.5).sum() < 60:
        return None
    surface = unproject(camera, pixels, np.where(depth > 0, depth, 1.0))
    source = view.inverse().apply(surface)
    try:
        for _ in range(3):
            found = align(source, target, weight)
            away = np.linalg.norm(found.apply(source) - target, axis=1)
            middle = np.median(away[weight > 0.5])
            kept = weight * (away < 3 * middle)
            fit = align(source, target, kept)
    except InputError:  # all in one place
        return None
    away = np.linalg.norm(fit.apply(source) - target, axis=1)
    good = weight > 0
    error = float(np.sqrt((weight[good] * np.minimum(away[good], 0.05) ** 2).sum() / weight[good].sum()))
    return fit, 1000 * error


def _to_unit(to_head: Similarity) -> tuple[Similarity, str]:
    """The same with the scale of the nearest unit of length, if there is one, about the middle of the face."""
    for unit, size in UNITS.items():
        ratio = to_head.scale / size
        if 1 / _SAME_UNIT < ratio < _SAME_UNIT:
            middle = _average_landmarks().mean(0)
            moved = middle + (to_head.translation - middle) / ratio
            return Similarity(size, to_head.rotation, moved), unit
    return to_head, ""


def _largest(faces: list[Face]) -> Face | None:
    return faces[0] if faces else None
