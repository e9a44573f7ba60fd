"""A lit mesh in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from omote.checks import check_shape
from omote.errors import InputError
from omote.geometry.meshes import vertex_normals
from omote.render.buffers import (
    Buffers,
    barycentrics_at,
    interpolate,
    project_to_screen,
    to_tangent_space,
    vertex_tangents,
)
from omote.render.rasterize import MAX_SIZE, workspace
from omote.render.scene_inputs import Scene
from omote.render.shading import Lights, lights_by_name, linear_to_srgb, shade, srgb_to_linear
from omote.render.silhouette import antialias_silhouette
from omote.render.texture_sampling import DEFAULT_ALBEDO, Albedo, sample_texture


def render_mesh(
    vertices_cam: Any,
    faces: Any,
    camera: Any,
    *,
    uv: Any = None,
    albedo: Any = None,
    weld: Any = None,
    normals: Any = None,
    frame_vertices: Any = None,
    lights: Lights | str = "three-point",
    background: Any = None,
    supersample: int = 2,
    face_alpha: Any = None,
    cull: bool = False,
    silhouette: bool | None = None,
    tangent_normals: bool = False,
) -> Buffers:
    """Render a mesh: colour, coverage, depth, normals, texture coordinates.

    With numpy input or without gradients one fused kernel does all the shading. If gradients are enabled and an
    input requires one, the same picture comes from torch, differentiable at fixed visibility in vertices, normals,
    albedo, lights and background.

    Args:
        vertices_cam: (V, 3) metres, camera space (x right, y up, z towards the viewer: visible points have z < 0).
        faces: (F, 3) vertex indices, counter-clockwise seen from outside.
        camera: ``focal`` px, ``principal`` (cx, cy) px and ``size`` (w, h) px, as `omote.performance.Camera`.
        uv: (V, 2) texture coordinates, origin upper left.
        albedo: sRGB texture (Ht, Wt, 3), vertex colours (V, 3) or one colour (3,); uint8 or float 0..1; or an `Albedo`
            (reuse one: a texture is converted on every call otherwise). Default: clay.
        weld: (V,) index of each vertex's canonical copy, so that texture seams do not show in normals and outlines.
        normals: (V, 3) shading normals, camera space; default: the mesh's own smooth normals.
        frame_vertices: (V, 3) the mesh whose tangent frames express ``normal_tangent``, e.g. the same head without
            expression, posed alike; default: this mesh itself, whose smooth normals are (0, 0, 1) in its own frames.
        lights: "three-point", "hemisphere", "flat" or `Lights`.
        background: sRGB colour (3,) or image (H, W, 3), uint8 or float 0..1; default none: ``rgb`` is straight.
        supersample: n × n samples a pixel, 1..8, averaged in linear light, multiplied by alpha.
        face_alpha: (F,) 0..1; faces below 1 (lashes, say) are blended over the others in one layer, from both sides.
        cull: leave out opaque triangles seen from behind; else they are lit from their visible side.
        silhouette: blend outlines by the position of their edges, which gives them a gradient; default: when
            differentiating.
        tangent_normals: compute ``normal_tangent`` too (needs uv).

    Returns:
        `Buffers` of tensors, or of numpy arrays if ``vertices_cam`` is one.

    Raises:
        InputError: shapes or sizes that do not fit.
    """
    as_numpy = not isinstance(vertices_cam, Tensor)
    vertices = torch.from_numpy(np.asarray(vertices_cam, np.float32)) if as_numpy else vertices_cam
    check_shape("vertices_cam", vertices, "V", 3)
    count = len(vertices)
    width, height = camera.size
    if not 1 <= supersample <= 8 or max(width, height) * supersample > MAX_SIZE:
        what = f"{width} × {height} px with {supersample} × supersampling"
        raise InputError(
            what, where="render size", remedy=f"Supersample 1 to 8, at most {MAX_SIZE} px a side in all."
        )

    def tensor(name: str, value: Any, *shape: int | str) -> Tensor:
        converted = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        check_shape(name, converted, *shape)
        if converted.dtype == torch.uint8:
            converted = converted.to(vertices) / 255
        return converted.to(vertices) if converted.is_floating_point() else converted.to(vertices.device)

    triangles = tensor("faces", faces, "F", 3)
    if len(triangles) and (int(triangles.min()) < 0 or int(triangles.max()) >= count):
        raise InputError(f"indices leave 0..{count - 1}", where="faces")
    canonical = None if weld is None else tensor("weld", weld, count)
    if normals is not None:
        shading_normals = tensor("normals", normals, count, 3)
    else:
        shading_normals = _smooth_normals(vertices, triangles, canonical)
    texture = Albedo.from_srgb(np.array(DEFAULT_ALBEDO) if albedo is None else albedo).to(vertices)
    if texture.linear.ndim == 3 and uv is None:
        raise InputError(
            "a texture needs uv", where="albedo", remedy="Pass uv, vertex colours (V, 3) or one colour (3,)."
        )
    if texture.linear.ndim == 2:
        check_shape("albedo", texture.linear, count, 3)
    coordinates = None if uv is None else tensor("uv", uv, count, 2)
    frame_normals = tangents = None
    if coordinates is not None and tangent_normals:
        frame = vertices if frame_vertices is None else tensor("frame_vertices", frame_vertices, count, 3)
        own = frame_vertices is None and normals is None
        frame_normals = shading_normals if own else _smooth_normals(frame, triangles, canonical)
        tangents = vertex_tangents(frame, triangles, coordinates, frame_normals)
    alpha = None if face_alpha is None else tensor("face_alpha", face_alpha, len(triangles)).to(vertices)
    backdrop = None if background is None else tensor("background", background, "...", 3).to(vertices)
    if backdrop is not None and backdrop.ndim != 1:
        check_shape("background", backdrop, height, width, 3)

    shining = lights_by_name(lights).to(vertices)
    sources = (vertices, shading_normals, texture.linear, coordinates, tangents, backdrop, alpha)
    wanted = any(s is not None and s.requires_grad for s in sources) or shining.requires_grad
    differentiable = torch.is_grad_enabled() and wanted
    scene = Scene(
        vertices=vertices,
        faces=triangles.long(),
        camera=camera,
        supersample=supersample,
        albedo=texture,
        lights=shining,
        normals=shading_normals,
        uv=coordinates,
        tangents=tangents,
        frame_normals=frame_normals,
        background=backdrop,
        translucent=None if alpha is None else alpha < 1,
        face_alpha=alpha,
        weld=canonical,
        cull=cull,
        silhouette=differentiable if silhouette is None else silhouette,
    )
    if differentiable or scene.silhouette or vertices.dtype != torch.float32:
        buffers = render_torch(scene)
    else:
        from omote.render.fused import render_fused

        buffers = render_fused(scene)
    return buffers.numpy() if as_numpy else buffers


def _smooth_normals(vertices: Tensor, faces: Tensor, weld: Tensor | None) -> Tensor:
    if vertices.dtype == torch.float32 and not (torch.is_grad_enabled() and vertices.requires_grad):
        from omote.render.fused import fast_vertex_normals

        return fast_vertex_normals(vertices, faces, weld)
    return vertex_normals(vertices, faces, weld)


def render_torch(scene: Scene) -> Buffers:
    """The picture in plain torch: differentiable, and what the fused kernel is compared with."""
    screen = project_to_screen(scene.vertices, scene.camera, scene.supersample)
    images = [_layer(scene, screen, None if scene.translucent is None else 0)]
    if scene.translucent is not None and bool(scene.translucent.any()):
        images.append(_layer(scene, screen, 1))
    image, triangle_id = images[0]
    if scene.silhouette:
        image = antialias_silhouette(image, triangle_id, screen, scene.faces, weld=scene.weld)
    for over, over_id in images[1:]:
        alpha = scene.face_alpha[over_id.clamp_min(0).long()] * (over_id >= 0)  # type: ignore[index]
        nearer = (over_id >= 0) & (over[..., _DEPTH] > image[..., _DEPTH])
        share = torch.where(nearer, alpha, 0.0)[..., None]
        front = nearer[..., None]
        mixed = over * share + image * (1 - share)
        exact = torch.where(front, over, image)
        image = torch.cat([mixed[..., :_DEPTH], exact[..., _DEPTH:]], -1)
        triangle_id = torch.where(nearer, over_id, triangle_id)
    return _resolve(scene, image, triangle_id)


# Channels: colour 3, alpha 1, normal 3, tangent-space normal 3, albedo 3, all times alpha; then 1/depth 1, uv 2.
_DEPTH = 13


def _layer(scene: Scene, screen: Tensor, layer: int | None) -> tuple[Tensor, Tensor]:
    """One layer of faces (None: all) at the supersampled size: (H, W, 16) channels as above, and triangle ids."""
    width, height = scene.size
    space = workspace(screen.device, (width, height), len(screen), len(scene.faces))
    mask = None if layer is None or scene.translucent is None else (scene.translucent.to(torch.uint8), layer)
    space.draw(screen.detach(), scene.faces, cull=scene.cull and layer != 1, layer=mask)
    triangle_id, rough = space.resolve()
    seen = (triangle_id.view(-1) >= 0).nonzero()[:, 0]
    corners = scene.faces[triangle_id.view(-1)[seen].long()]
    pixels = torch.stack([seen % width, seen // width], -1).to(screen) + 0.5
    weights = barycentrics_at(screen[corners], pixels, rough.view(-1, 2)[seen])
    a, b, c = screen.detach()[corners][..., :2].unbind(1)
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] > 0  # seen from behind
    side = torch.where(turned, -1.0, 1.0)[:, None].to(screen)

    normal = normalize(interpolate(scene.normals, corners, weights), dim=-1) * side
    position = interpolate(scene.vertices, corners, weights)
    uv = None if scene.uv is None else interpolate(scene.uv, corners, weights)
    texture = scene.albedo.linear
    if texture.ndim == 3 and uv is not None:
        colour = sample_texture(texture, uv)
    else:
        colour = interpolate(texture, corners, weights) if texture.ndim == 2 else texture.expand(len(seen), 3)
    lit = shade(colour, normal, normalize(-position, dim=-1), scene.lights)
    flat = torch.zeros_like(normal)
    if scene.tangents is not None and scene.frame_normals is not None:
        frame = interpolate(torch.cat([scene.frame_normals, scene.tangents], -1), corners, weights)
        flat = to_tangent_space(normal * side, frame[:, :3], frame[:, 3:])
    parts = [lit, torch.ones_like(side), normal, flat, colour, -1 / position[:, 2:]]
    parts.append(uv if uv is not None else torch.zeros_like(pixels))
    image = torch.zeros(width * height, 16, dtype=screen.dtype, device=screen.device)
    return image.index_copy(0, seen, torch.cat(parts, -1)).view(height, width, 16), triangle_id


def _resolve(scene: Scene, image: Tensor, triangle_id: Tensor) -> Buffers:
    """Average the samples of each pixel and convert to the public encodings."""
    n = scene.supersample
    width, height = scene.camera.size
    samples = image.view(height, n, width, n, 16).transpose(1, 2).reshape(height, width, n * n, 16)
    mean = samples[..., :_DEPTH].mean(2)
    nearest = samples[..., _DEPTH].detach().argmax(2)
    exact = samples.gather(2, nearest[..., None, None].expand(-1, -1, 1, 16))[:, :, 0]
    ids = triangle_id.view(height, n, width, n).transpose(1, 2).reshape(height, width, n * n)
    chosen = ids.gather(2, nearest[..., None])[..., 0]

    alpha = mean[..., 3:4]
    seen = alpha > 0
    straight = 1 / torch.where(seen, alpha, 1.0)
    linear = mean[..., :3] * straight
    if scene.background is not None:
        linear = mean[..., :3] + (1 - alpha) * srgb_to_linear(scene.background)
    inverse_depth = exact[..., _DEPTH]
    return Buffers(
        rgb=linear_to_srgb(linear.clamp(0, 1)),
        alpha=alpha[..., 0],
        depth=torch.where(inverse_depth > 0, 1 / torch.where(inverse_depth > 0, inverse_depth, 1.0), 0.0),
        normal_camera=_unit(mean[..., 4:7]),
        normal_tangent=_unit(mean[..., 7:10]) if scene.tangents is not None else None,
        uv=exact[..., 14:16] if scene.uv is not None else None,
        albedo=linear_to_srgb((mean[..., 10:13] * straight).clamp(0, 1)),
        triangle_id=chosen,
    )


def _unit(vectors: Tensor) -> Tensor:
    """Unit vectors, 0 where there is none (with a finite gradient)."""
    square = vectors.square().sum(-1, keepdim=True)
    present = square > 1e-12
    return torch.where(present, vectors / torch.where(present, square, 1.0).sqrt(), 0.0)
