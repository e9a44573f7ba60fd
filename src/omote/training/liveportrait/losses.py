"""What LivePortrait's networks are trained to make small (arXiv 2407.03168, §3.2-3.3), and how much each term counts.

Keypoints are in -1..1 over the picture, x right, y down, z into it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from omote.checks import check_shape
from omote.errors import InputError

GUIDES: dict[int, int] = {
    11: 159,
    13: 33,
    15: 386,
    16: 263,
    14: 61,
    20: 291,
    17: 0,
    19: 17,
    12: 13,
    6: 14,
}
"""Keypoint -> which of the 478 landmarks it is guided to: upper lid and outer corner of each eye, corners of the mouth,
middle of the outer and inner lips. Published is only that there are ten, of eyes and lips; the keypoints are those that
the published regions and sliders move for eyes and lips, so that the same options work on networks trained here."""

_SPREAD, _DEPTH = 0.1, 0.33


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts.

    No weight of LivePortrait was ever published. Where it says "face vid2vid", the default is that system's
    (arXiv 2011.15126); everything else is OUR CHOICE, and so is taking those weights over.

    Attributes:
        image: of the likeness of pictures, in each region, for each of its terms. face vid2vid: 10 (of VGG-19).
        face, lip: how much those regions count beside the whole picture. OUR CHOICE.
        adversarial: of the critics, each region. face vid2vid: 1.
        features: of feature matching, each region, each block. face vid2vid: 10.
        equivariance: of keypoints under random warps. face vid2vid: 10.
        prior: of keypoints that are too close to each other or not at the right depth. face vid2vid: 10.
        pose: of the head's angles, in degrees. face vid2vid: 20.
        expression: of the size of the offsets. face vid2vid: 5.
        identity: of the person, where a face recognition network is given. OUR CHOICE.
        guide: of keypoints guided by landmarks. OUR CHOICE.
        wing, wing_curve: where the guide turns from logarithm to straight line, and how bent it is, in the unit of
            keypoints. OUR CHOICE.
        shoulders: stitching: of what changes below the chin. OUR CHOICE (published is the term, as the only one of
            weight 1).
        outside: retargeting: of what changes outside of eyes or lips. As `shoulders`.
        ratio: retargeting: of the error of the ratio that was wanted. OUR CHOICE.
        offsets: stitching and retargeting: of the size of the offsets, L1 over all numbers. OUR CHOICE.
    """

    image: float = 10.0
    face: float = 1.0
    lip: float = 1.0
    adversarial: float = 1.0
    features: float = 10.0
    equivariance: float = 10.0
    prior: float = 10.0
    pose: float = 20.0
    expression: float = 5.0
    identity: float = 0.5
    guide: float = 10.0
    wing: float = 0.1
    wing_curve: float = 0.01
    shoulders: float = 1.0
    outside: float = 1.0
    ratio: float = 1.0
    offsets: float = 0.001

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise InputError(f"the weight {field.name} must not be negative, got {value}")
        if not (self.wing > 0 and self.wing_curve > 0):
            raise InputError("wing and wing_curve must be above 0")


SMALL_WEIGHTS = LossWeights(
    adversarial=0.05,
    features=1.0,
    equivariance=5.0,
    prior=0.5,
    pose=0.1,
    expression=0.5,
    guide=50.0,
)
"""For the small networks, all OUR CHOICE: pictures count most, since hours are few."""


def keypoint_prior(keypoints: Tensor) -> Tensor:
    """Sum over ordered pairs of max(0, 0.1 - squared distance), plus |mean z - 0.33|; mean over the batch, a scalar.

    A pair of a keypoint with itself, which only adds a constant, is left out.

    Args:
        keypoints: (B, K, 3).
    """
    check_shape("keypoints", keypoints, "B", "K", 3)
    points = keypoints.float()
    apart = (points[:, :, None] - points[:, None]).square().sum(-1)
    others = ~torch.eye(points.shape[1], dtype=torch.bool, device=points.device)
    close = (_SPREAD - apart).clamp_min(0)[:, others].sum(1)
    return (close + (points[..., 2].mean(1) - _DEPTH).abs()).mean()


def pose_loss(angles: Tensor, wanted: Tensor) -> Tensor:
    """Sum over pitch, yaw and roll of the mean absolute error, degrees, a scalar; 0 where no pose is known.

    Args:
        angles: (B, 3) degrees.
        wanted: (B, 3) degrees; samples with a NaN do not count.
    """
    check_shape("angles", angles, "B", 3)
    known = wanted.isfinite().all(1, keepdim=True)
    apart = torch.where(known, (angles.float() - wanted.nan_to_num()).abs(), 0.0)
    return apart.sum() / known.sum().clamp_min(1)


def expression_prior(offsets: Tensor) -> Tensor:
    """Mean over the batch of the L1 norm of the offsets (B, K, 3), a scalar."""
    return offsets.float().abs().flatten(1).sum(1).mean()


def wing(apart: Tensor, width: float, curve: float) -> Tensor:
    """W ln(1 + |u| / e) where |u| < w, else |u| - w + w ln(1 + w / e) (arXiv 1711.06753), of each entry."""
    size = apart.abs()
    shift = width - width * torch.log(torch.tensor(1 + width / curve))
    return torch.where(size < width, width * torch.log1p(size / curve), size - shift.to(size))


def guided(
    keypoints: tuple[Tensor, Tensor], landmarks: tuple[Tensor, Tensor], weights: LossWeights
) -> Tensor:
    """1 / (2 N) times the sum over the N landmarks of wing(source) + wing(driver); mean over the batch, a scalar.

    The wing of a point is the sum over its x and y.

    Args:
        keypoints: (B, K, 3) of source and driver.
        landmarks: (B, 478, 2) of both, -1..1.
        weights: width and curve of the wing.
    """
    points, marks = list(GUIDES), list(GUIDES.values())
    total = torch.zeros((), device=keypoints[0].device)
    for found, known in zip(keypoints, landmarks, strict=True):
        apart = found[:, points, :2].float() - known[:, marks].float()
        total = total + wing(apart, weights.wing, weights.wing_curve).sum((1, 2)).mean()
    return total / (2 * len(points))


def masked_difference(made: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of pictures (B, 3, H, W) where a mask (B, 1, H, W) in 0..1 lies, a scalar."""
    weight = mask.float().expand_as(made)
    return ((made.float() - kept.float()).abs() * weight).sum() / weight.sum().clamp_min(1)
