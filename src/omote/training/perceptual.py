"""How like two pictures are: by VGG-19's features where its weights are given, else by pixels and edges."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from omote.models.vgg19 import Vgg19
from omote.training.pyramid import Pyramid

_SMALLEST, _SMALLEST_VGG = 8, 16
"""px; smaller levels of the pyramid are left out: they say little, and VGG-19 halves the picture four times."""


class ImageLoss(Protocol):
    """A difference of pictures."""

    def __call__(self, made: Tensor, real: Tensor) -> Tensor:
        """A scalar of (B, 3, H, W) RGB in 0..1; the gradient flows to ``made``."""


class PerceptualLoss(nn.Module):
    """Mean absolute difference of VGG-19's features, summed over five layers and four scales (arXiv 2003.00196).

    Args:
        net: with its published weights.
    """

    def __init__(self, net: Vgg19) -> None:
        super().__init__()
        self.net, self.pyramid = net, Pyramid()

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """See `ImageLoss`."""
        terms: list[Tensor] = []
        for m, r in zip(self.pyramid(made), self.pyramid(real), strict=True):
            if min(m.shape[2:]) < _SMALLEST_VGG and terms:
                break
            with torch.no_grad():
                wanted = self.net(r)
            found = self.net(m)
            terms += [(a.float() - b.float()).abs().mean() for a, b in zip(found, wanted, strict=True)]
        return torch.stack(terms).sum()


class StructuralLoss(nn.Module):
    """Mean absolute difference of pixels and of their horizontal and vertical steps, summed over four scales.

    Ours, for where no pretrained network is to be had. It makes blurrier pictures than a perceptual loss, but knows
    nothing that it would have to be taught.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = Pyramid()

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """See `ImageLoss`."""
        terms: list[Tensor] = []
        for m, r in zip(self.pyramid(made.float()), self.pyramid(real.float()), strict=True):
            apart = m - r
            if min(apart.shape[2:]) < _SMALLEST and terms:
                break
            terms += [apart.abs().mean(), apart.diff(dim=2).abs().mean(), apart.diff(dim=3).abs().mean()]
        return torch.stack(terms).sum()
