"""render_mesh: buffers, the fused kernel against torch, gradients against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from omote.errors import InputError
from omote.render.scene import render_mesh
from omote.render.shading import Lights
from omote.render.texture_sampling import Albedo

from .meshes import camera, sphere, sphere_uv

SIZE = 64


def textured(subdivisions: int = 3) -> dict[str, Any]:
    vertices, faces = sphere(subdivisions)
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(8, 8, 3, generator=generator)
    return {
        "vertices_cam": vertices.float(),
        "faces": faces,
        "camera": camera(SIZE),
        "uv": sphere_uv(vertices),
        "albedo": texture,
    }


def test_shapes_types_and_ranges() -> None:
    scene = textured()
    buffers = render_mesh(**{**scene, "vertices_cam": scene["vertices_cam"].numpy()}, tangent_normals=True)
    assert isinstance(buffers.rgb, np.ndarray)
    for name, channels in (("rgb", 3), ("normal_camera", 3), ("normal_tangent", 3), ("uv", 2), ("albedo", 3)):
        assert getattr(buffers, name).shape == (SIZE, SIZE, channels)
        assert getattr(buffers, name).dtype == np.float32
    assert buffers.triangle_id.dtype == np.int32
    assert 0 <= buffers.rgb.min()
    assert buffers.rgb.max() <= 1
    empty = buffers.alpha == 0
    assert (buffers.triangle_id[empty] == -1).all()
    for name in ("rgb", "depth", "normal_camera", "uv", "albedo"):
        assert (getattr(buffers, name)[empty] == 0).all()
    length = np.linalg.norm(buffers.normal_camera[~empty], axis=-1)
    np.testing.assert_allclose(length, 1, atol=1e-5)


def test_depth_and_normals_of_a_sphere_are_the_analytic_ones() -> None:
    vertices, faces = sphere(5)
    buffers = render_mesh(vertices.float(), faces, camera(SIZE), supersample=1)
    column = (torch.arange(SIZE) + 0.5 - SIZE / 2) / (1.8 * SIZE)
    ray = torch.stack(
        [column[None].expand(SIZE, SIZE), -column[:, None].expand(SIZE, SIZE), -torch.ones(SIZE, SIZE)], -1
    )
    a, b, c = (ray * ray).sum(-1), 2 * 0.5 * ray[..., 2], 0.5**2 - 0.1**2
    inside = (b * b - 4 * a * c > 1e-4) & (buffers.alpha > 0)
    depth = (-b - (b * b - 4 * a * c).clamp_min(0).sqrt()) / (2 * a)
    torch.testing.assert_close(buffers.depth[inside], depth[inside], atol=4e-4, rtol=0)
    normal = torch.nn.functional.normalize(ray * depth[..., None] + torch.tensor([0, 0, 0.5]), dim=-1)
    assert (buffers.normal_camera - normal)[inside].abs().max() < 0.02
    assert inside.sum() > 1000


def test_light_comes_from_where_it_should() -> None:
    vertices, faces = sphere()
    right = Lights(torch.tensor([[1.0, 0, 0.2]]), torch.ones(1, 3), torch.zeros(9, 3))
    rgb = render_mesh(vertices.float(), faces, camera(SIZE), lights=right).rgb
    assert rgb[:, SIZE // 2 :].sum() > 3 * rgb[:, : SIZE // 2].sum()  # +x is the image's right
    up = Lights(torch.tensor([[0.0, 1.0, 0.2]]), torch.ones(1, 3), torch.zeros(9, 3))
    rgb = render_mesh(vertices.float(), faces, camera(SIZE), lights=up).rgb
    assert rgb[: SIZE // 2].sum() > 3 * rgb[SIZE // 2 :].sum()


@pytest.mark.parametrize("supersample", [1, 2, 3])
@pytest.mark.parametrize("translucent", [False, True])
@pytest.mark.parametrize("background", [None, (0.2, 0.5, 0.8), "image"])
def test_fused_kernel_equals_torch(supersample: int, translucent: bool, background: Any) -> None:
    scene = textured(4)
    if background == "image":
        background = torch.rand(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(1))
    scene |= {
        "supersample": supersample,
        "background": background,
        "tangent_normals": True,
        "silhouette": False,
    }
    scene["frame_vertices"] = scene["vertices_cam"] * torch.tensor([1.0, 0.6, 1.0])
    if translucent:
        generator = torch.Generator().manual_seed(3)
        scene["face_alpha"] = torch.where(
            torch.rand(len(scene["faces"]), generator=generator) < 0.4, 0.3, 1.0
        )
    fast = render_mesh(**scene)
    plain = render_mesh(**{**scene, "vertices_cam": scene["vertices_cam"].clone().requires_grad_()})
    assert plain.rgb.requires_grad
    assert not fast.rgb.requires_grad
    assert (fast.triangle_id != plain.triangle_id).float().mean() < 1e-3
    for name in ("rgb", "alpha", "normal_camera", "normal_tangent", "albedo"):
        difference = (getattr(fast, name) - getattr(plain, name)).abs().detach()
        if supersample == 1:
            assert difference.max() < 1e-3, name
        else:  # lit once per triangle and pixel, not per sample; the poles of the uv have no steady tangent
            assert difference.flatten().quantile(0.999) < 0.06, name
            assert difference.mean() < 1e-3, name
    same = fast.triangle_id == plain.triangle_id
    torch.testing.assert_close(fast.depth[same], plain.depth.detach()[same], atol=1e-4, rtol=0)
    # of several equally near samples either may be the one reported
    torch.testing.assert_close(fast.uv[same], plain.uv[same], atol=1e-4 if supersample == 1 else 0.02, rtol=0)


@pytest.mark.parametrize("kind", ["one", "vertex"])
def test_albedo_kinds_agree(kind: str) -> None:
    vertices, faces = sphere()
    colour = torch.tensor([0.8, 0.4, 0.2])
    albedo = colour if kind == "one" else colour.expand(len(vertices), 3)
    buffers = render_mesh(vertices.float(), faces, camera(SIZE), albedo=albedo, lights="flat")
    seen = buffers.alpha > 0
    torch.testing.assert_close(buffers.albedo[seen], colour.expand(int(seen.sum()), 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(buffers.rgb[seen], colour.expand(int(seen.sum()), 3), atol=1e-4, rtol=0)


def test_background_is_blended_in_linear_light_and_straight_without() -> None:
    vertices, faces = sphere()
    white = dict(albedo=(1.0, 1.0, 1.0), lights="flat", supersample=3)
    over_black = render_mesh(vertices.float(), faces, camera(SIZE), background=(0, 0, 0.0), **white)
    edge = (over_black.alpha > 0.4) & (over_black.alpha < 0.6)
    alpha = over_black.alpha[edge].double().numpy()
    np.testing.assert_allclose(over_black.rgb[edge][:, 0], 1.055 * alpha ** (1 / 2.4) - 0.055, atol=1e-4)
    straight = render_mesh(vertices.float(), faces, camera(SIZE), **white)
    np.testing.assert_allclose(straight.rgb[edge], 1, atol=1e-4)
    image = torch.rand(SIZE, SIZE, 3)
    over_image = render_mesh(vertices.float(), faces, camera(SIZE), background=image, **white)
    torch.testing.assert_close(over_image.rgb[over_image.alpha == 0], image[over_image.alpha == 0])


def test_translucent_faces_blend_from_both_sides() -> None:
    vertices = torch.tensor(
        [[-1.0, -1, -2], [1, -1, -2], [0, 1, -2], [-2.0, -2, -3], [2, -2, -3], [0, 2, -3]]
    )
    for card in ([0, 1, 2], [0, 2, 1]):
        faces = torch.tensor([card, [3, 4, 5]])
        colours = torch.tensor([[0.0, 0, 0]] * 3 + [[1.0, 1, 1]] * 3)
        buffers = render_mesh(
            vertices,
            faces,
            camera(32),
            albedo=colours,
            lights="flat",
            face_alpha=torch.tensor([0.75, 1.0]),
            cull=True,
        )
        linear = ((buffers.rgb[16, 16, 0] + 0.055) / 1.055) ** 2.4
        assert linear.item() == pytest.approx(0.25, abs=1e-3)
        assert buffers.alpha[16, 16] == 1
        assert buffers.triangle_id[16, 16] == 0
        assert buffers.depth[16, 16].item() == pytest.approx(2.0)


def test_own_tangent_frame_without_detail_is_neutral_and_frames_see_deformation() -> None:
    scene = textured()
    own = render_mesh(**scene, tangent_normals=True)
    seen = own.alpha > 0
    neutral = torch.tensor([0.0, 0.0, 1.0]).expand(int(seen.sum()), 3)
    torch.testing.assert_close(own.normal_tangent[seen], neutral, atol=1e-5, rtol=0)
    # turning head and frame together changes nothing; deforming the head against its frame does
    turn = torch.tensor([[0.995, -0.0998, 0], [0.0998, 0.995, 0], [0, 0, 1.0]])
    turned = scene | {"vertices_cam": scene["vertices_cam"] @ turn.T}
    still = render_mesh(**turned, frame_vertices=turned["vertices_cam"], tangent_normals=True)
    assert (still.normal_tangent[still.alpha > 0] - torch.tensor([0.0, 0.0, 1.0])).abs().max() < 1e-3
    bent = render_mesh(
        **scene, frame_vertices=scene["vertices_cam"] * torch.tensor([1.0, 0.5, 1.0]), tangent_normals=True
    )
    assert (bent.normal_tangent[seen] - neutral).abs().max() > 0.2


def test_pixel_gradients_equal_finite_differences() -> None:
    """At pixels whose visibility does not change: vertices, texture, light and background in float64."""
    vertices, faces = sphere(2)
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    texture, weights = random(6, 6, 3), random(24, 24, 3)
    base = Lights.three_point().to(vertices)
    direction = (random(*vertices.shape) - 0.5) * 0.01
    uv = sphere_uv(vertices)
    reference = render_mesh(vertices, faces, camera(24), uv=uv, supersample=1, silhouette=False).triangle_id

    def loss(step: torch.Tensor) -> torch.Tensor:
        lights = Lights(
            base.directions + step[2] * 0.3, base.colours * (1 + step[3]), base.harmonics + step[3], 0.1, 9.0
        )
        buffers = render_mesh(
            vertices + direction * step[0], faces, camera(24), uv=uv, albedo=Albedo(texture * (0.4 + step[1])),
            lights=lights, background=torch.full((3,), 0.5).double() + step[1] * 0.1, supersample=1, silhouette=False,
        )  # fmt: skip
        keep = buffers.triangle_id == reference
        assert keep.float().mean() == 1
        return (
            (buffers.rgb * weights).sum() + 3 * buffers.depth.sum() + (buffers.normal_camera * weights).sum()
        )

    assert torch.autograd.gradcheck(
        loss, torch.zeros(4, dtype=torch.float64, requires_grad=True), eps=1e-5, atol=1e-3, rtol=1e-3
    )


def test_whole_picture_gradient_follows_the_outline() -> None:
    """A picture loss that only the outline can explain: flat white on black, moved."""
    vertices, faces = sphere(4)

    def picture(amount: float | torch.Tensor, axis: int) -> torch.Tensor:
        shift = torch.zeros(3).double()
        shift[axis] = 1.0
        buffers = render_mesh(
            vertices + shift * amount, faces, camera(48), albedo=torch.ones(3).double(), lights="flat",
            background=torch.zeros(3).double(), supersample=2, silhouette=True,
        )  # fmt: skip
        return buffers.alpha

    for axis in (0, 1):
        target = picture(0.008, axis)
        amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (analytic,) = torch.autograd.grad((picture(amount, axis) - target).square().sum(), amount)
        step = 0.3 / (1.8 * 48 / 0.5)
        high, low = ((picture(s, axis) - target).square().sum() for s in (step, -step))
        assert analytic.item() == pytest.approx(((high - low) / (2 * step)).item(), rel=0.10)


def test_results_stay_valid_after_later_renders() -> None:
    scene = textured()
    numpy_scene = {**scene, "vertices_cam": scene["vertices_cam"].numpy()}
    first = render_mesh(**numpy_scene)
    kept = first.rgb.copy()
    for shift in (0.01, 0.02, 0.03, 0.04):
        render_mesh(**{**numpy_scene, "vertices_cam": numpy_scene["vertices_cam"] + np.float32(shift)})
    np.testing.assert_array_equal(first.rgb, kept)
    np.testing.assert_array_equal(render_mesh(**numpy_scene).rgb, kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vertices_cam": np.zeros((4, 2))}, "vertices_cam: got shape"),
        ({"faces": np.array([[0, 1, 9999]])}, "faces: indices leave"),
        ({"uv": None}, "a texture needs uv"),
        ({"supersample": 9}, "render size"),
        ({"background": np.zeros((3, 3, 3))}, "background"),
        ({"lights": "disco"}, "unknown preset"),
    ],
)
def test_bad_input_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        render_mesh(**(textured(1) | change))
    assert "\n" not in str(caught.value)
