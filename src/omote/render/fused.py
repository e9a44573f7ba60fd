"""Rendering without gradients: two rasteriser passes at most and one fused shading kernel."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from omote.render.buffers import Buffers, project_to_screen
from omote.render.memory import Arena
from omote.render.rasterize import kernels, workspace
from omote.render.scene_inputs import Scene
from omote.render.shading import SH_SCALE, linear_to_srgb, srgb_to_linear


@cache
def _kernels() -> Any:
    kernels()  # initialises Warp
    from omote.render import warp_shading

    return warp_shading


@cache
def _srgb_table(device: str) -> Tensor:
    steps = _kernels().SRGB_STEPS
    return linear_to_srgb(torch.linspace(0, 1, steps + 1, dtype=torch.float64)).float().to(device)


def fast_vertex_normals(vertices: Tensor, faces: Tensor, weld: Tensor | None) -> Tensor:
    """`omote.geometry.meshes.vertex_normals` for float32 without gradients: (V, 3) unit."""
    import warp as wp

    k = _kernels()
    points, corners = vertices.detach().contiguous(), faces.to(torch.int32).contiguous()
    joined = torch.arange(len(points), device=points.device) if weld is None else weld
    copies = joined.to(torch.int32).contiguous()
    sums, normals = torch.zeros_like(points), torch.empty_like(points)
    serial = points.device.type == "cpu"
    face_threads, vertex_threads = (1, 1) if serial else (max(len(corners), 1), max(len(points), 1))
    weld_view, sum_view = wp.from_torch(copies), wp.from_torch(sums, dtype=wp.vec3)
    arrays = [wp.from_torch(points, dtype=wp.vec3), wp.from_torch(corners, dtype=wp.vec3i), weld_view]
    device = weld_view.device
    wp.launch(k.sum_normals, dim=face_threads, inputs=[*arrays, face_threads, sum_view], device=device)
    last = [sum_view, weld_view, vertex_threads, wp.from_torch(normals, dtype=wp.vec3)]
    wp.launch(k.unit_normals, dim=vertex_threads, inputs=last, device=device)
    return normals


def render_fused(scene: Scene) -> Buffers:
    """What `omote.render.scene.render_torch` computes, for float32, without gradients and outline blending.

    One difference: with supersampling a triangle is lit once in each pixel, not at each sample.
    """
    import warp as wp

    k = _kernels()
    device = scene.vertices.device
    width, height = scene.camera.size
    screen = project_to_screen(scene.vertices, scene.camera, scene.supersample)
    mask = None if scene.translucent is None else scene.translucent.to(torch.uint8)
    has_over = mask is not None and bool(mask.any())
    counts = (len(screen), len(scene.faces))
    base = workspace(device, scene.size, *counts)
    base.draw(screen, scene.faces, cull=scene.cull, layer=None if mask is None else (mask, 0))
    over = base
    if has_over and mask is not None:
        over = workspace(device, scene.size, *counts, use="over")
        over.draw(screen, scene.faces, layer=(mask, 1))

    empty = torch.zeros(1, 4, device=device)
    kept: list[Tensor] = []  # tensors whose memory the kernel reads

    def view(tensor: Tensor | None, dtype: Any, size: int = 3) -> Any:
        tensor = empty[:, :size] if tensor is None else tensor.detach()
        kept.append(tensor.float().contiguous())
        return wp.from_torch(kept[-1], dtype=dtype)

    texture = scene.albedo.linear
    surface = k.Surface()
    surface.screen = view(screen, wp.vec3)
    surface.faces = base.faces_view
    surface.normals = view(scene.normals, wp.vec3)
    surface.uv = view(scene.uv, wp.vec2, 2)
    surface.frame_normals = view(scene.frame_normals, wp.vec3)
    surface.tangents = view(scene.tangents, wp.vec4, 4)
    surface.colours = view(texture.reshape(-1, 3)[:1] if texture.ndim != 2 else texture, wp.vec3)
    surface.texture = view(texture if texture.ndim == 3 else texture.new_zeros(1, 1, 3), wp.vec3)
    surface.face_alpha = view(empty[:, 0] if scene.face_alpha is None else scene.face_alpha, wp.float32)
    surface.colour_kind = texture.ndim
    surface.has_uv = int(scene.uv is not None)
    surface.has_tangents = int(scene.tangents is not None)
    surface.has_over = int(has_over)
    surface.planes, surface.keys = base.planes_view, base.keys_view
    surface.over_planes, surface.over_keys = over.planes_view, over.keys_view

    lights = scene.lights
    lamp = k.Lamp()
    lamp.directions = view(
        torch.nn.functional.normalize(lights.directions, dim=-1) if len(lights.directions) else None, wp.vec3
    )
    lamp.colours = view(lights.colours if len(lights.colours) else None, wp.vec3)
    lamp.harmonics = view(lights.harmonics * lights.harmonics.new_tensor(SH_SCALE)[:, None], wp.vec3)
    lamp.count = len(lights.directions)
    lamp.specular, lamp.shininess = float(lights.specular), float(lights.shininess)
    lamp.dark = 1.0 if lamp.specular <= 0 else math.exp(-9.0 / max(lamp.shininess, 1e-3))
    lamp.focal = float(scene.camera.focal * scene.supersample)
    lamp.cx, lamp.cy = (float(c * scene.supersample) for c in scene.camera.principal)

    table = _srgb_table(str(device))
    lamp.table = wp.from_torch(table)

    blank = Arena(device, height, width, 17).image

    background = scene.background
    lamp.background_kind = 0 if background is None else 1 if background.ndim == 1 else 2
    lamp.background_srgb = view(None if background is None else background.reshape(-1, 3), wp.vec3)
    lamp.background = view(None if background is None else srgb_to_linear(background).reshape(-1, 3), wp.vec3)
    results = {
        "rgb": blank(3),
        "alpha": blank(),
        "depth": blank(),
        "normal_camera": blank(3),
        "normal_tangent": blank(3) if scene.tangents is not None else None,
        "uv": blank(2) if scene.uv is not None else None,
        "albedo": blank(3),
        "triangle_id": blank().view(torch.int32),
    }
    out = k.Images()
    kinds = {
        "rgb": wp.vec3,
        "alpha": wp.float32,
        "depth": wp.float32,
        "normal_camera": wp.vec3,
        "albedo": wp.vec3,
    }
    kinds |= {"normal_tangent": wp.vec3, "uv": wp.vec2, "triangle_id": wp.int32}
    fields = {"normal_camera": "normal", "normal_tangent": "tangent_normal"}
    for name, tensor in results.items():
        if tensor is not None:
            flat = tensor.reshape(-1, tensor.shape[2]) if tensor.ndim == 3 else tensor.view(-1)
            setattr(out, fields.get(name, name), wp.from_torch(flat, dtype=kinds[name]))

    threads = (1, 1) if device.type == "cpu" else (height, width)
    inputs = [surface, lamp, scene.supersample, width, height, *threads, out]
    wp.launch(k.shade_pixels, dim=threads, inputs=inputs, device=base.planes_view.device)
    return Buffers(**results)
