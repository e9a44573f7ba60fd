"""Meshes to pictures: visibility, light, normals, texture, outlines; on the CPU, and on CUDA with the same kernels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omote.render.buffers import Buffers, decode_normals, encode_normals
    from omote.render.scene import render_mesh
    from omote.render.shading import Lights
    from omote.render.texture_sampling import Albedo

__all__ = ["Albedo", "Buffers", "Lights", "decode_normals", "encode_normals", "render_mesh"]

_HOMES = {
    "Albedo": "texture_sampling",
    "Buffers": "buffers",
    "Lights": "shading",
    "decode_normals": "buffers",
    "encode_normals": "buffers",
    "render_mesh": "scene",
}


def __getattr__(name: str) -> Any:
    """Import on first use: torch and Warp are heavy."""
    if name in _HOMES:
        return getattr(import_module(f"omote.render.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
