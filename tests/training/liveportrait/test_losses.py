"""LivePortrait's losses against numbers worked out by hand, and their gradients against differences."""

from __future__ import annotations

import math

import pytest
import torch
from tests.training.liveportrait.few_clips import face_marks
from torch import Tensor

from omote.errors import InputError
from omote.models.liveportrait.ratios import PATCH, RatioNet, look_closely
from omote.training.liveportrait.losses import (
    GUIDES,
    LossWeights,
    expression_prior,
    guided,
    keypoint_prior,
    masked_difference,
    pose_loss,
    wing,
)
from omote.training.liveportrait.refine import stitch
from omote.training.liveportrait.regions import (
    cut,
    cut_regions,
    eye_mask,
    lip_mask,
    shoulder_mask,
    square,
)

MARKS = torch.from_numpy(face_marks())[None]


def test_keypoints_closer_than_the_published_distance_are_pushed_apart() -> None:
    points = torch.tensor([[[0.0, 0, 0.33], [0.2, 0, 0.33], [0, 0.9, 0.33]]])
    # one pair closer than sqrt(0.1), counted both ways; the depth is right
    assert keypoint_prior(points).item() == pytest.approx(2 * (0.1 - 0.04), abs=1e-6)
    assert keypoint_prior(points + torch.tensor([0, 0, 0.5])).item() == pytest.approx(0.12 + 0.5, abs=1e-6)
    free = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(keypoint_prior, (free,), eps=1e-3, atol=1e-2, nondet_tol=1e-3)


def test_pose_is_measured_in_degrees_where_it_is_known() -> None:
    angles = torch.tensor([[1.0, 2.0, 3.0], [10.0, 0.0, 0.0]])
    wanted = torch.tensor([[0.0, 4.0, 3.0], [math.nan] * 3])
    assert pose_loss(angles, wanted).item() == pytest.approx(3)
    assert pose_loss(angles, torch.full((2, 3), math.nan)).item() == 0
    assert pose_loss(angles, torch.zeros(2, 3)).item() == pytest.approx((6 + 10) / 2)


def test_expression_prior_is_the_l1_norm() -> None:
    assert expression_prior(torch.full((2, 21, 3), -0.5)).item() == pytest.approx(31.5)


def test_wing_is_the_published_curve_and_joins_smoothly() -> None:
    u = torch.tensor([0.05, -0.05, 0.1, 0.3])
    low = 0.1 * math.log(1 + 0.05 / 0.01)
    shift = 0.1 - 0.1 * math.log(1 + 0.1 / 0.01)
    assert wing(u, 0.1, 0.01).tolist() == pytest.approx([low, low, 0.1 - shift, 0.3 - shift], rel=1e-5)
    around = wing(torch.tensor([0.1 - 1e-5, 0.1 + 1e-5]), 0.1, 0.01)
    assert float(around[1] - around[0]) == pytest.approx(0, abs=1e-4)


def test_the_guide_draws_ten_keypoints_to_eyes_and_lips() -> None:
    assert len(GUIDES) == 10
    points = torch.zeros(1, 21, 3)
    for point, mark in GUIDES.items():
        points[0, point, :2] = MARKS[0, mark]
    points[..., 2] = 7  # depth is free
    weights = LossWeights()
    assert guided((points, points), (MARKS, MARKS), weights).item() == 0
    off = points.clone()
    off[0, 11, 0] += 0.05
    once = 0.1 * math.log(6) / 20
    assert guided((off, points), (MARKS, MARKS), weights).item() == pytest.approx(once, rel=1e-4)
    assert guided((off, off), (MARKS, MARKS), weights).item() == pytest.approx(2 * once, rel=1e-4)


def test_weights_are_checked() -> None:
    with pytest.raises(InputError, match="prior"):
        LossWeights(prior=-1)
    with pytest.raises(InputError, match="wing"):
        LossWeights(wing=0)


def test_only_what_the_mask_covers_counts() -> None:
    made, kept = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    made[..., :2, :] = 0.5
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0, :] = 1
    assert masked_difference(made, kept, mask).item() == pytest.approx(0.5)
    assert masked_difference(made, kept, 1 - mask).item() == pytest.approx(0.5 / 3)
    assert masked_difference(made, kept, torch.zeros_like(mask)).item() == 0


def test_regions_lie_where_the_landmarks_are() -> None:
    axis = (2 * torch.arange(64) + 1) / 64 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    picture = torch.stack([x, y, x])[None]
    regions = cut_regions(picture, MARKS)
    assert [regions[name].shape[-1] for name in ("whole", "face", "lip")] == [64, 32, 16]
    for kind in ("face", "lip"):
        centre, half = square(MARKS, kind)
        middle = regions[kind].mean((2, 3))[0, :2]
        assert torch.allclose(middle, centre[0], atol=0.01)
        assert float(regions[kind][0, 0, 0, -1] - middle[0]) == pytest.approx(float(half), abs=0.05)
    low, high = MARKS[0].amin(0), MARKS[0].amax(0)
    centre, half = square(MARKS, "face")
    assert bool((centre[0] - half <= low).all() and (centre[0] + half >= high).all())

    def at(mask: Tensor, index: int) -> float:
        column, row = ((MARKS[0, index] + 1) * 32).long().tolist()
        return float(mask[0, 0, row, column])

    eyes, lips, below = (make(MARKS, 64) for make in (eye_mask, lip_mask, shoulder_mask))
    assert (at(eyes, 159), at(eyes, 386), at(eyes, 13), at(eyes, 1)) == (1, 1, 0, 0)
    assert (at(lips, 13), at(lips, 17), at(lips, 159)) == (1, 1, 0)
    assert (at(below, 1), at(below, 17), float(below[0, 0, -1, 32])) == (0, 0, 1)
    assert cut(picture, torch.zeros(1, 2), torch.ones(1), 64)[0, 0, 5, 9].item() == pytest.approx(
        float(axis[9]), abs=1e-5
    )


def test_the_gradient_of_a_ratio_reaches_the_picture() -> None:
    torch.manual_seed(0)
    net, image = RatioNet(), torch.rand(1, 3, 64, 64)
    assert look_closely(image, MARKS, "eye").shape == (1, 2, 3, PATCH, PATCH)
    assert net(image, MARKS, "eye").shape == (1, 2)

    def ratio(shift: Tensor) -> Tensor:
        return net(image + shift * torch.linspace(0, 1, 64), MARKS, "lip").sum()

    zero = torch.zeros((), requires_grad=True)
    ratio(zero).backward()
    with torch.no_grad():
        step = (ratio(torch.tensor(1e-2)) - ratio(torch.tensor(-1e-2))) / 2e-2
    assert zero.grad is not None
    assert abs(zero.grad.item()) > 1e-3
    assert zero.grad.item() == pytest.approx(step.item(), rel=0.1)


def test_stitching_moves_each_coordinate_then_all_x_and_y() -> None:
    offsets = torch.arange(65.0)[None]
    found = stitch(torch.zeros(1, 21, 3), offsets)
    assert found[0, 0].tolist() == [0 + 63, 1 + 64, 2]
    assert found[0, 20].tolist() == [60 + 63, 61 + 64, 62]
