"""How a photo sees the head: what is visible, how far from an outline, and whether a pixel is the head's at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.performance import Camera
from omote.render.rasterize import rasterize
from omote.rigs.asset import load_head_asset, triangles

Floats = NDArray[np.float32]

WINDOW, ENLARGED = 768, 4.0
"""Longest side of the picture in which visibility is decided, pixels, and by how much a small head is enlarged."""
FAR = 100.0
_JUMP = 0.005
"""Metres of depth between neighbouring pixels that make an outline."""


@dataclass(frozen=True)
class View:
    """The head in the photo, in a window of (h, w) pixels.

    Attributes:
        origin: (x, y) of the window in the photo, photo pixels.
        scale: window pixels for each photo pixel.
        camera: of the window.
        depth: (h, w) metres, `FAR` where the head is not.
        part: (h, w) int16 part of the head, -1 where it is not.
        inner: (h, w) pixels to the nearest outline within the head or border between parts.
        outer: (h, w) pixels to the nearest point outside the head.
        pixel: metres that a window pixel covers at the head's distance.
    """

    origin: tuple[int, int]
    scale: float
    camera: Camera
    depth: Floats
    part: NDArray[np.int16]
    inner: Floats
    outer: Floats
    pixel: float

    def place(self, points: np.ndarray) -> Floats:
        """(n, 2) photo pixels to window pixels."""
        return np.asarray((points - self.origin) * self.scale, np.float32)


def project(points: np.ndarray, camera: Any) -> Floats:
    """(n, 3) metres, camera space, to (n, 2) photo pixels; points behind the camera go far away."""
    near = camera.focal / np.maximum(-points[:, 2:], 1e-3)
    return np.asarray(points[:, :2] * near * (1.0, -1.0) + camera.principal, np.float32)


def look(vertices: Floats, camera: Any, size: tuple[int, int]) -> View | None:
    """Rasterise the head (without lashes) into a window of a photo of ``size`` (w, h) px; None if it is not in it."""
    spots = project(vertices, camera)
    low = np.maximum(np.floor(spots.min(0)) - 12, 0).astype(int)
    high = np.minimum(np.ceil(spots.max(0)) + 12, size).astype(int)
    if (high - low < 4).any() or (vertices[:, 2] >= 0).any():
        return None
    scale = min(ENLARGED, WINDOW / float((high - low).max()))
    extent = tuple(int(n) for n in np.maximum(np.ceil((high - low) * scale), 1))
    middle = (np.array(camera.principal) - low) * scale
    own = Camera(camera.focal * scale, (float(middle[0]), float(middle[1])), (extent[0], extent[1]))
    asset = load_head_asset()
    corners, part = triangles(asset["quads"]), np.repeat(asset["quad_part"], 2)
    solid = part != asset.header["parts"].index("lashes")
    screen = np.concatenate([(spots - low) * scale, -1 / vertices[:, 2:]], 1).astype(np.float32)
    number, weights = rasterize(screen, corners[solid].astype(np.int32), own.size)
    seen = number >= 0
    corner = corners[solid][number[seen]]
    share = np.concatenate([1 - weights[seen].sum(1, keepdims=True), weights[seen]], 1)
    depth = np.full(number.shape, FAR, np.float32)
    depth[seen] = -(vertices[corner, 2] * share).sum(1)
    parts = np.full(number.shape, -1, np.int16)
    parts[seen] = part[solid][number[seen]]
    pixel = float(np.median(-vertices[:, 2])) / own.focal
    inner, outer = _outlines(depth, parts, pixel)
    return View((int(low[0]), int(low[1])), scale, own, depth, parts, inner, outer, pixel)


def _outlines(depth: Floats, part: NDArray[np.int16], pixel: float) -> tuple[Floats, Floats]:
    """Distances in pixels: to depth jumps and part borders, and to what is not the head."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    head = part >= 0
    inside = np.where(head, depth, 0).astype(np.float32)
    nearest = cv2.erode(np.where(head, depth, FAR).astype(np.float32), kernel)
    jump = cv2.dilate(inside, kernel) - nearest > _JUMP + 4 * pixel
    number = part.astype(np.float32)
    jump |= (cv2.dilate(number, kernel) != cv2.erode(number, kernel)) & head
    jump |= ~head
    inner = cv2.distanceTransform((~jump).astype(np.uint8), cv2.DIST_L2, 3)
    framed = np.pad(head, 1, mode="edge")  # the picture's own border is no outline
    outer = cv2.distanceTransform(framed.astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.asarray(inner, np.float32), np.asarray(outer, np.float32)


def belongs(picture: Floats, view: View) -> Floats:
    """(h, w) 0..1: whether pixels near the head's silhouette have the head's colours rather than the background's.

    The colours of the nearby background and of the nearby head are means over pixels on the safe side of the
    outline; a pixel is placed between them on the line that joins them, as in matting by two known layers.

    Args:
        picture: (h, w, 3) sRGB 0..1, the window.
        view: the head in it.
    """
    import cv2

    head = view.part >= 0
    millimetre = 0.001 / view.pixel
    step = max(1, round(2.0 * millimetre))
    small = (max(2, picture.shape[1] // step), max(2, picture.shape[0] // step))
    outside = cv2.distanceTransform((~head).astype(np.uint8), cv2.DIST_L2, 3)
    layers = []
    for sure in (view.outer > 12 * millimetre, outside > 3 * millimetre):
        mask = sure.astype(np.float32)[..., None]
        mixed = cv2.resize(np.concatenate([picture * mask, mask], 2), small, interpolation=cv2.INTER_AREA)
        mixed = cv2.GaussianBlur(mixed, (0, 0), 6.0, borderType=cv2.BORDER_CONSTANT)
        mean = mixed[..., :3] / np.maximum(mixed[..., 3:], 1e-6)
        wide = cv2.resize(np.concatenate([mean, mixed[..., 3:]], 2), picture.shape[1::-1])
        layers.append(wide)
    (own, ground) = layers
    axis = own[..., :3] - ground[..., :3]
    length = (axis * axis).sum(2)
    share = ((picture - ground[..., :3]) * axis).sum(2) / np.maximum(length, 1e-6)
    keep = smoothstep(share, 0.35, 0.75)
    known = smoothstep(length, 0.01, 0.03) * (own[..., 3] > 1e-3) * (ground[..., 3] > 1e-3)
    near = 1 - smoothstep(view.outer, 14 * millimetre, 20 * millimetre)
    return np.asarray(1 - known * near * (1 - keep), np.float32)


def smoothstep(values: np.ndarray, low: float, high: float) -> Floats:
    """Hermite step from 0 at ``low`` to 1 at ``high``."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)
