"""Outlines: coverage and its gradient against finite differences of a mask loss."""

from __future__ import annotations

import pytest
import torch

from omote.render.buffers import project_to_screen
from omote.render.rasterize import rasterize
from omote.render.silhouette import antialias_silhouette

from .meshes import camera, sphere

SIZE = 96


def mask(vertices: torch.Tensor, faces: torch.Tensor, scale: int = 1) -> torch.Tensor:
    screen = project_to_screen(vertices, camera(SIZE), scale)
    ids, _ = rasterize(screen, faces, (SIZE * scale, SIZE * scale))
    covered = (ids >= 0).to(vertices)[..., None]
    return antialias_silhouette(covered, ids, screen, faces)[..., 0]


def egg(offset: torch.Tensor, subdivisions: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """A tilted egg off the centre: no symmetry that could hide an error."""
    vertices, faces = sphere(subdivisions)
    centre = torch.tensor([0.0, 0.0, -0.5])
    shape = (vertices - centre) @ torch.tensor([[1.0, 0.2, 0.0], [0.0, 0.7, 0.1], [0.0, 0.0, 0.9]]).double()
    return shape + centre + offset, faces


def test_mask_equals_a_supersampled_one() -> None:
    vertices, faces = egg(torch.tensor([0.011, -0.007, 0.0]).double())
    screen = project_to_screen(vertices, camera(SIZE), 8)
    fine = (
        (rasterize(screen, faces, (SIZE * 8, SIZE * 8))[0] >= 0).double().view(SIZE, 8, SIZE, 8).mean((1, 3))
    )
    smooth = mask(vertices, faces)
    hard = (rasterize(project_to_screen(vertices, camera(SIZE)), faces, (SIZE, SIZE))[0] >= 0).double()
    assert smooth.min() >= 0
    assert smooth.max() <= 1
    assert smooth.sum().item() == pytest.approx(fine.sum().item(), rel=5e-4)
    assert (smooth - fine).abs().mean() < 0.3 * (hard - fine).abs().mean()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("subdivisions", [2, 3, 4])  # triangles from several pixels down to less than one
def test_gradient_is_within_ten_percent_of_finite_differences(axis: int, subdivisions: int) -> None:
    vertices, faces = egg(torch.zeros(3).double(), subdivisions)
    target_offset = torch.zeros(3).double()
    target_offset[axis] = 0.006
    target_offset[1 - axis] = -0.002
    target = mask(egg(target_offset, subdivisions)[0], faces).detach()

    def loss(amount: float | torch.Tensor) -> torch.Tensor:
        shift = torch.zeros(3).double()
        shift[axis] = 1.0
        return (mask(vertices + shift * amount, faces) - target).square().sum()

    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (analytic,) = torch.autograd.grad(loss(amount), amount)
    step = 0.4 / (1.8 * SIZE / 0.5)  # 0.4 px
    numeric = (loss(step) - loss(-step)) / (2 * step)
    assert analytic.item() == pytest.approx(numeric.item(), rel=0.10)


def test_area_gradient_is_the_growth_of_the_disc() -> None:
    vertices, faces = sphere(4)
    centre = torch.tensor([0.0, 0.0, -0.5]).double()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    area = mask((vertices - centre) * scale + centre, faces).sum()
    (growth,) = torch.autograd.grad(area, scale)
    radius = 0.1  # projected radius f r / sqrt(d² − r²), derivative in r
    focal = 1.8 * SIZE
    expected_area = torch.pi * focal**2 * radius**2 / (0.5**2 - radius**2)
    expected = 2 * torch.pi * focal**2 * radius * 0.5**2 / (0.5**2 - radius**2) ** 2 * radius
    assert area.item() == pytest.approx(expected_area, rel=0.01)
    assert growth.item() == pytest.approx(expected, rel=0.05)


def test_descent_finds_a_shift_in_both_directions() -> None:
    vertices, faces = egg(torch.zeros(3).double())
    truth = torch.tensor([0.006, -0.004, 0.0]).double()
    target = mask(vertices + truth, faces).detach()
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=6e-4)
    for _ in range(60):
        optimiser.zero_grad()
        (
            mask(vertices + shift * torch.tensor([1.0, 1.0, 0.0]).double(), faces) - target
        ).square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(shift[:2].detach(), truth[:2], atol=2e-4, rtol=0)


def test_interior_seams_and_empty_pictures_stay_untouched() -> None:
    vertices, faces = sphere(2)
    screen = project_to_screen(vertices, camera(SIZE))
    ids, _ = rasterize(screen, faces, (SIZE, SIZE))
    image = torch.rand(SIZE, SIZE, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    blended = antialias_silhouette(image, ids, screen, faces)
    changed = (blended != image).any(-1)
    inside = torch.nn.functional.max_pool2d((ids < 0).double()[None, None], 3, 1, 1)[0, 0] == 0
    outside = torch.nn.functional.max_pool2d((ids >= 0).double()[None, None], 3, 1, 1)[0, 0] == 0
    assert changed.any()
    assert not (changed & (inside | outside)).any()
    nothing = torch.full_like(ids, -1)
    assert torch.equal(antialias_silhouette(image, nothing, screen, faces), image)


def test_split_vertices_need_weld_to_be_no_border() -> None:
    vertices, faces = sphere(2)
    split = vertices[faces.reshape(-1)]  # every triangle on its own
    separate = torch.arange(len(split)).view(-1, 3)
    screen = project_to_screen(split, camera(SIZE))
    ids, _ = rasterize(screen, separate, (SIZE, SIZE))
    first = torch.full((len(vertices),), len(split), dtype=torch.int64)
    first.scatter_reduce_(0, faces.reshape(-1), torch.arange(len(split)), "amin")
    welded = antialias_silhouette(
        (ids >= 0).double()[..., None], ids, screen, separate, weld=first[faces.reshape(-1)]
    )
    torch.testing.assert_close(welded[..., 0], mask(vertices, faces))


@pytest.mark.parametrize("axis", [0, 1])
def test_head_outline_gradient_is_within_ten_percent(axis: int) -> None:
    """The embedded head, turned, with its seams, ears and many small triangles."""
    from omote.rigs.facs import load_rig

    rig = load_rig()
    with torch.no_grad():
        rest = rig(torch.zeros(1, len(rig.space.controls)), torch.zeros(1, len(rig.identity_space)))[
            0
        ].double()
    turn = torch.tensor([[0.94, 0.0, 0.342], [0.0, 1.0, 0.0], [-0.342, 0.0, 0.94]]).double()
    vertices = rest @ turn.T + torch.tensor([0.0, 0.0, -1.0]).double()
    view, direction = camera(128, 2.4), torch.eye(3).double()[axis]

    def cover(amount: float | torch.Tensor) -> torch.Tensor:
        screen = project_to_screen(vertices + direction * amount, view)
        ids, _ = rasterize(screen, rig.faces, view.size)
        covered = (ids >= 0).double()[..., None]
        return antialias_silhouette(covered, ids, screen, rig.faces, weld=rig.weld)[..., 0]

    target = cover(0.008).detach()
    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (analytic,) = torch.autograd.grad((cover(amount) - target).square().sum(), amount)
    step = 0.4 / view.focal  # 0.4 px at one metre
    high, low = ((cover(s) - target).square().sum() for s in (step, -step))
    assert analytic.item() == pytest.approx(((high - low) / (2 * step)).item(), rel=0.10)
