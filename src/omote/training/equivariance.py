"""Random warps of a picture that are known in closed form: keypoints must move as the picture does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from omote.checks import check_shape

SIGMA_AFFINE, SIGMA_POINTS, POINTS = 0.05, 0.005, 5
"""Of the first order motion model (arXiv 2003.00196) and of face vid2vid (arXiv 2011.15126)."""
_TINY = 1e-6


@dataclass(frozen=True)
class RandomWarp:
    """A random affine map and thin-plate spline of the plane; the picture spans -1..1.

    Attributes:
        affine: (B, 2, 3).
        weights: (B, N) of the spline's control points; each adds the same to x and y, as published.
        points: (N, 2) control points.
    """

    affine: Tensor
    weights: Tensor
    points: Tensor

    @classmethod
    def draw(
        cls,
        batch: int,
        chance: torch.Generator,
        *,
        sigma_affine: float = SIGMA_AFFINE,
        sigma_points: float = SIGMA_POINTS,
        points: int = POINTS,
    ) -> RandomWarp:
        """One warp for each sample.

        Args:
            batch: samples.
            chance: of the CPU, so that the same seed gives the same warps on any device.
            sigma_affine: standard deviation of what is added to the six entries of the identity.
            sigma_points: of the weights of the control points.
            points: control points along a side.
        """
        noise = torch.randn(batch, 2, 3, generator=chance)
        axis = torch.linspace(-1, 1, points)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        return cls(
            torch.eye(2, 3) + sigma_affine * noise,
            sigma_points * torch.randn(batch, points**2, generator=chance),
            torch.stack([x.flatten(), y.flatten()], 1),
        )

    def to(self, device: torch.device) -> RandomWarp:
        """The same on a device."""
        return RandomWarp(self.affine.to(device), self.weights.to(device), self.points.to(device))

    def __call__(self, where: Tensor) -> Tensor:
        """Where points go: affine, plus the sum over control points c of w_c r^2 log(r), r = |dx| + |dy| to c.

        Args:
            where: (B, P, 2) x, y.
        """
        check_shape("where", where, len(self.affine), "P", 2)
        straight = where @ self.affine[:, :, :2].transpose(1, 2) + self.affine[:, None, :, 2]
        apart = (where[:, :, None] - self.points).abs().sum(-1)
        bent = (apart**2 * (apart + _TINY).log() * self.weights[:, None]).sum(-1)
        return straight + bent[..., None]

    def picture(self, image: Tensor) -> Tensor:
        """The warped picture: what is at p in it is at ``self(p)`` in the picture that is given.

        Args:
            image: (B, C, H, W); beyond its edges it is reflected.
        """
        height, width = image.shape[2:]
        y, x = (
            (2 * torch.arange(n, device=image.device, dtype=torch.float32) + 1) / n - 1
            for n in (height, width)
        )
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(1, -1, 2)
        found = self(grid.expand(len(image), -1, -1)).view(-1, height, width, 2)
        return F.grid_sample(image.float(), found, padding_mode="reflection", align_corners=False)


def equivariance_loss(warp: RandomWarp, plain: Tensor, warped: Tensor) -> Tensor:
    """Mean absolute distance, per coordinate, of keypoints to those of the warped picture, warped back; a scalar.

    Args:
        warp: of the picture.
        plain: (B, K, 2) keypoints of the picture.
        warped: (B, K, 2) of ``warp.picture`` of it.
    """
    return (plain.float() - warp(warped.float())).abs().mean()
