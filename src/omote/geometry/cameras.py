"""The pinhole camera: 3-D points to pixels and back, for numpy arrays and torch tensors alike.

Camera space is x right, y up, z towards the viewer, so what the camera sees has negative z. Pixels are
continuous, x right, y down, with centres at +0.5: ``u = cx + f X / -Z``, ``v = cy - f Y / -Z``. Depth is -Z,
metres.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from omote.performance import Camera

__all__ = [
    "field_of_view_to_focal",
    "focal_to_field_of_view",
    "intrinsics",
    "project",
    "project_jacobian",
    "transform",
    "unproject",
]

Points = Any  # a numpy array, which gives an array, or a torch tensor, which gives a tensor


def project(camera: Camera, points: Points) -> Points:
    """(..., 3) metres in camera space to (..., 2) pixels; points at z >= 0 give numbers without meaning."""
    scale = _like(points, [camera.focal, -camera.focal])
    return points[..., :2] / -points[..., 2:] * scale + _like(points, camera.principal)


def unproject(camera: Camera, pixels: Points, depth: Points) -> Points:
    """(..., 2) pixels and their (...) depth in metres, > 0, to (..., 3) metres in camera space."""
    scale = _like(pixels, [1 / camera.focal, -1 / camera.focal])
    xy = (pixels - _like(pixels, camera.principal)) * scale * depth[..., None]
    if isinstance(pixels, np.ndarray):
        return np.concatenate([xy, -np.broadcast_to(depth, xy.shape[:-1])[..., None]], -1)
    import torch

    return torch.cat([xy, -depth.expand(xy.shape[:-1])[..., None]], -1)


def project_jacobian(camera: Camera, points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(..., 3) metres in camera space to (..., 2, 3) pixels per metre: how the pixel follows the point."""
    x, y, z = np.moveaxis(points, -1, 0)
    near = camera.focal / -z
    zero = np.zeros_like(near)
    rows = [near, zero, near * x / -z, zero, -near, -near * y / -z]
    return np.stack(rows, -1).reshape(*points.shape[:-1], 2, 3)


def transform(rotation: Points, translation: Points, points: Points) -> Points:
    """Head space to camera space: ``R p + t``.

    Args:
        rotation: (..., 3, 3) matrices.
        translation: (..., 3) metres.
        points: (..., N, 3) metres, leading axes as the others' or broadcast against them.

    Returns:
        (..., N, 3) metres.
    """
    return points @ rotation.swapaxes(-1, -2) + translation[..., None, :]


def intrinsics(camera: Camera) -> np.ndarray[Any, Any]:
    """(3, 3) OpenCV intrinsic matrix, for points whose y and z were negated (x right, y down, z away)."""
    cx, cy = camera.principal
    return np.array([[camera.focal, 0, cx], [0, camera.focal, cy], [0, 0, 1]])


def field_of_view_to_focal(angle: float, extent: float) -> float:
    """Focal length in pixels of a field of view in radians across ``extent`` pixels (width or height)."""
    return 0.5 * extent / math.tan(0.5 * angle)


def focal_to_field_of_view(focal: float, extent: float) -> float:
    """Field of view in radians across ``extent`` pixels (width or height) of a focal length in pixels."""
    return 2.0 * math.atan2(0.5 * extent, focal)


def _like(points: Any, values: Any) -> Any:
    """``values`` as an array of the kind, type and device of ``points``."""
    if isinstance(points, np.ndarray):
        return np.array(values, points.dtype if points.dtype.kind == "f" else np.float64)
    return points.new_tensor(values)
