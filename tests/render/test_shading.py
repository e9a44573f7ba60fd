"""Light and colour: known values, gradients, presets."""

from __future__ import annotations

import math

import pytest
import torch

from omote.errors import InputError
from omote.render.shading import (
    SH_SCALE,
    Lights,
    lights_by_name,
    linear_to_srgb,
    shade,
    spherical_harmonics,
    srgb_to_linear,
)


def unit(*vectors: tuple[float, float, float]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.float64), dim=-1)


def test_srgb_curve_known_values_and_round_trip() -> None:
    encoded = torch.tensor([0.0, 0.04045, 0.5, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.0031308, 0.2140411, 1.0], dtype=torch.float64)
    torch.testing.assert_close(srgb_to_linear(encoded), expected, atol=1e-6, rtol=0)
    steps = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(steps)), steps, atol=2e-7, rtol=0)


def test_srgb_curve_gradients_are_finite_everywhere() -> None:
    values = torch.linspace(0, 1, 23, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: (srgb_to_linear(v), linear_to_srgb(v)), values)
    (linear_to_srgb(values).sum()).backward()
    assert torch.isfinite(values.grad).all()


def test_lambert_is_the_cosine() -> None:
    lights = Lights(unit((0, 0, 1)), torch.ones(1, 3).double(), torch.zeros(9, 3).double())
    normals = unit((0, 0, 1), (0, math.sin(1.0), math.cos(1.0)), (0, 0, -1))
    albedo = torch.full((3, 3), 0.5, dtype=torch.float64)
    lit = shade(albedo, normals, unit((0, 0, 1)).expand(3, 3), lights)
    torch.testing.assert_close(lit[:, 0], torch.tensor([0.5, 0.5 * math.cos(1.0), 0.0], dtype=torch.float64))


def test_blinn_highlight_peaks_halfway() -> None:
    lights = Lights(unit((0, 1, 0)), torch.ones(1, 3).double(), torch.zeros(9, 3).double(), 0.3, 10.0)
    halfway = unit((0, 1, 1))
    lit = shade(torch.zeros(1, 3).double(), halfway, unit((0, 0, 1)), lights)
    torch.testing.assert_close(lit, torch.full((1, 3), 0.3, dtype=torch.float64))
    off = shade(torch.zeros(1, 3).double(), unit((0, 1, 0)), unit((0, 0, 1)), lights)
    torch.testing.assert_close(
        off, torch.full((1, 3), 0.3 * math.cos(math.pi / 4) ** 10, dtype=torch.float64)
    )


def test_hemisphere_is_sky_above_and_ground_below() -> None:
    lights = Lights.hemisphere([0.8, 0.6, 0.4], [0.1, 0.2, 0.3])
    light = spherical_harmonics(unit((0, 1, 0), (0, -1, 0), (1, 0, 0)).float(), lights.harmonics)
    torch.testing.assert_close(light, torch.tensor([[0.8, 0.6, 0.4], [0.1, 0.2, 0.3], [0.45, 0.4, 0.35]]))


def test_harmonics_equal_the_convolved_radiance() -> None:
    # A radiance L(w) = max(0, w_z), projected on the basis: the scale must give the irradiance integral.
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(
        torch.randn(400_000, 3, generator=generator, dtype=torch.float64), dim=-1
    )
    radiance = directions[:, 2].clamp_min(0)
    normal = unit((0.3, 0.4, 0.9))
    exact = 4 * math.pi * (radiance * (directions @ normal[0]).clamp_min(0)).mean()
    x, y, z = directions.unbind(-1)
    plain = [torch.ones_like(x) / math.sqrt(4 * math.pi)]
    plain += [math.sqrt(3 / (4 * math.pi)) * v for v in (x, y, z)]
    plain += [math.sqrt(15 / (4 * math.pi)) * v for v in (x * y, x * z, y * z)]
    plain += [
        math.sqrt(15 / (16 * math.pi)) * (x * x - y * y),
        math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
    ]
    projected = torch.stack([4 * math.pi * (radiance * basis).mean() for basis in plain])
    projected[0] *= math.pi  # the published scale keeps the constant band unconvolved
    light = spherical_harmonics(normal, projected[:, None].expand(9, 3))
    assert light[0, 0].item() == pytest.approx(exact.item(), rel=0.02)
    assert len(SH_SCALE) == 9


def test_shading_gradients() -> None:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    normals = torch.nn.functional.normalize(random(5, 3) + 0.2, dim=-1)
    view = unit((0.1, 0.0, 1.0)).expand(5, 3)

    def loss(
        albedo: torch.Tensor,
        n: torch.Tensor,
        d: torch.Tensor,
        c: torch.Tensor,
        h: torch.Tensor,
        s: torch.Tensor,
    ) -> torch.Tensor:
        return shade(albedo, n, view, Lights(d, c, h, s, 12.0))

    inputs = (random(5, 3), normals, random(2, 3), random(2, 3), random(9, 3), random(()))
    assert torch.autograd.gradcheck(loss, tuple(i.requires_grad_() for i in inputs))


@pytest.mark.parametrize("name", ["three-point", "hemisphere", "flat"])
def test_presets_light_without_burning_out(name: str) -> None:
    lights = lights_by_name(name)
    normals = torch.nn.functional.normalize(
        torch.randn(500, 3, generator=torch.Generator().manual_seed(2)), dim=-1
    )
    normals[:, 2] = normals[:, 2].abs()
    lit = shade(torch.full((500, 3), 0.5), normals, torch.tensor([0.0, 0.0, 1.0]).expand(500, 3), lights)
    assert 0.02 < lit.min()
    assert lit.max() < 1.0


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"unknown preset 'disco'.*three-point, hemisphere, flat"):
        lights_by_name("disco")
