"""The losses of rig inversion, by hand on a rig of one triangle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from omote.errors import InputError
from omote.training.losses import control_loss, mesh_loss, pick_samples


class Triangle:
    """Three vertices: the first control moves all of them along x by its value in metres, times 1 + the identity; the
    second moves one of them along y by its square."""

    def forward(self, controls: Tensor, identity: Tensor) -> Tensor:
        moved = torch.zeros(len(controls), 3, 3)
        x = controls[:, :1] * (1 + identity)
        y = torch.zeros(len(controls), 3, 3)
        y[:, 0, 1] = 1
        return moved + x[:, :, None] * torch.tensor([1.0, 0, 0]) + controls[:, 1, None, None].square() * y


def rig() -> Any:
    return Triangle()


def test_the_control_loss_is_the_mean_square() -> None:
    predicted, target = torch.tensor([[0.5, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.5]])
    assert control_loss(predicted, target).item() == pytest.approx((0.25 + 0.25) / 4)


def test_the_mesh_loss_is_the_mean_distance_in_centimetres() -> None:
    predicted, target = torch.tensor([[0.02, 0.1]]), torch.tensor([[0.01, 0.0]])
    still, twice = torch.zeros(1, 1), torch.ones(1, 1)
    # three coordinates of nine move by 1 cm, one by 1 cm (0.1 squared)
    assert mesh_loss(rig(), predicted, target, still).item() == pytest.approx(4 / 9)
    assert mesh_loss(rig(), predicted, target, twice).item() == pytest.approx(7 / 9)
    given = torch.tensor([0])
    assert mesh_loss(rig(), predicted, target, twice, given=given).item() == pytest.approx(1 / 9)


def test_the_gradient_passes_the_rig_and_not_what_is_given() -> None:
    predicted = torch.tensor([[0.02, 0.1]], requires_grad=True)
    target = torch.tensor([[0.01, 0.0]])
    mesh_loss(rig(), predicted, target, torch.zeros(1, 1)).backward()
    assert predicted.grad is not None
    assert predicted.grad[0].tolist() == pytest.approx([100 * 3 / 9, 100 * 2 * 0.1 / 9])
    predicted.grad = None
    mesh_loss(rig(), predicted, target, torch.zeros(1, 1), given=torch.tensor([0])).backward()
    assert predicted.grad is not None
    assert predicted.grad[0].tolist() == pytest.approx([0, 100 * 2 * 0.1 / 9])


def test_a_subset_estimates_the_whole_without_bias() -> None:
    chance = torch.Generator().manual_seed(0)
    values = torch.arange(8.0) ** 2
    means = [values[pick_samples(8, 3, chance)].mean().item() for _ in range(3000)]
    assert sum(means) / len(means) == pytest.approx(values.mean().item(), rel=0.03)
    assert len(set(pick_samples(8, 3, chance).tolist())) == 3
    assert pick_samples(4, None, chance).tolist() == pick_samples(4, 9, chance).tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="at least 1"):
        pick_samples(4, 0, chance)


def test_on_the_embedded_rig_both_terms_pull_alike() -> None:
    """`omote.training.losses.MESH_WEIGHT`: with errors of 0.1, gradients of the same size."""
    from omote.rigs.facs import load_rig
    from omote.training.losses import MESH_WEIGHT

    facs = load_rig()
    torch.manual_seed(0)
    low, high = torch.tensor(facs.space.low), torch.tensor(facs.space.high)
    target = (torch.rand(4, 102) < 0.15) * (low + (high - low) * torch.rand(4, 102))
    predicted = (target + 0.1 * torch.randn(4, 102)).clamp(low, high).requires_grad_()
    heads = torch.tensor([i for i, name in enumerate(facs.space.names) if name.startswith("head_")])
    mesh = MESH_WEIGHT * mesh_loss(facs, predicted, target, torch.randn(4, 90), given=heads)
    (of_mesh,) = torch.autograd.grad(mesh, predicted)
    (of_controls,) = torch.autograd.grad(control_loss(predicted, target), predicted)
    assert 0.7 < (of_mesh.norm() / of_controls.norm()).item() < 2.0
