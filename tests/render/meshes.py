"""Small meshes for the rendering tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import trimesh


@dataclass(frozen=True)
class PinholeCamera:
    focal: float
    principal: tuple[float, float]
    size: tuple[int, int]


def camera(size: int, focal: float = 1.8) -> PinholeCamera:
    return PinholeCamera(focal * size, (size / 2, size / 2), (size, size))


def sphere(
    subdivisions: int = 3, radius: float = 0.1, distance: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """A sphere in front of the camera: vertices (V, 3) float64 and faces."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    vertices = torch.tensor(np.asarray(mesh.vertices)) - torch.tensor([0.0, 0.0, distance])
    return vertices, torch.tensor(np.asarray(mesh.faces), dtype=torch.int64)


def sphere_uv(vertices: torch.Tensor, distance: float = 0.5) -> torch.Tensor:
    """Front-facing planar-like uv, origin upper left, without a seam on the visible side."""
    x, y, z = (vertices + torch.tensor([0.0, 0.0, distance])).unbind(-1)
    return torch.stack(
        [0.5 + torch.atan2(x, z) / (2 * np.pi), torch.acos((y / 0.1).clamp(-1, 1)) / np.pi], -1
    )
