"""What a render returns, and the per-pixel geometry behind it: all differentiable at fixed visibility."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from omote.checks import check_shape

_SMALLEST_AREA = (
    1e-2  # px², doubled: below, vertex snapping (1/4096 px) would dominate the recomputed barycentrics
)


@dataclass(frozen=True)
class Buffers:
    """One rendered image; tensors, or numpy arrays if the vertices were. Empty pixels are 0 (triangle_id -1).

    Attributes:
        rgb: (H, W, 3) sRGB 0..1; over the background if there is one, else straight (not multiplied by alpha).
        alpha: (H, W) 0..1 coverage.
        depth: (H, W) metres along the view axis (-Z), of the nearest sample.
        normal_camera: (H, W, 3) unit normals, camera space (x right, y up, z towards the viewer).
        normal_tangent: (H, W, 3) unit normals in the tangent frame (docs/conventions.md), or None without uv.
        uv: (H, W, 2) texture coordinates of the nearest sample, origin upper left, or None without uv.
        albedo: (H, W, 3) sRGB 0..1, without light.
        triangle_id: (H, W) int32 of the nearest sample, -1 where empty.
    """

    rgb: Any
    alpha: Any
    depth: Any
    normal_camera: Any
    normal_tangent: Any
    uv: Any
    albedo: Any
    triangle_id: Any

    def numpy(self) -> Buffers:
        """The same as numpy arrays."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Buffers(
            **{k: v.detach().cpu().numpy() if isinstance(v, Tensor) else v for k, v in values.items()}
        )


def project_to_screen(vertices: Tensor, camera: Any, scale: float = 1.0) -> Tensor:
    """Camera-space vertices (V, 3) metres to screen positions (V, 3): x px, y px, 1/depth.

    ``scale`` enlarges the image: the result is for ``scale`` times the camera's size.
    """
    inverse = -1.0 / torch.where(vertices[:, 2] == 0, -1e-9, vertices[:, 2])
    cx, cy = camera.principal
    x = (cx + camera.focal * vertices[:, 0] * inverse) * scale
    y = (cy - camera.focal * vertices[:, 1] * inverse) * scale
    return torch.stack([x, y, inverse], -1)


def barycentrics_at(corners: Tensor, pixels: Tensor, fallback: Tensor) -> Tensor:
    """Perspective-correct barycentrics at pixel centres, differentiable in the corners.

    Args:
        corners: (N, 3, 3) screen positions (x px, y px, 1/depth) of each pixel's triangle.
        pixels: (N, 2) x, y px.
        fallback: (N, 2) the rasteriser's weights of vertices 1 and 2, used for slivers.

    Returns:
        (N, 3) weights that sum to 1.
    """
    a, b, c = (corners[:, k, :2] for k in range(3))
    (abx, aby), (acx, acy), (px, py) = ((v - a).unbind(-1) for v in (b, c, pixels))
    area = abx * acy - aby * acx
    sliver = area.abs() < _SMALLEST_AREA
    inverse = 1 / torch.where(sliver, 1.0, area)
    one, two = (px * acy - py * acx) * inverse, (abx * py - aby * px) * inverse
    weights = torch.stack([1 - one - two, one, two], -1) * corners[:, :, 2]
    weights = weights / weights.sum(-1, keepdim=True)
    rough = torch.cat([1 - fallback.sum(-1, keepdim=True), fallback], -1).to(weights)
    return torch.where(sliver[:, None], rough, weights)


def interpolate(values: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    """Per-vertex values (V, C) at (N,) points given their corner vertices (N, 3) and weights (N, 3): (N, C)."""
    gathered = values.index_select(0, corners.reshape(-1)).view(-1, 3, values.shape[1])
    return (gathered * weights[..., None]).sum(1)


def vertex_tangents(vertices: Tensor, faces: Tensor, uv: Tensor, normals: Tensor) -> Tensor:
    """Tangents for tangent-space normals.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) vertex indices.
        uv: (V, 2), origin upper left.
        normals: (V, 3) unit.

    Returns:
        (V, 4): unit dP/du made orthogonal to the normal (an arbitrary direction where the uv are degenerate), and the
        handedness h = ±1: the bitangent h · n × t points where -v grows, up in the texture.
    """
    p, t = vertices[faces], uv[faces].to(vertices)
    (e1, e2), (d1, d2) = (p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), (t[:, 1] - t[:, 0], t[:, 2] - t[:, 0])
    orientation = (d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]).sign()[
        :, None
    ]  # area weighted: not divided by the area in uv
    along_u = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) * orientation
    along_up = (e1 * d2[:, :1] - e2 * d1[:, :1]) * orientation
    sums = torch.zeros(len(vertices), 6, dtype=vertices.dtype, device=vertices.device)
    for corner in range(3):
        sums = sums.index_add(0, faces[:, corner], torch.cat([along_u, along_up], -1))
    tangent, up = sums[:, :3], sums[:, 3:]
    tangent = tangent - normals * (normals * tangent).sum(-1, keepdim=True)
    spare = torch.cross(normals, normals.roll(1, -1) + 0.1, dim=-1)
    degenerate = tangent.square().sum(-1, keepdim=True) < 1e-24
    tangent = normalize(torch.where(degenerate, spare, tangent), dim=-1, eps=1e-30)
    handedness = (torch.cross(normals, tangent, dim=-1) * up).sum(-1, keepdim=True)
    return torch.cat([tangent, torch.where(handedness < 0, -1.0, 1.0).to(tangent)], -1)


def to_tangent_space(normals: Tensor, frame_normals: Tensor, tangents: Tensor) -> Tensor:
    """Unit normals (N, 3) expressed in frames given by normals (N, 3) and tangents with handedness (N, 4): (N, 3)."""
    n = normalize(frame_normals, dim=-1)
    t = tangents[:, :3]
    t = normalize(t - n * (n * t).sum(-1, keepdim=True), dim=-1)
    b = torch.cross(n, t, dim=-1) * torch.where(tangents[:, 3:] < 0, -1.0, 1.0).to(n)
    return torch.stack([(normals * axis).sum(-1) for axis in (t, b, n)], -1)


def encode_normals(normals: Any, alpha: Any = None) -> np.ndarray[Any, Any]:
    """Normals (H, W, 3) -1..1 to an RGB image, uint8: round((n + 1) / 2 · 255).

    With ``alpha`` (H, W), pixels of alpha 0 become the neutral (128, 128, 255).
    """
    array = normals.detach().cpu().numpy() if isinstance(normals, Tensor) else np.asarray(normals)
    check_shape("normals", array, "H", "W", 3)
    encoded = np.rint((np.clip(array, -1, 1) + 1) * 127.5).astype(np.uint8)
    if alpha is not None:
        mask = alpha.detach().cpu().numpy() if isinstance(alpha, Tensor) else np.asarray(alpha)
        encoded[mask <= 0] = (128, 128, 255)
    return encoded


def decode_normals(image: Any) -> np.ndarray[Any, Any]:
    """An RGB-encoded normal map (H, W, 3) uint8 to unit normals float32; inverse of `encode_normals` to 1/255."""
    normals = np.asarray(image, np.float32) / 127.5 - 1
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    unit: np.ndarray[Any, Any] = normals / np.maximum(length, 1e-6)
    return unit
