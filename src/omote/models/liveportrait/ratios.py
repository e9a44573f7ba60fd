"""How open eyes and lips are in a picture, differentiably; only for training retargeting.

Published is that the ratio is measured on the result (arXiv 2407.03168, §3.3), which needs a landmark network that
gradients pass through. Ours is smaller: it reads the ratio, as `omote.models.liveportrait.keypoints` defines it of
landmarks, off a patch about one eye or the lips.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.checks import check_shape

PATCH = 32
_WIDTHS = (3, 16, 32, 48, 64)
_REACH = {"eye": 0.8, "lip": 0.85}
_CORNERS = {"eye": ((33, 133), (362, 263)), "lip": ((61, 291),)}
"""Landmarks of the 478; the patch is placed by corners only, since those stay where eyes and lips open and close."""


class _PatchNet(nn.Sequential):
    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise(_WIDTHS):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
        super().__init__(*layers, nn.Flatten(), nn.Linear(_WIDTHS[-1] * (PATCH // 16) ** 2, 1), nn.Softplus())


class RatioNet(nn.Module):
    """Two small networks: one for eyes, one for lips."""

    def __init__(self) -> None:
        super().__init__()
        self.eye, self.lip = _PatchNet(), _PatchNet()

    def forward(self, image: Tensor, marks: Tensor, kind: str) -> Tensor:
        """Ratios, 0 is shut: (B, 2) of the eye on the image's left and of the other, or (B, 1) of the lips.

        Args:
            image: (B, 3, H, W) RGB in 0..1.
            marks: (B, 478, 2) in -1..1 over the image; they only say where to look.
            kind: "eye" or "lip".
        """
        patches = look_closely(image, marks, kind)
        net = self.eye if kind == "eye" else self.lip
        found: Tensor = net(patches.flatten(0, 1)).view(patches.shape[:2])
        return found


def look_closely(image: Tensor, marks: Tensor, kind: str) -> Tensor:
    """(B, N, 3, 32, 32) patches about both eyes or the lips, differentiable in the image; contrast made equal."""
    check_shape("marks", marks, "B", 478, 2)
    patches = []
    for left, right in _CORNERS[kind]:
        a, b = marks[:, left], marks[:, right]
        across = _REACH[kind] * (b - a)
        down = torch.stack([-across[:, 1], across[:, 0]], 1)
        matrix = torch.stack([across, down, (a + b) / 2], 2)
        grid = F.affine_grid(matrix, [len(image), 3, PATCH, PATCH], align_corners=False)
        patches.append(F.grid_sample(image.float(), grid, padding_mode="border", align_corners=False))
    found = torch.stack(patches, 1)
    mean = found.mean((2, 3, 4), keepdim=True)
    return (found - mean) / (found.std((2, 3, 4), keepdim=True) + 0.05)
