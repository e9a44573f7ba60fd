"""The losses of rig inversion, by hand on a rig of one triangle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from omote.errors import InputError
from omote.models.inversion.mesh import POSE_SPREAD, Belief
from omote.training.losses import control_loss, mesh_loss, pick_samples, step_loss


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


def beliefs_and_truth() -> tuple[list[Belief], tuple[Tensor, Tensor, Tensor]]:
    """Three steps that believe the truth of two faces: 4 controls, 3 coefficients."""
    truth = torch.rand(2, 4), torch.randn(2, 3), torch.randn(2, 7)
    return [Belief(*(part.clone() for part in truth)) for _ in range(3)], truth


def test_true_beliefs_cost_nothing() -> None:
    beliefs, truth = beliefs_and_truth()
    assert step_loss(beliefs, *truth).item() == 0
    unknown = torch.full((2, 0), 0.0)
    head = Belief(truth[0], unknown, unknown)
    assert step_loss([head, *beliefs], *truth).item() == 0


def test_an_unknown_pose_costs_nothing() -> None:
    beliefs, (controls, identity, pose) = beliefs_and_truth()
    wrong = [each._replace(pose=each.pose + 3.0) for each in beliefs]
    assert step_loss(wrong, controls, identity, torch.full_like(pose, torch.nan)).item() == 0
    one = pose.clone()
    one[1] = torch.nan
    whole, half = (step_loss(wrong, controls, identity, known).item() for known in (pose, one))
    assert half == pytest.approx(whole / 2, rel=1e-5)
    wrong[0].pose.requires_grad_()
    step_loss(wrong, controls, identity, one).backward()
    assert wrong[0].pose.grad is not None
    assert wrong[0].pose.grad.isfinite().all()
    assert not wrong[0].pose.grad[1].any()


def test_errors_of_a_step_are_weighed_in_units_of_their_spread() -> None:
    beliefs, truth = beliefs_and_truth()
    off = beliefs[1]
    beliefs[1] = off._replace(controls=off.controls + 0.3)
    assert step_loss(beliefs, *truth).item() == pytest.approx(0.09 / 3, rel=1e-4)  # one step of three
    assert step_loss(beliefs, *truth, of_controls=False).item() == 0
    beliefs[1] = off._replace(identity=off.identity + 2.0)
    # a tenth of 3 x 4, in units of 0.15, for each of 4 controls
    assert step_loss(beliefs, *truth).item() == pytest.approx(0.15**2 * 0.1 * 12 / 4 / 3, rel=1e-4)
    beliefs[1] = off._replace(pose=off.pose + torch.tensor(POSE_SPREAD) * 2)
    assert step_loss(beliefs, *truth).item() == pytest.approx(0.15**2 * 7 * 4 / 4 / 3, rel=1e-4)
    one = torch.tensor([0.0, 0, 0, 0, 0.1, 0, 0])  # two spreads of the shift along x
    beliefs[1] = off._replace(pose=off.pose + one)
    assert step_loss(beliefs, *truth).item() == pytest.approx(0.15**2 * 4 / 4 / 3, rel=1e-4)
