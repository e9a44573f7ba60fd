"""Barycentrics, interpolation, tangent frames and encodings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from omote.geometry.meshes import vertex_normals
from omote.render.buffers import (
    barycentrics_at,
    decode_normals,
    encode_normals,
    interpolate,
    project_to_screen,
    to_tangent_space,
    vertex_tangents,
)
from omote.render.rasterize import rasterize
from omote.render.texture_sampling import Albedo, sample_texture

from .meshes import camera, sphere


def test_projection_matches_the_convention() -> None:
    view = camera(100, 2.0)
    screen = project_to_screen(torch.tensor([[0.1, 0.05, -0.5], [0.0, 0.0, 0.3]]), view)
    torch.testing.assert_close(screen[0], torch.tensor([50 + 200 * 0.2, 50 - 200 * 0.1, 2.0]))
    assert screen[1, 2] < 0  # behind the camera: dropped by the rasteriser


def test_recomputed_barycentrics_equal_the_rasterisers() -> None:
    vertices, faces = sphere()
    screen = project_to_screen(vertices, camera(128))
    ids, weights = rasterize(screen, faces, (128, 128), cull=True)
    seen = (ids.view(-1) >= 0).nonzero()[:, 0]
    pixels = torch.stack([seen % 128, seen // 128], -1).double() + 0.5
    corners = faces[ids.view(-1)[seen].long()]
    rough = weights.view(-1, 2)[seen]
    exact = barycentrics_at(screen[corners], pixels, rough)
    torch.testing.assert_close(exact.sum(-1), torch.ones(len(seen)).double())
    error = (
        (exact[:, 1:] - rough).abs().amax(-1)
    )  # snapping to 1/4096 px moves it by this over the triangle's size
    assert error.median() < 2e-4
    position = interpolate(vertices, corners, exact)
    back = project_to_screen(position, camera(128))
    torch.testing.assert_close(back[:, :2], pixels, atol=1e-9, rtol=0)


def test_barycentric_gradients_and_slivers() -> None:
    corners = torch.tensor(
        [[[2.0, 3, 1.2], [11, 4, 0.7], [5, 12, 2.0]]], dtype=torch.float64, requires_grad=True
    )
    pixels, rough = torch.tensor([[6.5, 6.5]]).double(), torch.tensor([[0.25, 0.5]])
    assert torch.autograd.gradcheck(lambda c: barycentrics_at(c, pixels, rough), corners)
    sliver = torch.tensor([[[2.0, 3, 1], [4, 3, 1], [9, 3, 1]]], dtype=torch.float64, requires_grad=True)
    weights = barycentrics_at(sliver, pixels, rough)
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.25, 0.5]]).double())
    weights.square().sum().backward()
    assert torch.isfinite(sliver.grad).all()


def test_tangent_frame_of_a_flat_map() -> None:
    # A square facing us, u to the right, v down: T = +x, up in the texture = +y: tangent space is camera space.
    vertices = torch.tensor([[-1.0, 1, -3], [-1, -1, -3], [1, -1, -3], [1, 1, -3]])
    uv = torch.tensor([[0.0, 0], [0, 1], [1, 1], [1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    normals = vertex_normals(vertices, faces)
    tangents = vertex_tangents(vertices, faces, uv, normals)
    torch.testing.assert_close(tangents, torch.tensor([[1.0, 0, 0, 1]]).expand(4, 4))
    detail = torch.nn.functional.normalize(torch.tensor([[0.3, -0.2, 0.9]]), dim=-1)
    torch.testing.assert_close(to_tangent_space(detail, normals[:1], tangents[:1]), detail)
    mirrored = vertex_tangents(vertices, faces, uv * torch.tensor([-1.0, 1.0]), normals)
    torch.testing.assert_close(mirrored, torch.tensor([[-1.0, 0, 0, -1]]).expand(4, 4))
    expected = detail * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(to_tangent_space(detail, normals[:1], mirrored[:1]), expected)


def test_degenerate_uv_still_give_a_frame() -> None:
    vertices, faces = sphere(1)
    normals = vertex_normals(vertices, faces)
    tangents = vertex_tangents(vertices, faces, torch.zeros(len(vertices), 2), normals)
    assert torch.isfinite(tangents).all()
    torch.testing.assert_close(
        (tangents[:, :3] * normals).sum(-1), torch.zeros(len(vertices)).double(), atol=1e-9, rtol=0
    )


def test_normals_encode_as_the_paper_says() -> None:
    normals = np.array([[[0.0, 0, 1], [-1, 1, 0]]], np.float32)
    np.testing.assert_array_equal(encode_normals(normals), [[[128, 128, 255], [0, 255, 128]]])
    masked = encode_normals(normals, np.array([[1.0, 0.0]]))
    np.testing.assert_array_equal(masked[0, 1], [128, 128, 255])
    random = np.random.default_rng(0).normal(size=(8, 8, 3))
    random /= np.linalg.norm(random, axis=-1, keepdims=True)
    np.testing.assert_allclose(decode_normals(encode_normals(random)), random, atol=1.5 / 255)


def test_texture_origin_is_upper_left_and_texel_centres_are_exact() -> None:
    texture = torch.arange(12.0).reshape(3, 4, 1).expand(3, 4, 2)
    uv = torch.tensor(
        [[0.5 / 4, 0.5 / 3], [3.5 / 4, 0.5 / 3], [0.5 / 4, 2.5 / 3], [1 / 4, 0.5 / 3], [-1.0, 2.0]]
    )
    torch.testing.assert_close(sample_texture(texture, uv)[:, 0], torch.tensor([0.0, 3, 8, 0.5, 8]))


def test_texture_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(5, 6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    uv = (torch.rand(7, 2, generator=generator, dtype=torch.float64) * 0.9 + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(sample_texture, (texture, uv))


def test_albedo_kinds() -> None:
    white = Albedo.from_srgb(np.full((2, 2, 3), 255, np.uint8))
    assert white.linear.max().item() == pytest.approx(1.0)
    assert Albedo.from_srgb([0.5, 0.5, 0.5]).linear[0].item() == pytest.approx(0.21404, abs=1e-4)
    assert Albedo.from_srgb(white) is white
