"""The checked inputs of one render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from omote.render.shading import Lights
from omote.render.texture_sampling import Albedo


@dataclass(frozen=True)
class Scene:
    """Checked inputs of one render, as tensors of one dtype on one device."""

    vertices: Tensor
    faces: Tensor
    camera: Any
    supersample: int
    albedo: Albedo
    lights: Lights
    normals: Tensor
    uv: Tensor | None = None
    tangents: Tensor | None = None
    frame_normals: Tensor | None = None
    background: Tensor | None = None
    translucent: Tensor | None = None
    face_alpha: Tensor | None = None
    weld: Tensor | None = None
    cull: bool = False
    silhouette: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the supersampled image."""
        return self.camera.size[0] * self.supersample, self.camera.size[1] * self.supersample
